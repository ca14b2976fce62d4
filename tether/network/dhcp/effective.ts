/** The networks of a container with what its leases add: addresses, routes, name servers. */
import { formatIp, networkOf, parseIp } from "../../../src/format/ip-address.ts";
import type {
  AddressRange,
  FirewallConfiguration,
  GuestLease,
  InterfaceConfiguration,
  NetworkConfiguration,
} from "../../../src/link/guest-configuration.ts";
import type { Lease } from "./lease.ts";

type Leases = ReadonlyMap<string, Lease>;

/** `leases` by MAC address. What the client or the administrator has chosen comes before what a server says. */
export function withLeases(network: NetworkConfiguration, leases: Leases): NetworkConfiguration {
  const own = network.interfaces.flatMap(({ mac, dhcp }) => {
    const lease = dhcp && leases.get(mac);
    return lease ? [{ lease, defaultRoute: dhcp.defaultRoute }] : [];
  });
  if (own.length === 0 && network.resolver === undefined) return network;
  const ranked = own.toSorted((a, b) => Number(b.defaultRoute) - Number(a.defaultRoute)).map(({ lease }) => lease);
  const { resolver } = network;
  const given = [...new Set(ranked.flatMap(({ nameServers }) => nameServers))];
  const last = resolver?.nameServer === undefined ? [] : [resolver.nameServer];
  const upstreams = [resolver?.upstreams ?? [], given, last].find((servers) => servers.length > 0) ?? [];
  return {
    ...network,
    interfaces: network.interfaces.map((configuration) => withLease(configuration, leases.get(configuration.mac))),
    search: network.search.length > 0 ? network.search : [...new Set(ranked.flatMap(({ search }) => search))],
    ...(resolver ? { resolver: { ...resolver, upstreams } } : {}),
  };
}

function withLease(configuration: InterfaceConfiguration, lease: Lease | undefined): InterfaceConfiguration {
  const { dhcp, firewall, mtu } = configuration;
  if (!dhcp || !lease) return configuration;
  const { address, prefixLength, gateway } = lease;
  return {
    ...configuration,
    addresses: [{ address, prefixLength }, ...configuration.addresses],
    ...(dhcp.defaultRoute && gateway !== undefined ? { gateway } : {}),
    ...(mtu === undefined && lease.mtu !== undefined ? { mtu: lease.mtu } : {}),
    ...(firewall ? { firewall: withPeers(firewall, subnetOf(lease)) } : {}),
  };
}

/** Without ranges of the administrator everybody in the subnet is a peer. */
const withPeers = (firewall: FirewallConfiguration, subnet: AddressRange | undefined): FirewallConfiguration =>
  firewall.trust === "peers" && firewall.peers.length === 0 && subnet ? { ...firewall, peers: [subnet] } : firewall;

function subnetOf({ address, prefixLength }: Lease): AddressRange | undefined {
  const parsed = parseIp(address);
  if (parsed === undefined) return undefined;
  const { first, last } = networkOf(parsed, prefixLength);
  return { first: formatIp({ family: 4, value: first }), last: formatIp({ family: 4, value: last }) };
}

/** What the engine is told. */
export const reportOf = (leases: Leases): GuestLease[] =>
  [...leases].map(([mac, { address, prefixLength, gateway, nameServers, search }]) => ({
    mac,
    address,
    prefixLength,
    ...(gateway === undefined ? {} : { gateway }),
    nameServers: nameServers.slice(0, 3),
    search: search.slice(0, 3),
  }));
