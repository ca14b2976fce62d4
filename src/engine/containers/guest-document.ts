/** The configuration of a container's guest, made from its document. Pure: the same document gives the same configuration. */
import type {
  ContainerConfiguration,
  DeviceLimit,
  GuestLimits,
  HealthCheck,
  LinkConfiguration,
  MountConfiguration,
} from "../../link/guest-configuration.ts";
import { sharesOf, socketsOf } from "../binds/prepare.ts";
import type { HostConfig } from "../contract.ts";
import { shortId } from "../identifiers.ts";
import { DEFAULT_SHM_SIZE, DEFAULT_STOP_TIMEOUT_SECONDS } from "../limits.ts";
import type { BindMount, ContainerDocument, MountRecord } from "./document.ts";
import { linkConfiguration, type NetworkSurroundings, networkConfiguration } from "./guest-network.ts";
import { wantedCpus } from "./host-config.ts";
import { logConfiguration } from "./log-options.ts";
import { seccompFilter } from "./seccomp/index.ts";
import { parseSize } from "./sizes.ts";
import { systemPaths } from "./system-paths.ts";

/** Docker's defaults of a health check, nanoseconds. */
const HEALTH_INTERVAL = 30e9;
const HEALTH_TIMEOUT = 30e9;
const HEALTH_START_INTERVAL = 5e9;
const HEALTH_RETRIES = 3;
/** Docker's default period, in which the guest keeps the CPU limit. */
const CPU_PERIOD_MICROSECONDS = 100_000;

export interface GuestSurroundings {
  link: Omit<LinkConfiguration, "token">;
  awaitAttach: boolean;
  /** Name of the VCH. */
  vch: string;
  networks: NetworkSurroundings;
}

export function guestConfiguration(document: ContainerDocument, around: GuestSurroundings): ContainerConfiguration {
  const { config, hostConfig } = document;
  const security = hostConfig.SecurityOpt ?? [];
  const size = hostConfig.ConsoleSize;
  const health = healthCheck(document);
  const paths = systemPaths(hostConfig);
  const seccomp = seccompFilter(hostConfig, document.capabilities, document.image.architecture);
  const rootSizeBytes = parseSize(hostConfig.StorageOpt?.size ?? "");
  return {
    version: 1,
    role: "container",
    id: document.id,
    name: document.name,
    hostname: config.Hostname || shortId(document.id),
    domainname: config.Domainname ?? "",
    link: linkConfiguration(document, around.networks, around.link),
    rootDisk: { bus: 0, unit: 0 },
    readOnlyRoot: hostConfig.ReadonlyRootfs === true,
    process: {
      arguments: document.command,
      environment: environment(document),
      workingDirectory: config.WorkingDir || "/",
      user: config.User ?? "",
      additionalGroups: hostConfig.GroupAdd ?? [],
      terminal: config.Tty === true,
      ...(config.Tty && size?.[0] && size[1] ? { consoleSize: { rows: size[0], columns: size[1] } } : {}),
      openStdin: config.OpenStdin === true,
      stdinOnce: config.StdinOnce === true,
      privileged: hostConfig.Privileged === true,
      capabilities: document.capabilities,
      noNewPrivileges: security.some((option) => /^no-new-privileges(?:[:=]true)?$/.test(option)),
      limits: (hostConfig.Ulimits ?? []).map((limit) => ({
        name: limit.Name ?? "",
        soft: limit.Soft ?? 0,
        hard: limit.Hard ?? 0,
      })),
      ...(hostConfig.OomScoreAdj ? { oomScoreAdjust: hostConfig.OomScoreAdj } : {}),
      ...(seccomp === undefined ? {} : { seccomp }),
    },
    init: hostConfig.Init === true,
    stopSignal: config.StopSignal || "SIGTERM",
    stopTimeoutSeconds: config.StopTimeout ?? DEFAULT_STOP_TIMEOUT_SECONDS,
    awaitAttach: around.awaitAttach,
    mounts: guestMounts(document.mounts),
    network: networkConfiguration(document, around.networks),
    sysctls: hostConfig.Sysctls ?? {},
    shmSizeBytes: hostConfig.ShmSize || DEFAULT_SHM_SIZE,
    maskedPaths: paths.masked,
    readOnlyPaths: paths.readOnly,
    devices: (hostConfig.Devices ?? []).map(({ PathOnHost: source = "", PathInContainer: path }) => ({
      source,
      path: path || source,
    })),
    ...(rootSizeBytes === undefined ? {} : { rootSizeBytes }),
    restart: {
      name: hostConfig.RestartPolicy?.Name || "no",
      maximumRetryCount: hostConfig.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    ...(health ? { health } : {}),
    log: logConfiguration(document, around.vch),
    limits: guestLimits(hostConfig),
  };
}

function guestLimits(hostConfig: Partial<HostConfig>): GuestLimits {
  const { PidsLimit, Memory } = hostConfig;
  const cpus = wantedCpus(hostConfig);
  return {
    ...(PidsLimit && PidsLimit > 0 ? { pids: PidsLimit } : {}),
    ...(Memory ? { memoryBytes: Memory } : {}),
    // Whole CPUs are the VM's own number of CPUs; vSphere's limit in MHz holds for the fraction, and the guest keeps it too.
    ...(cpus > 0 ? { cpuMicroseconds: Math.round(cpus * CPU_PERIOD_MICROSECONDS) } : {}),
    ...deviceLimits(hostConfig),
  };
}

/** The four lists of Docker by device. */
function deviceLimits(hostConfig: Partial<HostConfig>): { io?: DeviceLimit[] } {
  const limits = new Map<string, DeviceLimit>();
  const lists = {
    readBytes: hostConfig.BlkioDeviceReadBps,
    writeBytes: hostConfig.BlkioDeviceWriteBps,
    readOperations: hostConfig.BlkioDeviceReadIOps,
    writeOperations: hostConfig.BlkioDeviceWriteIOps,
  };
  for (const [name, list] of Object.entries(lists))
    for (const { Path: path = "", Rate } of list ?? [])
      if (Rate) limits.set(path, { ...(limits.get(path) ?? { path }), [name]: Rate });
  return limits.size > 0 ? { io: [...limits.values()] } : {};
}

/** Docker adds HOSTNAME, and TERM for a terminal, unless they are given. */
function environment({ id, config }: ContainerDocument): string[] {
  const given = config.Env ?? [];
  const has = (name: string): boolean => given.some((entry) => entry.startsWith(`${name}=`));
  return [
    ...given,
    ...(has("HOSTNAME") ? [] : [`HOSTNAME=${config.Hostname || shortId(id)}`]),
    ...(config.Tty && !has("TERM") ? ["TERM=xterm"] : []),
  ];
}

export function guestMounts(mounts: readonly MountRecord[]): MountConfiguration[] {
  const shares = sharesOf(mounts);
  const sockets = socketsOf(mounts);
  return mounts.map((mount) =>
    mount.type === "bind"
      ? bindConfiguration(mount, shares.indexOf(mount), sockets.indexOf(mount))
      : mountConfiguration(mount),
  );
}

function bindConfiguration(mount: BindMount, share: number, index: number): MountConfiguration {
  const { kind, destination, readOnly } = mount;
  if (kind !== "socket") return { type: "share", share, kind, destination, readOnly };
  return { type: "socket", index, destination, ...(mount.socketFile ?? { mode: 0o660, uid: 0, gid: 0 }) };
}

function mountConfiguration(mount: Exclude<MountRecord, BindMount>): MountConfiguration {
  if (mount.type === "tmpfs") return mount;
  return {
    type: "volume",
    disk: mount.disk,
    destination: mount.destination,
    readOnly: mount.readOnly,
    copyUp: mount.type === "volume" && mount.copyUp,
    ...(mount.subpath === undefined ? {} : { subpath: mount.subpath }),
  };
}

function healthCheck({ config }: ContainerDocument): HealthCheck | undefined {
  const given = config.Healthcheck;
  if (!given?.Test?.length || given.Test[0] === "NONE") return undefined;
  const test =
    given.Test[0] === "CMD-SHELL"
      ? ["CMD", ...(config.Shell?.length ? config.Shell : ["/bin/sh", "-c"]), ...given.Test.slice(1)]
      : given.Test;
  return {
    test,
    intervalNanoseconds: given.Interval || HEALTH_INTERVAL,
    timeoutNanoseconds: given.Timeout || HEALTH_TIMEOUT,
    startPeriodNanoseconds: given.StartPeriod ?? 0,
    startIntervalNanoseconds: given.StartInterval || HEALTH_START_INTERVAL,
    retries: given.Retries || HEALTH_RETRIES,
  };
}
