/**
 * What becomes of every field of a container create request: applied, mapped to a vSphere setting, or refused with the reason.
 * Nothing is accepted and ignored. A field that is not in the table is refused unless its value is a default.
 * The documentation of supported options is generated from this table.
 */
import type { ContainerCreateBody, ContainerUpdateBody } from "../contract.ts";
import { type EngineError, invalid, notImplemented } from "../errors.ts";

export type Treatment = "applied" | "mapped" | "refused";

export interface FieldRule {
  /** `Config.Env`, `HostConfig.Memory` … */
  field: string;
  treatment: Treatment;
  /** What is done with it; for a refused one why it is refused and what to do instead. */
  note: string;
  /** Values besides the zero value that ask for nothing, or for what holds anyway. */
  harmless?: readonly unknown[];
}

const applied = (field: string, note: string): FieldRule => ({ field, treatment: "applied", note });
const mapped = (field: string, note: string): FieldRule => ({ field, treatment: "mapped", note });
const refused = (field: string, note: string, harmless: readonly unknown[] = []): FieldRule => ({
  field,
  treatment: "refused",
  note,
  harmless,
});

const WINDOWS = "it is an option of Windows containers; leave it out";
const REAL_TIME = "a VM has no real-time share of a host's CPU; use --cpus or --cpu-shares";
const DEVICES =
  "GPUs and other devices of a host are given to VMs by a vSphere administrator (PCI passthrough); use --device for the VM's own";

export const CONTAINER_FIELDS: readonly FieldRule[] = [
  applied("Config.Hostname", "host name of the guest; the short id when left out"),
  applied("Config.Domainname", "domain name of the guest"),
  applied("Config.User", "user of the process, looked up in the container's own /etc/passwd"),
  applied("Config.AttachStdin", "whether the client attaches before the start"),
  applied("Config.AttachStdout", "whether the client attaches before the start"),
  applied("Config.AttachStderr", "whether the client attaches before the start"),
  applied("Config.ExposedPorts", "shown, and published with -P"),
  applied("Config.Tty", "the process has a terminal"),
  applied("Config.OpenStdin", "stdin stays open"),
  applied("Config.StdinOnce", "stdin is closed when the first client leaves"),
  applied("Config.Env", "environment, after the image's"),
  applied("Config.Cmd", "arguments"),
  applied("Config.Entrypoint", "program"),
  applied("Config.Image", "image of the root disk"),
  applied("Config.Volumes", "anonymous volumes"),
  applied("Config.WorkingDir", "working directory, made when missing"),
  applied("Config.Labels", "shown, filtered by, and written in the VM's notes"),
  applied("Config.StopSignal", "signal of docker stop"),
  applied("Config.StopTimeout", "patience of docker stop"),
  applied("Config.Healthcheck", "run by the tether in the guest"),
  applied("Config.Shell", "shell of a shell-form health check"),
  applied("Config.NetworkDisabled", "same as --network none"),
  mapped("Config.MacAddress", "static MAC address of the vNIC"),
  refused("Config.OnBuild", "triggers belong to builds, not to containers; leave it out"),
  refused("Config.ArgsEscaped", WINDOWS),

  applied("HostConfig.Binds", "volumes, and paths of the endpoint's machine shared live: docs/bind-mounts.md"),
  applied(
    "HostConfig.Mounts",
    "volumes, bind mounts (docs/bind-mounts.md), tmpfs, and images: their files on a disk of the container's own, writable unless readonly",
  ),
  applied("HostConfig.VolumesFrom", "the other container's volumes and bind mounts"),
  applied("HostConfig.VolumeDriver", "driver of new volumes: local or vsphere, which are the same"),
  applied("HostConfig.Tmpfs", "tmpfs mounts"),
  applied("HostConfig.ContainerIDFile", "written by the client"),
  applied(
    "HostConfig.LogConfig",
    "json-file, local or none, with max-size and max-file, kept on the container's own disk; json-file with labels, env and tag for docker logs --details; syslog (udp, tcp; facility, format, tag), sent by the guest and kept for docker logs as well",
  ),
  applied("HostConfig.NetworkMode", "bridge, none, a network of docker network create, or a container network"),
  applied("HostConfig.PortBindings", "published on the endpoint"),
  applied("HostConfig.PublishAllPorts", "every exposed port is published"),
  applied("HostConfig.RestartPolicy", "kept by the tether, also while the endpoint is down"),
  applied("HostConfig.AutoRemove", "VM and anonymous volumes go when the process has ended"),
  applied("HostConfig.ConsoleSize", "first size of the terminal"),
  applied("HostConfig.Annotations", "shown"),
  applied("HostConfig.CapAdd", "capabilities of the process"),
  applied("HostConfig.CapDrop", "capabilities of the process"),
  applied("HostConfig.Privileged", "all capabilities and devices of the container's own VM"),
  applied("HostConfig.Dns", "name servers"),
  applied("HostConfig.DnsOptions", "resolver options"),
  applied("HostConfig.DnsSearch", "search domains"),
  applied("HostConfig.ExtraHosts", "/etc/hosts; host-gateway is the gateway of the bridge network"),
  applied(
    "HostConfig.Links",
    "names of the other container: in /etc/hosts on the default bridge, in the resolver elsewhere; without its environment variables",
  ),
  applied("HostConfig.GroupAdd", "supplementary groups"),
  applied("HostConfig.Init", "a minimal init reaps processes"),
  applied("HostConfig.ReadonlyRootfs", "the root is mounted read-only"),
  applied(
    "HostConfig.SecurityOpt",
    "no-new-privileges; seccomp: Docker's default profile, one of your own, or unconfined; AppArmor and SELinux only as unconfined",
  ),
  applied("HostConfig.ShmSize", "size of /dev/shm"),
  applied("HostConfig.Sysctls", "kernel settings of the container's own VM"),
  applied("HostConfig.Ulimits", "resource limits of the process"),
  applied("HostConfig.PidsLimit", "number of processes"),
  mapped("HostConfig.Memory", "the VM's memory, plus what kernel and tether need; the guest keeps the container to it"),
  mapped("HostConfig.MemoryReservation", "the VM's memory reservation"),
  mapped("HostConfig.NanoCpus", "vCPUs, and a CPU limit in MHz for the fraction"),
  mapped("HostConfig.CpuPeriod", "together with CpuQuota as NanoCpus"),
  mapped("HostConfig.CpuQuota", "together with CpuPeriod as NanoCpus"),
  mapped("HostConfig.CpuShares", "the VM's CPU shares: Docker's 1024 are vSphere's 1000 per vCPU"),
  applied("HostConfig.MemorySwap", "a VM has no swap: only the value of Memory is possible"),
  refused(
    "HostConfig.MemorySwappiness",
    "a container VM has no swap; leave it out",
    // The CLI's way to say "not given".
    [-1],
  ),
  refused("HostConfig.OomKillDisable", "the guest's kernel must be able to end a process; raise -m instead"),
  applied("HostConfig.OomScoreAdj", "which process the guest's kernel ends first when memory runs out"),
  mapped("HostConfig.CpusetCpus", "as many vCPUs as the list has CPUs; vSphere chooses which of the host's they are"),
  refused("HostConfig.CpusetMems", "vSphere places a VM's memory; leave it out", ["0"]),
  refused("HostConfig.CpuRealtimePeriod", REAL_TIME),
  refused("HostConfig.CpuRealtimeRuntime", REAL_TIME),
  mapped(
    "HostConfig.BlkioWeight",
    "vSphere's shares of each of the VM's disks: twice the weight, at least 200; Docker's neutral 500 are vSphere's normal 1000",
  ),
  mapped("HostConfig.BlkioWeightDevice", "the same for one disk: /dev/sda, the root disk; others are refused"),
  applied(
    "HostConfig.BlkioDeviceReadBps",
    "bytes read per second of a disk of the VM, kept by the guest; /dev/sda is the root disk",
  ),
  applied(
    "HostConfig.BlkioDeviceWriteBps",
    "bytes written per second of a disk of the VM, kept by the guest; /dev/sda is the root disk",
  ),
  applied(
    "HostConfig.BlkioDeviceReadIOps",
    "reads per second of a disk of the VM, kept by the guest; /dev/sda is the root disk",
  ),
  applied(
    "HostConfig.BlkioDeviceWriteIOps",
    "writes per second of a disk of the VM, kept by the guest; /dev/sda is the root disk",
  ),
  applied("HostConfig.Devices", "nodes of the VM's own devices, with permissions rwm"),
  applied(
    "HostConfig.DeviceCgroupRules",
    "what a rule allows is allowed: a container may use every device of its own VM",
  ),
  refused("HostConfig.DeviceRequests", DEVICES),
  refused(
    "HostConfig.CgroupParent",
    "a container is a VM in the endpoint's resource pool, not a control group; use a resource pool",
  ),
  refused("HostConfig.Cgroup", "a container is a VM, not a control group; leave it out"),
  refused(
    "HostConfig.CgroupnsMode",
    "a container has its own kernel, so there is no host namespace to join; use private",
    ["private"],
  ),
  refused(
    "HostConfig.IpcMode",
    "containers have kernels of their own and cannot share IPC; leave it out or use private",
    ["private", "shareable"],
  ),
  refused("HostConfig.PidMode", "containers have kernels of their own and cannot share processes; leave it out", [
    "private",
  ]),
  refused("HostConfig.UTSMode", "containers have kernels of their own and cannot share a host name; use --hostname", [
    "private",
  ]),
  refused("HostConfig.UsernsMode", "user ids are those of the container's own VM; leave it out or use host", ["host"]),
  refused("HostConfig.Isolation", WINDOWS, ["default"]),
  refused("HostConfig.CpuCount", WINDOWS),
  refused("HostConfig.CpuPercent", WINDOWS),
  refused("HostConfig.IOMaximumIOps", WINDOWS),
  refused("HostConfig.IOMaximumBandwidth", WINDOWS),
  applied(
    "HostConfig.StorageOpt",
    "size: the most that image and changes take together, up to the capacity of the image's disk",
  ),
  mapped(
    "HostConfig.Runtime",
    "name of the bootstrap ISO that the VM starts from (`vch iso ls`); the default one when left out",
  ),
  refused("HostConfig.KernelMemory", "it was removed from Docker; use -m"),
  refused("HostConfig.KernelMemoryTCP", "it was removed from Docker; use -m"),
  applied("HostConfig.MaskedPaths", "hidden in /proc and /sys; an empty list hides nothing"),
  applied("HostConfig.ReadonlyPaths", "read-only in /proc and /sys"),

  applied(
    "NetworkingConfig.EndpointsConfig",
    "networks to be on, each with address, MAC address, aliases, links, gateway priority and interface name",
  ),
];

const RULES = new Map(CONTAINER_FIELDS.map((rule) => [rule.field, rule]));

/** Absent, null, zero, false, empty, or made of such only: what the CLI sends for options that were not given. */
export function isDefault(value: unknown): boolean {
  if (value === undefined || value === null || value === 0 || value === false || value === "") return true;
  if (Array.isArray(value)) return value.every((element) => element === 0);
  return typeof value === "object" && Object.values(value).every(isDefault);
}

/** Refuse everything in the request that would not hold. Throws EngineError. */
export function checkFields(body: ContainerCreateBody): void {
  const { HostConfig = {}, NetworkingConfig = {}, ...config } = body;
  check("Config", config);
  check("HostConfig", HostConfig ?? {});
  check("NetworkingConfig", NetworkingConfig ?? {});
}

/** What `docker update` can change. */
const CHANGEABLE = new Set([
  "Memory",
  "MemoryReservation",
  "MemorySwap",
  "CpusetCpus",
  "NanoCpus",
  "CpuPeriod",
  "CpuQuota",
  "CpuShares",
  "PidsLimit",
  "RestartPolicy",
]);

/** Refuse everything in an update that would not hold. Throws EngineError. */
export function checkUpdateFields(body: ContainerUpdateBody): void {
  check("HostConfig", body);
  for (const [name, value] of Object.entries(body))
    if (!isDefault(value) && !CHANGEABLE.has(name))
      throw notImplemented(`HostConfig.${name} cannot be changed: create the container again with the new value`);
}

function check(section: string, values: object): void {
  for (const [name, value] of Object.entries(values)) {
    if (isDefault(value)) continue;
    const field = `${section}.${name}`;
    const rule = RULES.get(field);
    if (!rule) throw unknownField(field);
    if (rule.treatment === "refused" && !(rule.harmless ?? []).includes(value)) throw refusalOf(rule);
  }
}

export function refusalOf(rule: FieldRule): EngineError {
  return notImplemented(`${rule.field} is not supported: ${rule.note}`);
}

export function unknownField(field: string): EngineError {
  return invalid(`${field} is not known to this engine, so it would have no effect: leave it out`);
}
