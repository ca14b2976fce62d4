/** CPU limits by control groups (version 2, or the cpu controller of version 1). */
import { access, mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { HypervisorError } from "../contract.ts";

const PERIOD_MICROSECONDS = 100_000;
/** The kernel's smallest quota. */
const SMALLEST_QUOTA_MICROSECONDS = 1000;
const VERSION_2 = "/sys/fs/cgroup";
const VERSION_1 = "/sys/fs/cgroup/cpu";

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/** CPU time per period for a limit in MHz on a host whose CPUs have `hostMhz`. */
export function quotaMicroseconds(limitMhz: number, hostMhz: number): number {
  return Math.max(SMALLEST_QUOTA_MICROSECONDS, Math.round((limitMhz / hostMhz) * PERIOD_MICROSECONDS));
}

/** Speed of one CPU of this machine in MHz. */
export async function hostCpuMhz(): Promise<number> {
  const match = /^cpu MHz\s*:\s*([0-9.]+)/m.exec(await readFile("/proc/cpuinfo", "utf8"));
  return Math.round(Number(match?.[1] ?? 2000));
}

/** Put a process under a limit. Throws when this machine cannot: a limit that is not enforced would be a lie. */
export async function limitCpu(owner: string, id: string, pid: number, limitMhz: number): Promise<void> {
  const quota = quotaMicroseconds(limitMhz, await hostCpuMhz());
  try {
    if (await exists(`${VERSION_2}/cgroup.controllers`)) {
      const parent = `${VERSION_2}/${owner}`;
      await writeFile(`${VERSION_2}/cgroup.subtree_control`, "+cpu");
      await mkdir(parent, { recursive: true });
      await writeFile(`${parent}/cgroup.subtree_control`, "+cpu");
      await mkdir(`${parent}/${id}`, { recursive: true });
      await writeFile(`${parent}/${id}/cpu.max`, `${quota} ${PERIOD_MICROSECONDS}`);
      await writeFile(`${parent}/${id}/cgroup.procs`, String(pid));
    } else {
      const group = `${VERSION_1}/${owner}/${id}`;
      await mkdir(group, { recursive: true });
      await writeFile(`${group}/cpu.cfs_period_us`, String(PERIOD_MICROSECONDS));
      await writeFile(`${group}/cpu.cfs_quota_us`, String(quota));
      await writeFile(`${group}/cgroup.procs`, String(pid));
    }
  } catch (error) {
    throw new HypervisorError(
      "HostConfigFault",
      `this machine cannot enforce a CPU limit (${error instanceof Error ? error.message : error}); give the lab the cpu control group, or set no limit`,
    );
  }
}

/** Remove the group of an ended process. */
export async function releaseCpuLimit(owner: string, id: string): Promise<void> {
  for (const group of [`${VERSION_2}/${owner}/${id}`, `${VERSION_1}/${owner}/${id}`]) {
    if (await exists(group)) await rmdir(group);
  }
}

/** Remove the lab's own group, once no machine runs. */
export async function releaseCpuLimits(owner: string): Promise<void> {
  for (const group of [`${VERSION_2}/${owner}`, `${VERSION_1}/${owner}`]) {
    if (await exists(group)) await rmdir(group);
  }
}
