/** What -p and -P mean on a container network: the container's own firewall opens the port, and no port of the endpoint is used. */
import type { OpenPort } from "../../link/guest-configuration.ts";
import type { PublishedPort } from "../../network/contract.ts";
import type { Container } from "../containers/container.ts";
import type { ContainerDocument, PortMapping } from "../containers/document.ts";
import type { InfrastructureContext } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { gatewayEndpoint } from "./gateway-endpoint.ts";
import { placeOf } from "./leased.ts";
import type { NetworkRecord } from "./network-record.ts";

/** The ports that are open: as asked for, or the container's own. Of a range the first that is free. Throws EngineError. */
export function openPorts(mappings: readonly PortMapping[]): OpenPort[] {
  const open = new Map<string, OpenPort>();
  for (const { containerPort, protocol, hostPort } of mappings) {
    const range = hostPort ?? { first: containerPort, last: containerPort };
    let port = range.first;
    const taken = (): boolean => {
      const other = open.get(`${port}/${protocol}`);
      return other !== undefined && other.target !== containerPort;
    };
    while (taken() && port < range.last) port++;
    if (taken())
      throw conflict(`port ${port}/${protocol} of the container cannot lead to two ports: publish another one`);
    open.set(`${port}/${protocol}`, { protocol, port, target: containerPort });
  }
  return [...open.values()];
}

/** Refuses ports that would be open on none of the container's networks, and what has no meaning there. Throws EngineError. */
export function checkOpenPorts(
  context: Pick<InfrastructureContext, "networks">,
  document: Pick<ContainerDocument, "endpoints" | "ports">,
): void {
  const { ports } = document;
  const endpoint = gatewayEndpoint(context, document);
  const network = endpoint && context.networks.byId(endpoint.networkId);
  if (ports.length === 0 || !network?.external) return;
  for (const { hostAddress } of ports)
    if (!["", "0.0.0.0", "::"].includes(hostAddress))
      throw invalid(
        `a container on network ${network.name} has an address of its own, so ports are not published on ${hostAddress}: leave the address out`,
      );
  const open = openPorts(ports);
  const same = open.find(({ port, target }) => port === target);
  const isOpenSomewhere = Object.values(document.endpoints).some(({ networkId }) => {
    const trust = context.networks.byId(networkId)?.external?.trust;
    return trust === "published" || trust === "open" || (trust === "peers" && !same);
  });
  if (isOpenSomewhere) return;
  throw network.external.trust === "peers" && same
    ? invalid(
        `all ports of a container on network ${network.name} are open to its peers and to nobody else (its firewall is peers), so publishing ${same.port}/${same.protocol} has no effect: leave it out`,
      )
    : invalid(
        `network ${network.name} lets nobody in (its firewall is ${network.external.trust}), so no port can be published there: leave -p and -P out, or use another network`,
      );
}

/** What is published now, on the endpoint and on container networks. */
export function publishedPorts(
  context: Pick<InfrastructureContext, "networks">,
  container: Container,
): readonly PublishedPort[] {
  if (container.document.ports.length === 0) return container.published;
  const open = Object.values(container.document.endpoints).flatMap((endpoint): PublishedPort[] => {
    const network = context.networks.byId(endpoint.networkId);
    const { address } = placeOf(container, endpoint);
    if (address === "" || !network || !opensPorts(network)) return [];
    return openPorts(container.document.ports).map(({ protocol, port, target }) => ({
      containerPort: target,
      protocol,
      hostAddress: address,
      hostPort: port,
    }));
  });
  return [...container.published, ...open];
}

const opensPorts = ({ external }: NetworkRecord): boolean =>
  external !== undefined && external.trust !== "closed" && external.trust !== "outbound";
