/** The part of a guest's configuration that is about networks. Pure: made from the document and what is known of its networks. */
import type {
  FirewallConfiguration,
  HostsEntry,
  InterfaceConfiguration,
  LinkConfiguration,
  NetworkConfiguration,
} from "../../link/guest-configuration.ts";
import type { ExternalNetwork } from "../networks/container-networks.ts";
import { hiddenAdapter } from "../networks/endpoints.ts";
import { openPorts } from "../networks/open-ports.ts";
import type { ContainerDocument, EndpointRecord } from "./document.ts";

/** Address of the resolver in every VM that is on a user-defined network, as in Docker. */
export const EMBEDDED_RESOLVER = "127.0.0.11";

/** The control link's own interface. Nobody but the tether uses it, so the names that containers know stay free. */
const HIDDEN_INTERFACE = "vch0";

/** What a guest has to know of a network. */
export interface NetworkFacts {
  gateway: string;
  prefixLength: number;
  internal: boolean;
  mtu?: number;
  /** Of a container network. */
  external?: ExternalNetwork;
}

export interface NetworkSurroundings {
  /** The endpoint on the default bridge; also host-gateway of --add-host. */
  bridge: NetworkFacts & { id: string };
  /** By id, of every network that the container is on. */
  facts: ReadonlyMap<string, NetworkFacts>;
  /** The endpoint with the default route. */
  gatewayEndpoint: EndpointRecord | undefined;
  /** The one with IPv6's default route. */
  gatewayEndpoint6: EndpointRecord | undefined;
  linkPort: number;
  /** /etc/hosts entries of --link, resolved now. */
  links: HostsEntry[];
}

/** True when the container has Docker's embedded resolver, which knows its peers' names. */
export const hasResolver = ({ endpoints }: Pick<ContainerDocument, "endpoints">, bridgeId: string): boolean =>
  Object.values(endpoints).some(({ networkId }) => networkId !== bridgeId);

export function networkConfiguration(document: ContainerDocument, around: NetworkSurroundings): NetworkConfiguration {
  const { hostConfig } = document;
  const endpoints = Object.values(document.endpoints);
  const isolated = endpoints.length === 0;
  const embedded = hasResolver(document, around.bridge.id);
  const nameServer = gatewayNameServer(endpoints, around);
  const external = around.gatewayEndpoint && around.facts.get(around.gatewayEndpoint.networkId)?.external;
  // On a container network the tether adds those of its lease, and the gateway's last.
  const usual = external?.nameServers ?? (nameServer === undefined ? [] : [nameServer]);
  const upstreams = hostConfig.Dns?.length ? hostConfig.Dns : usual;
  return {
    interfaces: interfaces(document, around),
    nameservers: embedded ? [EMBEDDED_RESOLVER] : upstreams,
    search: hostConfig.DnsSearch ?? [],
    // Docker's resolver is asked for plain names first.
    options: hostConfig.DnsOptions?.length ? hostConfig.DnsOptions : embedded ? ["ndots:0"] : [],
    hosts: [...extraHosts(hostConfig.ExtraHosts ?? [], around.bridge.gateway), ...around.links],
    ...(isolated ? { isolated } : {}),
    ...(embedded ? { resolver: { address: EMBEDDED_RESOLVER, upstreams, ...(nameServer ? { nameServer } : {}) } } : {}),
  };
}

/** The endpoint answers names on the networks that it is on. */
function gatewayNameServer(endpoints: readonly EndpointRecord[], { gatewayEndpoint }: NetworkSurroundings) {
  const place = gatewayEndpoint?.external ? undefined : gatewayEndpoint;
  return (place ?? endpoints.find(({ external }) => !external))?.gateway;
}

function interfaces(document: ContainerDocument, around: NetworkSurroundings): InterfaceConfiguration[] {
  const { endpoints } = document;
  const control = hiddenAdapter(document);
  const records = Object.values(endpoints);
  const configured = records.map((endpoint, index): InterfaceConfiguration => {
    const facts = around.facts.get(endpoint.networkId);
    return {
      mac: endpoint.macAddress,
      name: endpoint.interfaceName ?? `eth${index}`,
      addresses: [
        ...(endpoint.dynamic ? [] : [{ address: endpoint.address, prefixLength: endpoint.prefixLength }]),
        ...(endpoint.ipv6 ? [{ address: endpoint.ipv6.address, prefixLength: endpoint.ipv6.prefixLength }] : []),
      ],
      ...(endpoint === around.gatewayEndpoint && !endpoint.dynamic ? { gateway: endpoint.gateway } : {}),
      ...(endpoint.dynamic ? { dhcp: { defaultRoute: endpoint === around.gatewayEndpoint } } : {}),
      ...(facts?.external ? { firewall: firewallOf(facts.external, document) } : {}),
      ...(endpoint === around.gatewayEndpoint6 && endpoint.ipv6 ? { gateway6: endpoint.ipv6.gateway } : {}),
      ...(facts?.mtu === undefined ? {} : { mtu: facts.mtu }),
    };
  });
  if (control === undefined) return configured;
  const hidden: InterfaceConfiguration = {
    mac: control.macAddress,
    name: HIDDEN_INTERFACE,
    addresses: [{ address: control.address, prefixLength: around.bridge.prefixLength }],
    hidden: true,
    // With --network none its processes do not see it at all.
    ...(document.hostConfig.NetworkMode === "none"
      ? {}
      : { firewall: { trust: "control", endpoint: { address: around.bridge.gateway, port: around.linkPort } } }),
  };
  return [hidden, ...configured];
}

const firewallOf = ({ trust, ranges }: ExternalNetwork, { ports }: ContainerDocument): FirewallConfiguration => ({
  trust,
  ports: openPorts(ports),
  peers: ranges,
});

/** Where the tether calls: on the network of its control vNIC first, then on every other. */
export function linkEndpoints(
  { endpoints, control }: ContainerDocument,
  around: NetworkSurroundings,
  bridgeEndpoints: readonly string[],
): string[] {
  if (control === undefined) return [];
  const controlNetwork = control.networkId ?? around.bridge.id;
  const networks = [controlNetwork, ...Object.values(endpoints).map(({ networkId }) => networkId)];
  const dialled = networks.flatMap((id) => {
    if (id === around.bridge.id) return [...bridgeEndpoints];
    const facts = around.facts.get(id);
    return facts && !facts.external ? [`${facts.gateway}:${around.linkPort}`] : [];
  });
  return [...new Set(dialled)];
}

export const linkConfiguration = (
  document: ContainerDocument,
  around: NetworkSurroundings,
  link: Omit<LinkConfiguration, "token">,
): LinkConfiguration => ({
  ...link,
  carrier: document.control === undefined ? "serial" : "net",
  endpoints: linkEndpoints(document, around, link.endpoints),
  token: document.token,
});

/** `name:address` or `name=address`; an IPv6 address has colons of its own. Checked at create. */
export function extraHosts(entries: readonly string[], hostGateway: string): HostsEntry[] {
  return entries.map((entry) => {
    const separator = entry.search(/[:=]/);
    const address = entry.slice(separator + 1).replace(/^\[(.*)\]$/, "$1");
    return { address: address === "host-gateway" ? hostGateway : address, names: [entry.slice(0, separator)] };
  });
}
