/** Who can be called by which name: the tables of the guests' resolvers and of the gateways'. */
import type { Peer, PeerNetwork } from "../../link/guest-configuration.ts";
import type { NameLookup } from "../../network/contract.ts";
import type { Container } from "../containers/container.ts";
import type { EndpointRecord } from "../containers/document.ts";
import type { ContainerTable } from "../containers/table.ts";
import { shortId } from "../identifiers.ts";
import { addressesOf } from "./endpoints.ts";
import { placeOf } from "./leased.ts";
import { NETWORK_OPTION, type NetworkRecord } from "./network-record.ts";
import { linksOf, parseLink } from "./surroundings.ts";

/** On user-defined networks only, as in Docker. */
export const hasNames = (network: NetworkRecord): boolean => network.options[NETWORK_OPTION.defaultBridge] !== "true";

/** Docker's DNSNames: name, aliases, short id; and the host name, as it stands in /etc/hosts of the container itself. */
export function dnsNames(container: Container, endpoint: EndpointRecord): string[] {
  const { Hostname: hostname } = container.document.config;
  const names = [
    container.name,
    ...(endpoint.given.Aliases ?? []),
    shortId(container.id),
    ...(hostname ? [hostname] : []),
  ];
  return [...new Set(names)];
}

function endpointOn(container: Container, networkId: string): EndpointRecord | undefined {
  return Object.values(container.document.endpoints).find((endpoint) => endpoint.networkId === networkId);
}

/** Where a peer is now; none while a DHCP server has given it nothing. */
const peerAddresses = (container: Container, endpoint: EndpointRecord): string[] =>
  addressesOf({ ...endpoint, address: placeOf(container, endpoint).address });

/** Running containers of a network with their names. */
export function peersOf(table: ContainerTable, networkId: string): Peer[] {
  return table.all().flatMap((container): Peer[] => {
    const endpoint = container.isRunning ? endpointOn(container, networkId) : undefined;
    const addresses = endpoint ? peerAddresses(container, endpoint) : [];
    return endpoint && addresses.length > 0
      ? [{ names: dnsNames(container, endpoint).map((name) => name.toLowerCase()), addresses }]
      : [];
  });
}

/** What the resolver of one container answers. Its links are names that only it knows. */
export function peerTable(
  table: ContainerTable,
  container: Container,
  networkOf: (id: string) => NetworkRecord | undefined,
): PeerNetwork[] {
  return Object.values(container.document.endpoints).flatMap((endpoint): PeerNetwork[] => {
    const network = networkOf(endpoint.networkId);
    if (!network || !hasNames(network)) return [];
    const peers = peersOf(table, network.id);
    for (const { name, alias } of [...linksOf(container.document), ...(endpoint.given.Links ?? []).map(parseLink)]) {
      const linked = table.all().find((other) => other.isRunning && (other.name === name || other.id.startsWith(name)));
      const place = linked && endpointOn(linked, network.id);
      if (place) peers.push({ names: [alias.toLowerCase()], addresses: peerAddresses(linked, place) });
    }
    return [{ name: network.name.toLowerCase(), peers }];
  });
}

/** Names that the resolver on a network's gateway answers: for guests whose own table has not arrived. */
export function nameLookup(table: ContainerTable, network: NetworkRecord): NameLookup | undefined {
  if (!hasNames(network)) return undefined;
  const suffix = `.${network.name.toLowerCase()}`;
  return (name) => {
    const plain = name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
    const addresses = peersOf(table, network.id)
      .filter(({ names }) => names.includes(plain))
      .flatMap((peer) => peer.addresses);
    return addresses.length > 0 ? addresses : undefined;
  };
}
