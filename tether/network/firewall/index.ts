/** Gives the kernel a container's firewall, without a program: the guest has none that could. */
import { closeSync } from "node:fs";
import type { InterfaceConfiguration } from "../../../src/link/guest-configuration.ts";
import { ERRNO, errnoText, OPEN, readFd, SystemError, socket, writeFd } from "../../system/libc.ts";
import { decodeAnswers, encodeTransaction } from "./netlink.ts";
import { guardedInterfaces, needsNoRules, tableChanges } from "./rules.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_NETFILTER = 12;
const ANSWER_BYTES = 64 * 1024;
const EPROTONOSUPPORT = 93;
const EAFNOSUPPORT = 97;
/** What a kernel says that lacks nf_tables or one of its parts. */
const MISSING: ReadonlySet<number> = new Set([
  ERRNO.ENOENT,
  ERRNO.EINVAL,
  ERRNO.EOPNOTSUPP,
  EPROTONOSUPPORT,
  EAFNOSUPPORT,
]);

let present = false;

/**
 * Replaces the rules for these interfaces, at once for all of them. The kernel loads what it needs meanwhile. Throws with what to do
 * when it has no nf_tables; where nobody has asked for anything to be kept out that is no error.
 */
export function applyFirewall(interfaces: readonly InterfaceConfiguration[]): void {
  const guarded = guardedInterfaces(interfaces);
  if (needsNoRules(guarded) && !present) return;
  try {
    transact(encodeTransaction(tableChanges(guarded)));
    present = true;
  } catch (error) {
    if (!(error instanceof SystemError) || !MISSING.has(error.errno)) throw error;
    const asked = guarded.filter(({ firewall }) => firewall.trust !== "control");
    if (needsNoRules(asked)) {
      console.error(
        `network: the control link's adapter has no rules, as the kernel lacks nf_tables: ${error.message}`,
      );
      return;
    }
    const levels = asked.map(({ name, firewall }) => `${name}: ${firewall.trust}`).join(", ");
    throw new Error(
      `the firewall of the container's networks (${levels}) needs nf_tables with inet, ct, nat and redir, and the kernel of this bootstrap ISO lacks it (${error.message}): use another ISO, or networks with the trust level open`,
    );
  }
}

function transact(transaction: Uint8Array): void {
  const control = socket(AF_NETLINK, SOCK_RAW | OPEN.nonBlocking, NETLINK_NETFILTER);
  try {
    if (writeFd(control, transaction) !== transaction.length) throw new SystemError("netlink", ERRNO.EAGAIN);
    // The kernel has done the work when the call returns, so its answers are there.
    const answers: ReturnType<typeof decodeAnswers> = [];
    const buffer = new Uint8Array(ANSWER_BYTES);
    for (let count = readFd(control, buffer); count !== undefined && count > 0; count = readFd(control, buffer))
      answers.push(...decodeAnswers(buffer.subarray(0, count)));
    const failed = answers.find(({ errno }) => errno !== 0);
    if (failed) throw new SystemError(`nf_tables, change ${failed.change}`, failed.errno);
    if (answers.length === 0) throw new Error(`nf_tables: the kernel gave no answer (${errnoText(ERRNO.EIO)})`);
  } finally {
    closeSync(control);
  }
}
