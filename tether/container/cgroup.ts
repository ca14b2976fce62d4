import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { PATHS } from "../paths.ts";
import { MOUNT, mount } from "../system/libc.ts";

const TOP = "/sys/fs/cgroup";

/** Puts the container into a cgroup of its own: for its statistics and the limit on processes. Throws when a limit cannot be kept. */
export const prepareCgroup = (pidsLimit: number | undefined): string | undefined => {
  if (!existsSync(`${TOP}/cgroup.controllers`)) {
    try {
      mount("cgroup2", TOP, "cgroup2", MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec);
    } catch (error) {
      if (pidsLimit !== undefined) throw new Error(`the kernel has no cgroups for the limit on processes: ${error}`);
      return undefined;
    }
  }
  const available = readFileSync(`${TOP}/cgroup.controllers`, "utf8").trim().split(" ");
  const wanted = ["cpu", "memory", "pids", "io"].filter((name) => available.includes(name));
  writeFileSync(`${TOP}/cgroup.subtree_control`, wanted.map((name) => `+${name}`).join(" "));
  mkdirSync(PATHS.cgroup, { recursive: true });
  if (pidsLimit !== undefined && pidsLimit > 0) writeFileSync(`${PATHS.cgroup}/pids.max`, String(pidsLimit));
  return `${PATHS.cgroup}/cgroup.procs`;
};

/** How often the kernel has killed a process for want of memory since boot. */
export const outOfMemoryKills = (): number => {
  const match = /^oom_kill (\d+)$/m.exec(readFileSync("/proc/vmstat", "utf8"));
  return Number(match?.[1] ?? 0);
};
