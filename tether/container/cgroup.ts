import { existsSync, mkdirSync, readFileSync, watch, writeFileSync } from "node:fs";
import type { DeviceLimit, GuestLimits } from "../../src/link/guest-configuration.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { deviceNumbers, deviceStat } from "../boot/devices.ts";
import { PATHS } from "../paths.ts";
import { MOUNT, mount } from "../system/libc.ts";

const TOP = "/sys/fs/cgroup";
/** The period in which cpuMicroseconds are given, Docker's default. */
const CPU_PERIOD = 100_000;
/** Milliseconds for the processes to come to a stop; one that waits for a disk cannot before its answer. */
const FREEZE_LIMIT = 10_000;

/** Puts the container into a cgroup of its own: for its statistics and limits. Throws when a limit cannot be kept. */
export const prepareCgroup = (limits: GuestLimits): string | undefined => {
  if (!existsSync(`${TOP}/cgroup.controllers`)) {
    try {
      mount("cgroup2", TOP, "cgroup2", MOUNT.noSuid | MOUNT.noDev | MOUNT.noExec);
    } catch (error) {
      if (Object.values(limits).some((limit) => limit !== undefined))
        throw new Error(`the kernel has no cgroups for the container's limits: ${error}`);
      return undefined;
    }
  }
  const available = readFileSync(`${TOP}/cgroup.controllers`, "utf8").trim().split(" ");
  const wanted = ["cpu", "memory", "pids", "io"].filter((name) => available.includes(name));
  writeFileSync(`${TOP}/cgroup.subtree_control`, wanted.map((name) => `+${name}`).join(" "));
  mkdirSync(PATHS.cgroup, { recursive: true });
  for (const [file, value] of limitFiles(limits)) if (value !== "max") writeLimit(file, value);
  for (const limit of limits.io ?? []) writeLimit("io.max", deviceLimit(limit));
  return `${PATHS.cgroup}/cgroup.procs`;
};

const limitFiles = ({ pids, memoryBytes, cpuMicroseconds }: GuestLimits): [file: string, value: string][] => [
  ["pids.max", pids === undefined ? "max" : String(pids)],
  ["memory.max", memoryBytes === undefined ? "max" : String(memoryBytes)],
  ["cpu.max", cpuMicroseconds === undefined ? "max" : `${Math.max(1000, cpuMicroseconds)} ${CPU_PERIOD}`],
];

const deviceLimit = ({ path, ...limit }: DeviceLimit): string => {
  const found = deviceStat(path);
  if (!found.isBlockDevice()) throw new LinkError("invalid", `${path} is no block device of the container's VM`);
  const { major, minor } = deviceNumbers(found.rdev);
  const { readBytes = "max", writeBytes = "max", readOperations = "max", writeOperations = "max" } = limit;
  return `${major}:${minor} rbps=${readBytes} wbps=${writeBytes} riops=${readOperations} wiops=${writeOperations}`;
};

const writeLimit = (file: string, value: string): void => {
  try {
    writeFileSync(`${PATHS.cgroup}/${file}`, value);
  } catch (error) {
    throw new LinkError("unsupported", `the guest's kernel does not keep ${file} ${value}: ${error}`);
  }
};

/** Changes the limits of the running container. */
export const changeLimits = (limits: GuestLimits): void => {
  for (const [file, value] of limitFiles(limits)) {
    if (value === "max" && !existsSync(`${PATHS.cgroup}/${file}`)) continue;
    writeLimit(file, value);
  }
};

/** Freezes all processes of the container. Resolves when they stand still; fails, and lets them go on, when they do not. */
export const freeze = async (): Promise<void> => {
  const events = `${PATHS.cgroup}/cgroup.events`;
  if (!existsSync(`${PATHS.cgroup}/cgroup.freeze`)) {
    throw new LinkError(
      "unsupported",
      "the guest's kernel has no cgroup freezer: use a newer one in the bootstrap ISO",
    );
  }
  const isFrozen = (): boolean => /^frozen 1$/m.test(readFileSync(events, "utf8"));
  const frozen = Promise.withResolvers<void>();
  const watcher = watch(events, () => {
    if (isFrozen()) frozen.resolve();
  });
  const late = setTimeout(
    () => frozen.reject(new LinkError("busy", `the processes did not come to a stop within ${FREEZE_LIMIT / 1000} s`)),
    FREEZE_LIMIT,
  );
  try {
    writeFileSync(`${PATHS.cgroup}/cgroup.freeze`, "1");
    if (isFrozen()) frozen.resolve();
    await frozen.promise;
  } catch (error) {
    thaw();
    throw error;
  } finally {
    clearTimeout(late);
    watcher.close();
  }
};

export const thaw = (): void => writeFileSync(`${PATHS.cgroup}/cgroup.freeze`, "0");

/** How often the kernel has killed a process for want of memory since boot. */
export const outOfMemoryKills = (): number => {
  const match = /^oom_kill (\d+)$/m.exec(readFileSync("/proc/vmstat", "utf8"));
  return Number(match?.[1] ?? 0);
};
