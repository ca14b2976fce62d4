/** `docker inspect` and `docker ps`: what a container is, as Docker shows it. */

import type { EngineContext } from "../context.ts";
import type { HostConfig, Schemas } from "../contract.ts";
import { BUILT_IN_ISO } from "../isos/record.ts";
import { DEFAULT_SHM_SIZE } from "../limits.ts";
import { placeOf } from "../networks/leased.ts";
import { dnsNames } from "../networks/names.ts";
import { publishedPorts } from "../networks/open-ports.ts";
import { CONSOLE_LOG } from "../paths.ts";
import { humanDuration, parseTime, ZERO_TIME } from "../time.ts";
import type { Container } from "./container.ts";
import type { MountRecord } from "./document.ts";
import { healthOf } from "./health.ts";
import { portMap, portSummaries } from "./ports.ts";
import { containerSizes } from "./sizes-on-disk.ts";
import { systemPaths } from "./system-paths.ts";

export async function inspectContainer(
  context: EngineContext,
  container: Container,
  options: { size: boolean },
): Promise<Schemas["ContainerInspectResponse"]> {
  const { document } = container;
  const [path = "", ...args] = document.command;
  const sizes = options.size ? await containerSizes(context, container) : undefined;
  const directory = context.paths.container(container.id);
  return {
    Id: document.id,
    Created: document.created,
    Path: path,
    Args: args,
    State: containerState(container),
    Image: document.image.id,
    ResolvConfPath: "",
    HostnamePath: "",
    HostsPath: "",
    LogPath: "",
    Name: `/${document.name}`,
    RestartCount: (container.run?.restartCount ?? 0) + container.lostRuns,
    Driver: "vmdk",
    Platform: document.image.os,
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: "",
    ExecIDs: runningExecs(container),
    HostConfig: effectiveHostConfig(container),
    GraphDriver: {
      Name: "vmdk",
      Data: { VirtualMachine: container.vm?.value ?? "", Directory: directory, Console: `${directory}/${CONSOLE_LOG}` },
    },
    ...(sizes ? { SizeRw: sizes.rw, SizeRootFs: sizes.root } : {}),
    Mounts: document.mounts.map(mountPoint),
    Config: {
      ...document.config,
      Hostname: document.config.Hostname || document.id.slice(0, 12),
      Domainname: document.config.Domainname ?? "",
      AttachStdin: document.config.AttachStdin === true,
      AttachStdout: document.config.AttachStdout === true,
      AttachStderr: document.config.AttachStderr === true,
      Tty: document.config.Tty === true,
      OpenStdin: document.config.OpenStdin === true,
      StdinOnce: document.config.StdinOnce === true,
      Image: document.image.reference,
    } as Schemas["ContainerConfig"],
    NetworkSettings: networkSettings(context, container),
  };
}

function runningExecs(container: Container): string[] | null {
  const ids = [...container.execs.values()].filter((exec) => exec.status === "running").map(({ id }) => id);
  return ids.length > 0 ? ids : null;
}

/** What the client gave, with the values that hold where it gave none. */
function effectiveHostConfig({ document }: Container): HostConfig {
  const given = document.hostConfig;
  const paths = systemPaths(given);
  return {
    Memory: 0,
    ...given,
    LogConfig: { Type: given.LogConfig?.Type || "json-file", Config: given.LogConfig?.Config ?? {} },
    RestartPolicy: {
      Name: given.RestartPolicy?.Name || "no",
      MaximumRetryCount: given.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    IpcMode: given.IpcMode || "private",
    MaskedPaths: paths.masked,
    ReadonlyPaths: paths.readOnly,
    CgroupnsMode: "private",
    ShmSize: given.ShmSize || DEFAULT_SHM_SIZE,
    Runtime: document.iso ?? BUILT_IN_ISO,
  };
}

export function containerState(container: Container): NonNullable<Schemas["ContainerState"]> {
  const { run, guest } = container;
  const isRunning = container.isRunning;
  const health = healthOf(container);
  const status = container.finishing && container.autoRemove ? "removing" : container.status;
  return {
    Status: status,
    Running: isRunning,
    Paused: container.status === "paused",
    Restarting: container.status === "restarting",
    OOMKilled: run?.oomKilled === true,
    Dead: container.status === "dead",
    Pid: container.status === "running" ? (guest?.pid ?? 0) : 0,
    ExitCode: container.status === "running" ? 0 : (run?.exitCode ?? 0),
    Error: run?.error ?? "",
    StartedAt: run?.startedAt ?? ZERO_TIME,
    FinishedAt: run?.finishedAt ?? ZERO_TIME,
    ...(health
      ? {
          Health: {
            Status: health.status,
            FailingStreak: health.failingStreak,
            Log: container.health.map((probe) => ({
              Start: probe.start,
              End: probe.end,
              ExitCode: probe.exitCode,
              Output: probe.output,
            })),
          },
        }
      : {}),
  };
}

export function mountPoint(mount: MountRecord): Schemas["MountPoint"] {
  if (mount.type === "tmpfs")
    return {
      Type: "tmpfs",
      Source: "",
      Destination: mount.destination,
      Mode: "",
      RW: !mount.readOnly,
      Propagation: "",
    };
  if (mount.type === "image")
    return {
      Type: "image",
      Source: mount.reference,
      Destination: mount.destination,
      Mode: "",
      RW: !mount.readOnly,
      Propagation: "",
    };
  if (mount.type === "bind")
    return {
      Type: "bind",
      Source: mount.source,
      Destination: mount.destination,
      Mode: mount.mode,
      RW: !mount.readOnly,
      Propagation: mount.propagation,
    };
  return {
    Type: "volume",
    Name: mount.name,
    Source: mount.path,
    Destination: mount.destination,
    Driver: mount.driver,
    Mode: mount.mode,
    RW: !mount.readOnly,
    Propagation: "",
  };
}

function endpointSettings(container: Container, context: EngineContext): Record<string, Schemas["EndpointSettings"]> {
  const active = container.isRunning;
  const entries = Object.entries(container.document.endpoints).map(
    ([name, endpoint]): [string, Schemas["EndpointSettings"]] => {
      const place = placeOf(container, endpoint);
      return [
        name,
        {
          IPAMConfig: endpoint.given.IPAMConfig ?? null,
          Links: endpoint.given.Links,
          Aliases: endpoint.given.Aliases,
          DriverOpts: endpoint.given.DriverOpts ?? null,
          GwPriority: endpoint.given.GwPriority ?? 0,
          NetworkID: endpoint.networkId,
          EndpointID: active ? endpoint.endpointId : "",
          MacAddress: active ? endpoint.macAddress : "",
          Gateway: active ? place.gateway : "",
          IPAddress: active ? place.address : "",
          IPPrefixLen: active ? place.prefixLength : 0,
          IPv6Gateway: active ? (endpoint.ipv6?.gateway ?? "") : "",
          GlobalIPv6Address: active ? (endpoint.ipv6?.address ?? "") : "",
          GlobalIPv6PrefixLen: active ? (endpoint.ipv6?.prefixLength ?? 0) : 0,
          // The default bridge has no names.
          ...(endpoint.networkId === context.networks.bridge.id ? {} : { DNSNames: dnsNames(container, endpoint) }),
        },
      ];
    },
  );
  if (entries.length > 0 || container.document.hostConfig.NetworkMode !== "none") return Object.fromEntries(entries);
  return { none: { NetworkID: context.networks.none.id, EndpointID: "", Gateway: "", IPAddress: "", IPPrefixLen: 0 } };
}

function networkSettings(context: EngineContext, container: Container): Schemas["NetworkSettings"] {
  const networks = endpointSettings(container, context);
  const first = networks.bridge;
  const exposed = Object.keys(container.document.config.ExposedPorts ?? {});
  return {
    SandboxID: "",
    SandboxKey: "",
    Ports: container.isRunning ? portMap(exposed, publishedPorts(context, container)) : {},
    // Clients before API 1.52 read the default network's values here.
    ...{
      Bridge: "",
      EndpointID: first?.EndpointID ?? "",
      Gateway: first?.Gateway ?? "",
      IPAddress: first?.IPAddress ?? "",
      IPPrefixLen: first?.IPPrefixLen ?? 0,
      MacAddress: first?.MacAddress ?? "",
    },
    Networks: networks,
  };
}

export function summarize(context: EngineContext, container: Container): Schemas["ContainerSummary"] {
  const { document } = container;
  const exposed = Object.keys(document.config.ExposedPorts ?? {});
  const health = healthOf(container);
  return {
    Id: document.id,
    Names: [`/${document.name}`],
    Image: document.image.reference,
    ImageID: document.image.id,
    Command: document.command.map(quoteArgument).join(" "),
    Created: Number((parseTime(document.created) ?? 0n) / 1_000_000_000n),
    Ports: container.isRunning ? portSummaries(exposed, publishedPorts(context, container)) : [],
    Labels: document.config.Labels ?? {},
    State: container.status === "dead" ? "dead" : container.status,
    Status: statusText(container),
    HostConfig: {
      NetworkMode: document.hostConfig.NetworkMode ?? "bridge",
      ...(document.hostConfig.Annotations ? { Annotations: document.hostConfig.Annotations } : {}),
    },
    NetworkSettings: { Networks: endpointSettings(container, context) },
    Mounts: document.mounts.map(mountPoint),
    Health: {
      Status: health?.status ?? "none",
      FailingStreak: health?.failingStreak ?? 0,
    },
  };
}

const quoteArgument = (argument: string): string => (argument.includes(" ") ? `'${argument}'` : argument);

/** The STATUS column: "Up 2 minutes (healthy)", "Exited (0) 3 seconds ago". */
export function statusText(container: Container): string {
  const { run } = container;
  const since = (text: string | undefined): string => {
    const time = parseTime(text);
    return humanDuration(time === undefined ? 0 : Math.max(0, Date.now() - Number(time / 1_000_000n)));
  };
  switch (container.status) {
    case "running": {
      const health = healthOf(container)?.status;
      const note = health === "starting" ? " (health: starting)" : health ? ` (${health})` : "";
      return `Up ${since(run?.startedAt)}${note}`;
    }
    case "paused":
      return `Up ${since(run?.startedAt)} (Paused)`;
    case "restarting":
      return `Restarting (${run?.exitCode ?? 0}) ${since(run?.finishedAt)} ago`;
    case "exited":
      return `Exited (${run?.exitCode ?? 0}) ${since(run?.finishedAt)} ago`;
    case "removing":
      return "Removal In Progress";
    case "dead":
      return "Dead";
    case "created":
      return "Created";
  }
}
