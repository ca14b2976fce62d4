/** CPU limits by control groups: version 2, or version 1 where the cpu controller is still there. */
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HypervisorError } from "../contract.ts";

const PERIOD_MICROSECONDS = 100_000;
/** The kernel's smallest quota. */
const SMALLEST_QUOTA_MICROSECONDS = 1000;
/** How often a group is made anew that somebody else removed in between. */
const ATTEMPTS = 10;
/** How often, and how far apart, a group is asked to go whose process has ended. */
const RELEASE_ATTEMPTS = 40;
const RELEASE_PAUSE_MILLISECONDS = 50;

/** Where the cpu controller is. A kernel has it in one hierarchy only, also when both versions are mounted. */
export interface CpuHierarchy {
  version: 1 | 2;
  mountPoint: string;
}

/** The mounted hierarchies of control groups that may have the cpu controller, from the text of /proc/self/mountinfo. */
export function mountedHierarchies(mountinfo: string): CpuHierarchy[] {
  const found: CpuHierarchy[] = [];
  for (const line of mountinfo.split("\n")) {
    const [mount = "", filesystem = ""] = line.split(" - ");
    const [, , , , escaped = "", mountOptions = ""] = mount.split(" ");
    const [type, , superOptions = ""] = filesystem.split(" ");
    if (mountOptions.split(",").includes("ro")) continue;
    const mountPoint = escaped.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    if (type === "cgroup2") found.push({ version: 2, mountPoint });
    else if (type === "cgroup" && superOptions.split(",").includes("cpu")) found.push({ version: 1, mountPoint });
  }
  return found;
}

async function findHierarchy(): Promise<CpuHierarchy | undefined> {
  for (const hierarchy of mountedHierarchies(await readFile("/proc/self/mountinfo", "utf8"))) {
    if (hierarchy.version === 1) return hierarchy;
    const controllers = await readFile(join(hierarchy.mountPoint, "cgroup.controllers"), "utf8");
    if (controllers.trim().split(" ").includes("cpu")) return hierarchy;
  }
  return undefined;
}

const hasCode = (error: unknown, ...codes: string[]): boolean =>
  error instanceof Error && "code" in error && codes.includes(String(error.code));

/** CPU time per period for a limit in MHz on a host whose CPUs have `hostMhz`. */
export function quotaMicroseconds(limitMhz: number, hostMhz: number): number {
  return Math.max(SMALLEST_QUOTA_MICROSECONDS, Math.round((limitMhz / hostMhz) * PERIOD_MICROSECONDS));
}

/** Speed of one CPU of this machine in MHz. */
export async function hostCpuMhz(): Promise<number> {
  const match = /^cpu MHz\s*:\s*([0-9.]+)/m.exec(await readFile("/proc/cpuinfo", "utf8"));
  return Math.round(Number(match?.[1] ?? 2000));
}

async function putUnderQuota(hierarchy: CpuHierarchy, owner: string, id: string, pid: number, quota: number) {
  const parent = join(hierarchy.mountPoint, owner);
  const group = join(parent, id);
  if (hierarchy.version === 2) {
    await writeFile(join(hierarchy.mountPoint, "cgroup.subtree_control"), "+cpu");
    await mkdir(parent, { recursive: true });
    await writeFile(join(parent, "cgroup.subtree_control"), "+cpu");
    await mkdir(group, { recursive: true });
    await writeFile(join(group, "cpu.max"), `${quota} ${PERIOD_MICROSECONDS}`);
  } else {
    await mkdir(group, { recursive: true });
    await writeFile(join(group, "cpu.cfs_period_us"), String(PERIOD_MICROSECONDS));
    await writeFile(join(group, "cpu.cfs_quota_us"), String(quota));
  }
  await writeFile(join(group, "cgroup.procs"), String(pid));
}

/** Put a process under a limit. Throws when this machine cannot: a limit that is not enforced would be a lie. */
export async function limitCpu(owner: string, id: string, pid: number, limitMhz: number): Promise<void> {
  const quota = quotaMicroseconds(limitMhz, await hostCpuMhz());
  try {
    const hierarchy = await findHierarchy();
    if (hierarchy === undefined)
      throw new Error("no writable control group hierarchy with the cpu controller is mounted");
    for (let attempt = 1; ; attempt++) {
      try {
        await putUnderQuota(hierarchy, owner, id, pid, quota);
        return;
      } catch (error) {
        // Labs of different mount namespaces can share the tree and, with the same path of state, the parent, which the other
        // removes with its last machine: the group is gone (ENOENT) or cannot be made any more (ENODEV).
        if (attempt === ATTEMPTS || !hasCode(error, "ENOENT", "ENODEV")) throw error;
      }
    }
  } catch (error) {
    throw new HypervisorError(
      "HostConfigFault",
      `this machine cannot enforce a CPU limit (${error instanceof Error ? error.message : error}); give the lab the cpu control group, or set no limit`,
    );
  }
}

/** Groups that are gone already are no error; one that is in use belongs to another lab as well, which will remove it. */
async function removeGroup(...path: string[]): Promise<void> {
  const hierarchy = await findHierarchy();
  if (hierarchy === undefined) return;
  try {
    await rmdir(join(hierarchy.mountPoint, ...path));
  } catch (error) {
    if (!hasCode(error, "ENOENT", "EBUSY", "ENOTEMPTY")) throw error;
  }
}

/** Remove the group of an ended process. */
export const releaseCpuLimit = (owner: string, id: string): Promise<void> => removeGroup(owner, id);

/** Remove the lab's own group, once no machine runs, with what is left of groups whose process had not quite ended before. */
export async function releaseCpuLimits(owner: string): Promise<void> {
  const hierarchy = await findHierarchy();
  if (hierarchy === undefined) return;
  const parent = join(hierarchy.mountPoint, owner);
  const entries = await readdir(parent, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    // The kernel lets go of a group a moment after its last process has ended, and tells nobody.
    for (let attempt = 1; attempt <= RELEASE_ATTEMPTS; attempt++) {
      await removeGroup(owner, entry.name);
      if (!existsSync(join(parent, entry.name))) break;
      await Bun.sleep(RELEASE_PAUSE_MILLISECONDS);
    }
  }
  await removeGroup(owner);
}
