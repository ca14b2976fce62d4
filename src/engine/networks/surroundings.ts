/** What a container's guest has to know of its networks, gathered now. */

import type { HostsEntry, NetworkConfiguration } from "../../link/guest-configuration.ts";
import type { Container } from "../containers/container.ts";
import type { ContainerDocument } from "../containers/document.ts";
import {
  linkEndpoints,
  type NetworkFacts,
  type NetworkSurroundings,
  networkConfiguration,
} from "../containers/guest-network.ts";
import type { InfrastructureContext } from "../context.ts";
import { addressesOf } from "./endpoints.ts";
import { gatewayEndpoint, gatewayEndpoint6 } from "./gateway-endpoint.ts";
import { mtuOf, type NetworkRecord } from "./network-record.ts";
import { blockOf, networkPrefixLength } from "./network-table.ts";

const factsOf = (record: NetworkRecord): NetworkFacts => {
  const mtu = mtuOf(record);
  const isDynamic = record.external !== undefined && record.ipv4 === undefined;
  return {
    gateway: isDynamic ? "" : blockOf(record).gateway,
    prefixLength: isDynamic ? 0 : networkPrefixLength(record),
    ...(record.external ? { external: record.external } : {}),
    internal: record.internal,
    ...(mtu === undefined ? {} : { mtu }),
  };
};

export function networkSurroundings(context: InfrastructureContext, document: ContainerDocument): NetworkSurroundings {
  const { networks, links } = context;
  const facts = new Map<string, NetworkFacts>();
  for (const { networkId } of Object.values(document.endpoints)) {
    const record = networks.byId(networkId);
    if (record) facts.set(networkId, factsOf(record));
  }
  return {
    bridge: { id: networks.bridge.id, ...factsOf(networks.bridge) },
    facts,
    gatewayEndpoint: gatewayEndpoint(context, document),
    gatewayEndpoint6: gatewayEndpoint6(context, document),
    linkPort: links.port,
    links: linkedHosts(context, document),
  };
}

/** --link on the default bridge: lines in /etc/hosts. On user-defined networks the resolver knows the alias. */
function linkedHosts({ table, networks }: InfrastructureContext, document: ContainerDocument): HostsEntry[] {
  const own = Object.values(document.endpoints).find(({ networkId }) => networkId === networks.bridge.id);
  if (!own) return [];
  return linksOf(document).flatMap(({ name, alias }) => {
    const other = table.all().find((container) => container.name === name || container.id === name);
    const endpoint = other?.document.endpoints[networks.bridge.name];
    if (!endpoint || !other) return [];
    const names = [...new Set([alias, other.id.slice(0, 12), other.name])];
    return addressesOf(endpoint).map((address) => ({ address, names }));
  });
}

/** HostConfig.Links: `name`, `name:alias` or `/name:/container/alias`. */
export function linksOf({ hostConfig }: ContainerDocument): { name: string; alias: string }[] {
  return (hostConfig.Links ?? []).map(parseLink);
}

export function parseLink(text: string): { name: string; alias: string } {
  const [path = "", aliasPath = path] = text.split(":");
  const name = path.replace(/^\//, "");
  return { name, alias: aliasPath.split("/").at(-1) || name };
}

/** What a running guest is told when its networks have changed. */
export function liveNetwork(
  context: InfrastructureContext,
  container: Container,
): { network: NetworkConfiguration; endpoints: string[] } {
  const around = networkSurroundings(context, container.document);
  return {
    network: networkConfiguration(container.document, around),
    endpoints: linkEndpoints(container.document, around, context.links.configuration.endpoints),
  };
}
