/** Ports of a container: `80/tcp`, bindings of -p, and -P. */

import type { PublishedPort, TransportProtocol } from "../../network/contract.ts";
import type { Schemas } from "../contract.ts";
import { invalid } from "../errors.ts";
import type { PortMapping } from "./document.ts";

const HIGHEST_PORT = 65_535;

/** `80/tcp` or `80`. Throws EngineError invalid. */
export function parsePort(text: string): { port: number; protocol: TransportProtocol } {
  const match = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(text.toLowerCase());
  const port = Number(match?.[1]);
  if (!match || port < 1 || port > HIGHEST_PORT) throw invalid(`invalid port specification: ${JSON.stringify(text)}`);
  return { port, protocol: (match[2] ?? "tcp") as TransportProtocol };
}

function parseHostPort(text: string | undefined): PortMapping["hostPort"] {
  if (text === undefined || text === "" || text === "0") return undefined;
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || first < 1 || last > HIGHEST_PORT || last < first)
    throw invalid(`invalid port specification: ${JSON.stringify(text)}`);
  return { first, last };
}

/** What must be published at start. */
export function portMappings(
  bindings: Schemas["PortMap"] | undefined,
  exposed: readonly string[],
  publishAll: boolean,
): PortMapping[] {
  const mappings: PortMapping[] = [];
  for (const [text, hosts] of Object.entries(bindings ?? {})) {
    const { port, protocol } = parsePort(text);
    for (const host of hosts ?? [])
      mappings.push({
        containerPort: port,
        protocol,
        hostAddress: host.HostIp ?? "",
        hostPort: parseHostPort(host.HostPort),
      });
  }
  if (publishAll)
    for (const text of exposed) {
      const { port, protocol } = parsePort(text);
      if (!mappings.some((mapping) => mapping.containerPort === port && mapping.protocol === protocol))
        mappings.push({ containerPort: port, protocol, hostAddress: "", hostPort: undefined });
    }
  return mappings;
}

/** NetworkSettings.Ports of inspect: every exposed port, with its bindings while it is published. */
export function portMap(exposed: readonly string[], published: readonly PublishedPort[]): Schemas["PortMap"] {
  const map: Schemas["PortMap"] = {};
  for (const text of exposed) {
    const { port, protocol } = parsePort(text);
    map[`${port}/${protocol}`] = null;
  }
  for (const binding of published) {
    const key = `${binding.containerPort}/${binding.protocol}`;
    map[key] = [...(map[key] ?? []), { HostIp: binding.hostAddress, HostPort: String(binding.hostPort) }];
  }
  return map;
}

/** Ports of `docker ps`. */
export function portSummaries(
  exposed: readonly string[],
  published: readonly PublishedPort[],
): Schemas["PortSummary"][] {
  return Object.entries(portMap(exposed, published)).flatMap(([key, bindings]): Schemas["PortSummary"][] => {
    const { port, protocol } = parsePort(key);
    if (!bindings || bindings.length === 0) return [{ PrivatePort: port, Type: protocol }];
    return bindings.map((binding) => ({
      IP: binding.HostIp ?? "0.0.0.0",
      PrivatePort: port,
      PublicPort: Number(binding.HostPort),
      Type: protocol,
    }));
  });
}
