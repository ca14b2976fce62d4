/** Checks of HostConfig and Config values that are applied or mapped, with Docker's texts where it has one. */
import { isIP } from "node:net";
import { posix } from "node:path";
import type { ContainerConfig, HostConfig } from "../contract.ts";
import { invalid, notImplemented } from "../errors.ts";
import { GUEST_OVERHEAD_MB, MEMORY_STEP_MB, MINIMUM_MEMORY } from "../limits.ts";
import { signalNumber } from "../signals.ts";
import { checkWeights } from "./disk-shares.ts";
import { checkLog } from "./log-options.ts";
import { parseSize } from "./sizes.ts";

const ULIMITS = new Set(
  "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(" "),
);
const SECURITY =
  /^seccomp[:=](?:unconfined|builtin|\s*\{)|^(?:apparmor|systempaths)[:=]unconfined$|^label[:=]disable$|^no-new-privileges(?:[:=](?:true|false))?$/;
const BYTES_PER_MB = 1024 * 1024;
const HOST_NAME = /^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$/;

export function checkHostConfig(config: Partial<HostConfig>): void {
  for (const limit of config.Ulimits ?? []) {
    if (!ULIMITS.has(limit.Name ?? "")) throw invalid(`invalid ulimit type: ${limit.Name}`);
    if ((limit.Hard ?? 0) !== -1 && ((limit.Soft ?? 0) === -1 || (limit.Soft ?? 0) > (limit.Hard ?? 0)))
      throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${limit.Soft} > ${limit.Hard}`);
  }
  for (const option of config.SecurityOpt ?? [])
    if (!SECURITY.test(option))
      throw notImplemented(
        `HostConfig.SecurityOpt ${JSON.stringify(option.slice(0, 80))} is not supported: the VM is the boundary, and AppArmor or SELinux profiles are not loaded in it. Leave it out, or use a seccomp profile`,
      );
  for (const entry of config.ExtraHosts ?? []) {
    const separator = entry.search(/[:=]/);
    const address = entry.slice(separator + 1).replace(/^\[(.*)\]$/, "$1");
    if (separator < 1) throw invalid(`bad format for add-host: ${JSON.stringify(entry)}`);
    if (address !== "host-gateway" && isIP(address) === 0)
      throw invalid(`invalid IP address in add-host: ${JSON.stringify(address)}`);
  }
  for (const server of config.Dns ?? []) if (isIP(server) === 0) throw invalid(`invalid IP address: ${server}`);
  const policy = config.RestartPolicy;
  if (policy && !["", "no", "always", "unless-stopped", "on-failure", undefined].includes(policy.Name))
    throw invalid(
      `invalid restart policy: unknown policy '${policy.Name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  if (policy?.MaximumRetryCount && policy.Name !== "on-failure")
    throw invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'");
  if ((policy?.MaximumRetryCount ?? 0) < 0)
    throw invalid("invalid restart policy: maximum retry count cannot be negative");
  if (config.AutoRemove && policy?.Name && policy.Name !== "no")
    throw invalid("can't create 'AutoRemove' container with restart policy");
  if (Math.abs(config.OomScoreAdj ?? 0) > 1000)
    throw invalid(`Invalid value ${config.OomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  if ((config.ShmSize ?? 0) < 0) throw invalid("SHM size can not be less than 0");
  checkDevices(config);
  checkWeights(config);
  checkStorage(config.StorageOpt);
  checkLog(config.LogConfig);
  checkMemory(config);
}

const DEVICE_RULE = /^[acb] (?:\d+|\*):(?:\d+|\*) [rwm]{1,3}$/;

function checkDevices(config: Partial<HostConfig>): void {
  for (const { PathOnHost: source = "", PathInContainer: path, CgroupPermissions: permissions } of config.Devices ??
    []) {
    if (!source.startsWith("/dev/")) throw invalid(`${JSON.stringify(source)} is not an absolute path below /dev`);
    if (path && (!path.startsWith("/") || posix.normalize(path) !== path || path.endsWith("/")))
      throw invalid(`${JSON.stringify(path)} is not an absolute path`);
    if (permissions && [...permissions].sort().join("") !== "mrw")
      throw notImplemented(
        `HostConfig.Devices with permissions ${JSON.stringify(permissions)} is not supported: a container may use every device of its own VM. Use rwm, or --cap-drop`,
      );
  }
  for (const rule of config.DeviceCgroupRules ?? [])
    if (!DEVICE_RULE.test(rule)) throw invalid(`invalid device cgroup rule format: '${rule}'`);
  const limits = [
    ...(config.BlkioDeviceReadBps ?? []),
    ...(config.BlkioDeviceWriteBps ?? []),
    ...(config.BlkioDeviceReadIOps ?? []),
    ...(config.BlkioDeviceWriteIOps ?? []),
  ];
  for (const { Path: path = "", Rate: rate = 0 } of limits) {
    if (!path.startsWith("/dev/")) throw invalid(`bad format for device path: ${path}`);
    if (!Number.isSafeInteger(rate) || rate < 0) throw invalid(`invalid rate for device: ${path}:${rate}`);
  }
}

function checkStorage(options: HostConfig["StorageOpt"]): void {
  for (const [name, value] of Object.entries(options ?? {})) {
    if (name !== "size") throw invalid(`Unknown option ${name}`);
    if (!parseSize(value)) throw invalid(`invalid size: '${value}'`);
  }
}

function checkMemory(config: Partial<HostConfig>): void {
  const memory = config.Memory ?? 0;
  if (memory < 0 || (memory > 0 && memory < MINIMUM_MEMORY)) throw invalid("Minimum memory limit allowed is 6MB");
  const swap = config.MemorySwap ?? 0;
  if (swap > 0 && memory === 0)
    throw invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
  if (swap > 0 && swap < memory)
    throw invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
  if (swap === -1 || swap > memory)
    throw notImplemented(
      "HostConfig.MemorySwap is not supported: a container VM has no swap. Leave it out, or give it the value of --memory",
    );
  if (config.MemoryReservation && memory && config.MemoryReservation > memory)
    throw invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
}

export function checkConfig(config: Partial<ContainerConfig>): void {
  if (config.StopSignal) signalNumber(config.StopSignal);
  if (config.Hostname && !config.Hostname.split(".").every((part) => HOST_NAME.test(part)))
    throw invalid(`invalid hostname format: ${config.Hostname}`);
  if (config.WorkingDir && !config.WorkingDir.startsWith("/"))
    throw invalid(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
}

export interface MachineSize {
  cpus: number;
  memoryMB: number;
  cpuLimitMhz?: number;
  cpuShares?: number;
  memoryReservationMB?: number;
}

const DEFAULT_CPU_PERIOD = 100_000;
/** Docker's neutral CpuShares value, and vSphere's shares of one vCPU at level normal. */
const DOCKER_SHARES = 1024;
const VSPHERE_SHARES = 1000;

/** The number of CPUs asked for, with fraction; 0 when there is no limit. */
export function wantedCpus(config: Partial<HostConfig>): number {
  if (config.NanoCpus) return config.NanoCpus / 1e9;
  return config.CpuQuota && config.CpuQuota > 0 ? config.CpuQuota / (config.CpuPeriod || DEFAULT_CPU_PERIOD) : 0;
}

/** How many CPUs a list such as `0-2,5` has; 0 for an empty one. Throws EngineError with Docker's text. */
export function cpusetSize(list: string | undefined, available: number): number {
  if (!list) return 0;
  const chosen = new Set<number>();
  for (const part of list.split(",")) {
    const match = /^\s*(\d{1,4})(?:-(\d{1,4}))?\s*$/.exec(part);
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (!match || last < first) throw invalid(`Invalid value ${list} for cpuset cpus`);
    for (let cpu = first; cpu <= last; cpu++) chosen.add(cpu);
  }
  if (Math.max(...chosen) >= available)
    throw invalid(`Requested CPUs are not available - requested ${list}, available: 0-${available - 1}`);
  return chosen.size;
}

/** The VM's size. `capacity` is what the hosts have; `cpuMhz` of one CPU. */
export function machineSize(
  config: Partial<HostConfig>,
  defaults: { memoryMB: number; cpus: number },
  capacity: { cpus: number; cpuMhz: number },
): MachineSize {
  if (config.NanoCpus && (config.CpuQuota || config.CpuPeriod))
    throw invalid("Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set.");
  const wanted = wantedCpus(config);
  if (wanted < 0 || (wanted > 0 && (wanted < 0.01 || wanted > capacity.cpus)))
    throw invalid(
      `range of CPUs is from 0.01 to ${capacity.cpus}.00, as there are only ${capacity.cpus} CPUs available`,
    );
  const set = cpusetSize(config.CpusetCpus, capacity.cpus);
  const whole = wanted > 0 ? Math.ceil(wanted) : set || defaults.cpus;
  const cpus = set > 0 ? Math.min(whole, set) : whole;
  const memoryMB = config.Memory ? Math.ceil(config.Memory / BYTES_PER_MB) + GUEST_OVERHEAD_MB : defaults.memoryMB;
  return {
    cpus,
    memoryMB: Math.ceil(memoryMB / MEMORY_STEP_MB) * MEMORY_STEP_MB,
    ...(wanted > 0 && wanted < cpus ? { cpuLimitMhz: Math.max(1, Math.round(wanted * capacity.cpuMhz)) } : {}),
    ...(config.CpuShares
      ? { cpuShares: Math.max(1, Math.round((config.CpuShares * VSPHERE_SHARES * cpus) / DOCKER_SHARES)) }
      : {}),
    ...(config.MemoryReservation ? { memoryReservationMB: Math.ceil(config.MemoryReservation / BYTES_PER_MB) } : {}),
  };
}
