import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import type { GuestStatistics } from "../../src/link/operations.ts";
import { PATHS } from "../paths.ts";

const readText = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");

/** `name value` lines. */
const readTable = (path: string): Record<string, number> => {
  const values: Record<string, number> = {};
  for (const line of readText(path).split("\n")) {
    const [name, value] = line.split(" ");
    if (name !== undefined && name !== "" && value !== undefined) values[name] = Number(value);
  }
  return values;
};

/** Nanoseconds of all processors together since boot. */
const systemCpu = (): number => {
  const first = readText("/proc/stat").split("\n", 1)[0] ?? "";
  const ticks = first.trim().split(/\s+/).slice(1, 9).map(Number);
  return ticks.reduce((sum, value) => sum + value, 0) * 10_000_000;
};

const networks = (pid: number): GuestStatistics["networks"] => {
  const result: GuestStatistics["networks"] = {};
  for (const line of readText(`/proc/${pid}/net/dev`).split("\n").slice(2)) {
    const [name = "", ...rest] = line.trim().split(/[\s:]+/);
    if (name === "" || name === "lo") continue;
    const n = rest.map(Number);
    const at = (index: number): number => n[index] ?? 0;
    result[name] = {
      rxBytes: at(0),
      rxPackets: at(1),
      rxErrors: at(2),
      rxDropped: at(3),
      txBytes: at(8),
      txPackets: at(9),
      txErrors: at(10),
      txDropped: at(11),
    };
  }
  return result;
};

const block = (): GuestStatistics["block"] => {
  const result: GuestStatistics["block"] = [];
  for (const line of readText(`${PATHS.cgroup}/io.stat`).split("\n")) {
    const match = /^(\d+):(\d+) (.*)$/.exec(line);
    if (match === null) continue;
    const values = new Map((match[3] ?? "").split(" ").map((pair) => pair.split("=", 2) as [string, string]));
    const device = { major: Number(match[1]), minor: Number(match[2]) };
    const value = (key: string): number => Number(values.get(key) ?? 0);
    result.push({ ...device, operation: "read", bytes: value("rbytes"), operations: value("rios") });
    result.push({ ...device, operation: "write", bytes: value("wbytes"), operations: value("wios") });
  }
  return result;
};

/** Resource use of the container's cgroup; networks as its process sees them. */
export const readStatistics = (pid: number): GuestStatistics => {
  const cpu = readTable(`${PATHS.cgroup}/cpu.stat`);
  const total = /^MemTotal:\s+(\d+)/m.exec(readText("/proc/meminfo"))?.[1];
  return {
    readAt: new Date().toISOString(),
    cpu: {
      totalNanoseconds: (cpu.usage_usec ?? 0) * 1000,
      userNanoseconds: (cpu.user_usec ?? 0) * 1000,
      kernelNanoseconds: (cpu.system_usec ?? 0) * 1000,
      systemNanoseconds: systemCpu(),
      online: cpus().length,
      throttling: {
        periods: cpu.nr_periods ?? 0,
        throttledPeriods: cpu.nr_throttled ?? 0,
        throttledNanoseconds: (cpu.throttled_usec ?? 0) * 1000,
      },
    },
    memory: {
      usageBytes: Number(readText(`${PATHS.cgroup}/memory.current`).trim() || 0),
      limitBytes: Number(total ?? 0) * 1024,
      statistics: readTable(`${PATHS.cgroup}/memory.stat`),
    },
    pids: Number(readText(`${PATHS.cgroup}/pids.current`).trim() || 0),
    networks: networks(pid),
    block: block(),
  };
};
