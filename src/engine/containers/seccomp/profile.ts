/** Seccomp profiles in Docker's JSON format: read with care, and resolved for one container's capabilities and architecture. */
import { invalid, notImplemented } from "../../errors.ts";
import type { Comparison, Condition, Rule } from "./compile.ts";

export interface SystemCallRule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[] | null;
  includes?: Filter;
  excludes?: Filter;
}

interface Filter {
  caps?: string[] | null;
  arches?: string[] | null;
  minKernel?: string;
}

export interface SeccompProfile {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[] | null;
  archMap?: { architecture: string; subArchitectures?: string[] | null }[] | null;
  syscalls?: SystemCallRule[] | null;
}

/** Longest profile, in characters. */
const PROFILE_LIMIT = 256 * 1024;
const MAXIMUM_RULES = 4096;
const MAXIMUM_ARGUMENTS = 6;
const EPERM = 1;
const LARGEST_ERRNO = 4095;
/** Every guest kernel is newer: the tether uses system calls of this one. */
const OLDEST_KERNEL = [5, 9] as const;

/** Return values of a filter (linux/seccomp.h). */
const ACTIONS: Record<string, number> = {
  SCMP_ACT_KILL: 0,
  SCMP_ACT_KILL_THREAD: 0,
  SCMP_ACT_KILL_PROCESS: 0x8000_0000,
  SCMP_ACT_TRAP: 0x0003_0000,
  SCMP_ACT_ERRNO: 0x0005_0000,
  SCMP_ACT_TRACE: 0x7ff0_0000,
  SCMP_ACT_LOG: 0x7ffc_0000,
  SCMP_ACT_ALLOW: 0x7fff_0000,
};
const WITH_DATA = new Set(["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"]);

const COMPARISONS: Record<string, Comparison> = {
  SCMP_CMP_NE: "!=",
  SCMP_CMP_LT: "<",
  SCMP_CMP_LE: "<=",
  SCMP_CMP_EQ: "==",
  SCMP_CMP_GE: ">=",
  SCMP_CMP_GT: ">",
  SCMP_CMP_MASKED_EQ: "masked",
};

const FIELDS = new Set([
  "defaultAction",
  "defaultErrnoRet",
  "architectures",
  "archMap",
  "syscalls",
  // Comments of Docker's own profiles.
  "comment",
]);

const bad = (reason: string): Error => invalid(`opening seccomp profile failed: ${reason}`);

/** Reads a profile that a client sent. Throws EngineError with what is wrong with it. */
export function parseProfile(text: string): SeccompProfile {
  if (text.length > PROFILE_LIMIT) throw bad(`it is longer than ${PROFILE_LIMIT} characters`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw bad(error instanceof Error ? error.message : String(error));
  }
  if (!isObject(value)) throw bad("it is no JSON object");
  for (const name of Object.keys(value))
    if (!FIELDS.has(name))
      throw notImplemented(`seccomp profile: ${JSON.stringify(name)} is not supported; leave it out of the profile`);
  const profile = value as unknown as SeccompProfile;
  if (typeof profile.defaultAction !== "string") throw bad("defaultAction is missing");
  const rules: unknown = profile.syscalls ?? [];
  if (!Array.isArray(rules) || rules.length > MAXIMUM_RULES) throw bad("syscalls is no list, or too long");
  for (const rule of rules) checkRule(rule);
  if (!isTexts(profile.architectures)) throw bad("architectures is no list of names");
  const map: unknown = profile.archMap ?? [];
  if (
    !Array.isArray(map) ||
    !map.every((entry) => isObject(entry) && typeof entry.architecture === "string" && isTexts(entry.subArchitectures))
  )
    throw bad("archMap is no list of architectures");
  return profile;
}

function checkRule(rule: unknown): void {
  if (!isObject(rule)) throw bad("a rule is no JSON object");
  if (rule.name !== undefined) {
    // The format of Docker 1.10: one name in a rule.
    if (typeof rule.name !== "string" || rule.names !== undefined) throw bad("a rule has name and names");
    rule.names = [rule.name];
  }
  if (!Array.isArray(rule.names) || !isTexts(rule.names)) throw bad("a rule has no names");
  if (typeof rule.action !== "string") throw bad("a rule has no action");
  const args: unknown = rule.args ?? [];
  if (!Array.isArray(args)) throw bad("args is no list");
  for (const argument of args)
    if (
      !isObject(argument) ||
      ![argument.index, argument.value].every((value) => Number.isInteger(value) && Number(value) >= 0) ||
      Number(argument.index) >= MAXIMUM_ARGUMENTS
    )
      throw bad(`an argument has no index from 0 to ${MAXIMUM_ARGUMENTS - 1}, or no value`);
  for (const filter of [rule.includes ?? {}, rule.excludes ?? {}])
    if (!isObject(filter) || !isTexts(filter.caps) || !isTexts(filter.arches))
      throw bad("includes or excludes of a rule are damaged");
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isTexts = (value: unknown): boolean =>
  value === undefined || value === null || (Array.isArray(value) && value.every((entry) => typeof entry === "string"));

/** The filter's return value for an action. */
function returnValue(action: string, errno: number | undefined): number {
  const value = ACTIONS[action];
  if (value === undefined)
    throw action === "SCMP_ACT_NOTIFY"
      ? notImplemented("seccomp profile: SCMP_ACT_NOTIFY is not supported: its agent cannot run inside of the VM")
      : bad(`unknown action ${JSON.stringify(action)}`);
  if (!WITH_DATA.has(action)) return value;
  const data = errno ?? EPERM;
  if (!Number.isInteger(data) || data < 0 || data > LARGEST_ERRNO) throw bad(`errno ${data} is out of range`);
  return value | data;
}

export interface ResolvedProfile {
  defaultReturn: number;
  /** System calls that the profile cannot know fail with ENOSYS, as with runc, when the default is an error. */
  unknownFail: boolean;
  rules: Rule[];
}

/** What of a profile holds with these capabilities (without CAP_) on an architecture (Go's name). */
export function resolveProfile(
  profile: SeccompProfile,
  capabilities: ReadonlySet<string>,
  architecture: string,
): ResolvedProfile {
  const applies = (filter: Filter | undefined, kind: "includes" | "excludes"): boolean => {
    const caps = filter?.caps ?? [];
    const arches = filter?.arches ?? [];
    const has = (name: string): boolean => capabilities.has(name.toUpperCase().replace(/^CAP_/, ""));
    if (kind === "excludes") return caps.some(has) || arches.includes(architecture) || isNewer(filter?.minKernel);
    return (
      caps.every(has) &&
      (arches.length === 0 || arches.includes(architecture)) &&
      (!filter?.minKernel || isNewer(filter.minKernel))
    );
  };
  const rules: Rule[] = [];
  for (const rule of profile.syscalls ?? []) {
    if (!applies(rule.includes, "includes") || applies(rule.excludes, "excludes")) continue;
    const conditions = (rule.args ?? []).map(({ index, value, valueTwo = 0, op }): Condition => {
      const comparison = COMPARISONS[op];
      if (!comparison) throw bad(`unknown comparison ${JSON.stringify(op)}`);
      return comparison === "masked"
        ? { index, comparison, mask: BigInt(value), value: BigInt(valueTwo) }
        : { index, comparison, value: BigInt(value) };
    });
    const result = returnValue(rule.action, rule.errnoRet);
    for (const name of rule.names) rules.push({ name, conditions, result });
  }
  const defaultReturn = returnValue(profile.defaultAction, profile.defaultErrnoRet);
  return { defaultReturn, unknownFail: profile.defaultAction === "SCMP_ACT_ERRNO", rules };
}

/** Whether every guest kernel is at least the version, `major.minor`. */
function isNewer(version: string | undefined): boolean {
  if (!version) return false;
  const match = /^(\d{1,3})\.(\d{1,3})$/.exec(version);
  if (!match) throw bad(`minKernel ${JSON.stringify(version)} is no version such as 4.8`);
  const [major, minor] = [Number(match[1]), Number(match[2])];
  return major < OLDEST_KERNEL[0] || (major === OLDEST_KERNEL[0] && minor <= OLDEST_KERNEL[1]);
}
