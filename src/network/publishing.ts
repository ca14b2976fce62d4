/** From the ports that a container asks for to host addresses and ports. */
import { canonicalIp, formatIp, parseIp } from "../format/ip-address.ts";
import { NetworkError, type PortRequest, type PublishingEndpoint } from "./contract.ts";
import { type HostPort, takeFreeHostPorts, takeHostPorts } from "./host-ports.ts";
import { ALL_ADDRESSES, type PublishedRule } from "./ruleset.ts";

export interface Wanted {
  request: PortRequest;
  /** The port that the container had before. */
  hostPort?: number;
}

export const randomChoices = (wanted: readonly Wanted[]): number =>
  wanted.some(({ request, hostPort }) => hostPort === undefined && typeof request.hostPort !== "number") ? 1 : 0;

/** Gives every request the port that the container had for it in an earlier run, when that still fits. */
export function matchEarlier(endpoint: PublishingEndpoint, earlier: readonly PublishedRule[]): Wanted[] {
  let candidates = earlier.filter((rule) => rule.containerId === endpoint.containerId);
  return endpoint.ports.map((request) => {
    const match = candidates.find(
      (rule) =>
        rule.containerPort === request.containerPort &&
        rule.protocol === request.protocol &&
        isWanted(request, rule.hostAddress) &&
        fits(request.hostPort, rule.hostPort),
    );
    // The rules of both families belong to one request.
    candidates = candidates.filter(
      ({ hostPort, protocol }) => match?.hostPort !== hostPort || match.protocol !== protocol,
    );
    return { request, hostPort: match?.hostPort };
  });
}

const isWanted = ({ hostAddress }: PortRequest, present: string): boolean =>
  hostAddress === "" ? Object.values(ALL_ADDRESSES).includes(present) : canonicalIp(hostAddress) === present;

function fits(wanted: PortRequest["hostPort"], port: number): boolean {
  if (wanted === undefined) return true;
  return typeof wanted === "number" ? wanted === port : port >= wanted.first && port <= wanted.last;
}

/** Host addresses to publish on, and where each leads. Throws NetworkError. */
export function destinationsOf(
  { address, address6 }: PublishingEndpoint,
  { hostAddress }: PortRequest,
): Map<string, string> {
  if (hostAddress === "")
    return new Map([
      [ALL_ADDRESSES[4], address],
      ...(address6 === undefined ? [] : ([[ALL_ADDRESSES[6], address6]] as const)),
    ]);
  const parsed = parseIp(hostAddress);
  if (parsed === undefined) throw new NetworkError("invalid", `invalid host address ${hostAddress}`);
  if (parsed.family === 4) return new Map([[hostAddress, address]]);
  if (address6 === undefined)
    throw new NetworkError(
      "unsupported",
      `cannot publish on host address ${hostAddress}: the container has no IPv6 address. Use a network that was created with --ipv6, or an IPv4 address of this machine`,
    );
  return new Map([[formatIp(parsed), address6]]);
}

export async function take(
  request: PortRequest,
  destinations: ReadonlyMap<string, string>,
  remembered: number | undefined,
): Promise<HostPort[]> {
  const { hostPort, protocol, containerPort } = request;
  for (const port of [containerPort, ...(typeof hostPort === "number" ? [hostPort] : [])]) {
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw new NetworkError("invalid", `invalid port ${port}`);
  }
  const hostAddresses = [...destinations.keys()];
  const targetOf = (hostAddress: string) => ({ address: destinations.get(hostAddress) ?? "", port: containerPort });
  if (typeof hostPort === "number") return takeHostPorts(hostAddresses, protocol, hostPort, targetOf);
  if (remembered !== undefined) {
    try {
      return await takeHostPorts(hostAddresses, protocol, remembered, targetOf);
    } catch (error) {
      if (!(error instanceof NetworkError) || error.code !== "port-in-use") throw error;
    }
  }
  return takeFreeHostPorts(hostAddresses, protocol, hostPort, targetOf);
}
