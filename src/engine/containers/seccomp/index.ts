/** The seccomp filter of a container: from --security-opt seccomp=…, its capabilities and its architecture. */
import type { HostConfig } from "../../contract.ts";
import { invalid } from "../../errors.ts";
import { compile } from "./compile.ts";
import { defaultProfile } from "./default-profile.ts";
import { parseProfile, resolveProfile, type SeccompProfile } from "./profile.ts";
import type { SystemCallTable } from "./system-calls.ts";

/** Names of libseccomp. x32 is left out: kernels for guests are built without it. */
const TABLES: Record<string, SystemCallTable> = {
  SCMP_ARCH_X86_64: "x86_64",
  SCMP_ARCH_X86: "i386",
  SCMP_ARCH_AARCH64: "arm64",
};
const NATIVE: Record<string, string> = { amd64: "SCMP_ARCH_X86_64", arm64: "SCMP_ARCH_AARCH64" };
const OPTION = /^seccomp[:=]/;
/** Compiled filters that are kept: containers of one endpoint have few different ones. */
const CACHE_LIMIT = 32;
const cache = new Map<string, string>();

/**
 * A BPF program (array of struct sock_filter) in base64, or undefined when nothing is filtered.
 * Throws EngineError for a profile that cannot hold.
 */
export function seccompFilter(
  hostConfig: Partial<HostConfig>,
  capabilities: readonly string[],
  architecture: string,
): string | undefined {
  const text = hostConfig.SecurityOpt?.findLast((option) => OPTION.test(option))?.replace(OPTION, "");
  const isDefault = text === undefined || text === "builtin";
  if (text === "unconfined" || (isDefault && hostConfig.Privileged)) return undefined;
  const key = JSON.stringify([isDefault ? "" : text, capabilities, architecture]);
  const known = cache.get(key);
  if (known !== undefined) return known;
  const profile = isDefault ? defaultProfile() : parseProfile(text);
  const { rules, defaultReturn, unknownFail } = resolveProfile(profile, new Set(capabilities), architecture);
  let filter: string;
  try {
    const program = compile({ tables: tablesOf(profile, architecture), rules, defaultReturn, unknownFail });
    filter = Buffer.from(program).toString("base64");
  } catch (error) {
    throw error instanceof RangeError ? invalid(`opening seccomp profile failed: ${error.message}`) : error;
  }
  if (cache.size >= CACHE_LIMIT) cache.clear();
  cache.set(key, filter);
  return filter;
}

/** The container's own architecture first, then those that the profile lets it use besides. */
function tablesOf(profile: SeccompProfile, architecture: string): SystemCallTable[] {
  const native = NATIVE[architecture];
  const table = native === undefined ? undefined : TABLES[native];
  if (table === undefined)
    throw invalid(`there are no seccomp filters for ${architecture}: use --security-opt seccomp=unconfined`);
  const mapped = (profile.archMap ?? []).find((entry) => entry.architecture === native)?.subArchitectures ?? [];
  const further = [...mapped, ...(profile.architectures ?? [])];
  return [table, ...new Set(further.map((name) => TABLES[name]).filter((name) => name !== undefined && name !== table))]
    .filter((name) => name !== undefined)
    .filter((name) => (table === "arm64") === (name === "arm64"));
}
