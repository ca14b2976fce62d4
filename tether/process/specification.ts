import type { ProcessConfiguration } from "../../src/link/guest-configuration.ts";
import type { ProcessUser } from "./users.ts";

/** Capability names in the order of their numbers (linux/capability.h). */
const CAPABILITIES = [
  "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
  "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE",
  "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE",
  "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE",
  "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
]; // biome-ignore format: one line per nine names reads better than one name per line

/** Resource numbers of setrlimit(2), the same on x86_64 and aarch64. */
const RESOURCES: Record<string, number> = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  as: 9,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
};

const UNLIMITED = 0xffff_ffff_ffff_ffffn;
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What the launcher needs besides the process itself. */
export type Placement =
  | {
      kind: "main";
      root: string;
      readOnlyRoot: boolean;
      isolated: boolean;
      init: boolean;
      masked: string[];
      readOnlyPaths: string[];
    }
  /** In the namespaces of a running process. */
  | { kind: "exec"; join: number };

/** Writes the records that launcher.c reads. */
class SpecificationWriter {
  readonly #parts: Uint8Array[] = [];

  flag(tag: string, set: boolean): void {
    if (set) this.#add(tag, new Uint8Array(0));
  }

  text(tag: string, value: string): void {
    if (value.includes("\0")) throw new Error("a command line or environment cannot hold a NUL character");
    this.#add(tag, Buffer.from(`${value}\0`));
  }

  binary(tag: string, value: Uint8Array): void {
    this.#add(tag, value);
  }

  number(tag: string, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.#add(tag, bytes);
  }

  words(tag: string, ...values: bigint[]): void {
    this.#add(tag, new Uint8Array(new BigUint64Array(values).buffer));
  }

  #add(tag: string, value: Uint8Array): void {
    const head = new Uint8Array(5);
    head[0] = tag.charCodeAt(0);
    new DataView(head.buffer).setUint32(1, value.length, true);
    this.#parts.push(head, value);
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

export const capabilityMask = (names: string[]): bigint => {
  let mask = 0n;
  for (const name of names) {
    const number = CAPABILITIES.indexOf(name.toUpperCase().replace(/^CAP_/, ""));
    if (number === -1) throw new Error(`unknown capability: "CAP_${name}"`);
    mask |= 1n << BigInt(number);
  }
  return mask;
};

const hasVariable = (environment: string[], name: string): boolean =>
  environment.some((entry) => entry.startsWith(`${name}=`));

/** The environment with what Docker adds when it is missing. */
export const completeEnvironment = (process: ProcessConfiguration, user: ProcessUser, hostname: string): string[] => {
  const { environment } = process;
  const added: string[] = [];
  if (!hasVariable(environment, "PATH")) added.push(`PATH=${DEFAULT_PATH}`);
  if (!hasVariable(environment, "HOSTNAME")) added.push(`HOSTNAME=${hostname}`);
  if (process.terminal && !hasVariable(environment, "TERM")) added.push("TERM=xterm");
  if (!hasVariable(environment, "HOME")) added.push(`HOME=${user.home}`);
  return [...added, ...environment];
};

export const encodeSpecification = (
  process: ProcessConfiguration,
  user: ProcessUser,
  environment: string[],
  placement: Placement,
  cgroup: string | undefined,
): Uint8Array => {
  const writer = new SpecificationWriter();
  for (const argument of process.arguments) writer.text("a", argument);
  for (const entry of environment) writer.text("e", entry);
  writer.text("d", process.workingDirectory || "/");
  if (cgroup !== undefined) writer.text("f", cgroup);
  if (placement.kind === "main") {
    writer.flag("D", true);
    writer.text("r", placement.root);
    writer.flag("R", placement.readOnlyRoot);
    writer.flag("N", placement.isolated);
    writer.flag("i", placement.init);
    for (const path of placement.masked) writer.text("m", path);
    for (const path of placement.readOnlyPaths) writer.text("o", path);
  } else {
    writer.number("j", placement.join);
  }
  writer.number("u", user.uid);
  writer.number("g", user.gid);
  for (const group of user.groups) writer.number("G", group);
  writer.words("c", process.privileged ? UNLIMITED : capabilityMask(process.capabilities));
  for (const { name, soft, hard } of process.limits) {
    const resource = RESOURCES[name];
    if (resource === undefined) throw new Error(`unknown resource limit "${name}"`);
    const value = (limit: number): bigint => (limit < 0 ? UNLIMITED : BigInt(limit));
    writer.words("l", BigInt(resource), value(soft), value(hard));
  }
  if (process.oomScoreAdjust !== undefined) writer.text("O", String(process.oomScoreAdjust));
  if (process.seccomp !== undefined) writer.binary("s", Buffer.from(process.seccomp, "base64"));
  writer.flag("n", process.noNewPrivileges);
  writer.flag("t", process.terminal);
  return writer.bytes();
};
