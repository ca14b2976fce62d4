/** The vSphere of a VCH that is not its own lab: how it is named, where its password comes from, what is looked at first. */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { checkTarget, type VSphereTarget } from "../vsphere/index.ts";
import type { ContainerNetwork } from "./container-networks.ts";
import type { Check } from "./checks.ts";

/** What the command line says of the target. */
export interface TargetRequest {
  /** `https://user@host[:port][/sdk]`, or `user@host`. */
  target: string;
  thumbprint?: string;
  /** File with the PEM of the authority, instead of a fingerprint. */
  targetCa?: string;
  passwordFile?: string;
  datacenter?: string;
  resourcePool?: string;
  folder?: string;
  datastore?: string;
  host?: string;
}

/** The bridge network of a VCH on an external vSphere. */
export interface TargetBridge {
  /** Port group that container VMs are put on. */
  network?: string;
  /** This machine's interface on it: gateway, NAT, and where guests call. */
  interfaceName?: string;
}

export const PASSWORD_VARIABLE = "VCH_TARGET_PASSWORD";

/** Address and user. A password in it is refused: every user of the machine could read it in the process list. */
export function parseTarget(text: string): { url: string; username: string } {
  const url = URL.parse(text.includes("://") ? text : `https://${text}`);
  const form = "write https://user@host, with %40 for an @ in the user name";
  if (url === null || url.hostname === "") throw new Error(`--target "${text}": ${form}.`);
  if (url.protocol !== "https:") throw new Error(`--target: vSphere is spoken to over https only; ${form}.`);
  if (url.password !== "")
    throw new Error(
      `--target: a password on the command line can be read by everybody on this machine. Put it into ${PASSWORD_VARIABLE} or --password-file.`,
    );
  if (url.username === "") throw new Error(`--target "${text}": the user is missing; ${form}.`);
  const path = url.pathname === "" || url.pathname === "/" ? "/sdk" : url.pathname.replace(/\/$/, "");
  return { url: `https://${url.host}${path}`, username: decodeURIComponent(url.username) };
}

/** Resolves the request: parses the address, reads password and authority. */
export async function resolveTarget(
  request: TargetRequest,
  environment: NodeJS.Dict<string> = process.env,
): Promise<VSphereTarget> {
  const { target, thumbprint, targetCa, passwordFile, ...selection } = request;
  const chosen = Object.fromEntries(Object.entries(selection).filter(([, value]) => value !== undefined));
  return {
    ...parseTarget(target),
    password: await targetPassword(passwordFile, environment),
    ...(thumbprint === undefined ? {} : { fingerprint: thumbprint }),
    ...(targetCa === undefined ? {} : { certificateAuthority: await readFile(targetCa, "utf8") }),
    ...chosen,
  };
}

async function targetPassword(file: string | undefined, environment: NodeJS.Dict<string>): Promise<string> {
  const password =
    file === undefined ? environment[PASSWORD_VARIABLE] : (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  if (password === undefined || password === "")
    throw new Error(
      file === undefined
        ? `The password of the vSphere user is missing. Put it into the environment variable ${PASSWORD_VARIABLE}, or into a file for --password-file.`
        : `--password-file ${file} is empty.`,
    );
  return password;
}

/** Looks at the target and at this machine's part of the bridge network; changes nothing. */
export async function checkExternalTarget(
  target: VSphereTarget,
  bridge: TargetBridge,
  networks: readonly ContainerNetwork[] = [],
): Promise<Check[]> {
  const portGroups = networks.map(({ portGroup }) => portGroup);
  const checks = (await checkTarget(target, bridge.network, portGroups)).map(
    ({ passed, id, ...rest }): Check => ({ ...rest, id: `target-${id}`, status: passed ? "PASS" : "FAIL" }),
  );
  return [...checks, checkInterface(bridge)];
}

function checkInterface({ network, interfaceName }: TargetBridge): Check {
  const common = { id: "target-interface", title: "this machine's interface", required: true };
  const group = network ?? "the bridge network";
  if (interfaceName === undefined)
    return {
      ...common,
      status: "FAIL",
      detail: `none was chosen: guests call this machine over ${group}, which is also their gateway`,
      fix: `give this machine a network adapter on ${group}, then --bridge-interface NAME`,
    };
  // Not /sys/class/net, which may show another network namespace than ours.
  const known = readFileSync("/proc/self/net/dev", "utf8").matchAll(/^\s*(\S+):/gm);
  return [...known].some(([, name]) => name === interfaceName)
    ? { ...common, status: "PASS", detail: `${interfaceName} is there; it has to be on ${group}` }
    : {
        ...common,
        status: "FAIL",
        detail: `there is no network interface "${interfaceName}"`,
        fix: "ip -brief link lists them",
      };
}

/** An error that lists what is missing, or nothing. */
export function requireTarget(checks: readonly Check[]): void {
  const failed = checks.filter(({ status, required }) => status === "FAIL" && required);
  if (failed.length === 0) return;
  const lines = failed.map(
    ({ title, detail, fix }) => `  ${title}: ${detail}${fix === undefined ? "" : `\n    fix: ${fix}`}`,
  );
  throw new Error(`The vSphere target is not ready; nothing was changed.\n${lines.join("\n")}`);
}
