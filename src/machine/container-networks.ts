/** Container networks on the command line: each option names a port group and something of it, as with VIC. */
import { formatIp, type IpNetwork, networkHas, networkOf, parseIp, parseNetwork } from "../format/ip-address.ts";
import type { EngineOptions } from "../engine/index.ts";
import { portGroupBridge } from "../lab/hypervisor/index.ts";
import type { StatePaths } from "./paths.ts";
import type { EndpointSettings } from "./settings.ts";

export type ContainerNetwork = NonNullable<EngineOptions["containerNetworks"]>[number];
type Trust = ContainerNetwork["trust"];
type Range = NonNullable<ContainerNetwork["addresses"]>["ranges"][number];

/** The values of the options, as they were given. */
export interface ContainerNetworkRequest {
  /** `PORTGROUP[:NAME]` */
  networks: string[];
  /** `PORTGROUP:ADDRESS/PREFIX` */
  gateways: string[];
  /** `PORTGROUP:FIRST-LAST` or `PORTGROUP:CIDR` */
  ranges: string[];
  /** `PORTGROUP:ADDRESS` */
  nameServers: string[];
  /** `PORTGROUP:LEVEL` */
  firewalls: string[];
}

export const TRUST_LEVELS: readonly Trust[] = ["closed", "outbound", "peers", "published", "open"];
/** VIC's. */
const DEFAULT_TRUST: Trust = "published";
/** Docker's rule, and names that docker gives a meaning. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$/;
const TAKEN = new Set(["bridge", "none", "host", "default", "container"]);
const NETWORK_LIMIT = 100;
const RANGE_LIMIT = 64;
const NAME_SERVER_LIMIT = 3;

/** Throws an error that names the option and what to write. */
export function parseContainerNetworks(request: ContainerNetworkRequest): ContainerNetwork[] {
  const networks = new Map<string, ContainerNetwork>();
  for (const text of request.networks) {
    const [portGroup, given] = split(text);
    const name = given ?? portGroup;
    const fail = problem("--container-network", text);
    if (portGroup === "" || !NAME.test(name))
      throw fail(`"${name}" cannot be a network's name in docker: write PORTGROUP:NAME`);
    if (TAKEN.has(name)) throw fail(`docker has a network "${name}" already: write PORTGROUP:NAME`);
    if (networks.has(portGroup) || [...networks.values()].some((other) => other.name === name))
      throw fail("port group and name can be given once");
    networks.set(portGroup, { name, portGroup, trust: DEFAULT_TRUST, nameServers: [] });
  }
  if (networks.size > NETWORK_LIMIT) throw new Error(`--container-network: more than ${NETWORK_LIMIT} networks.`);
  const each = (
    option: string,
    values: readonly string[],
    apply: (network: ContainerNetwork, value: string) => void,
  ) => {
    for (const text of values) {
      const [portGroup, value = ""] = split(text);
      const network = networks.get(portGroup);
      const fail = problem(option, text);
      if (!network) throw fail(`there is no --container-network ${portGroup}`);
      try {
        apply(network, value);
      } catch (error) {
        throw fail(error instanceof Error ? error.message : String(error));
      }
    }
  };
  each("--container-network-gateway", request.gateways, setGateway);
  each("--container-network-ip-range", request.ranges, addRange);
  each("--container-network-dns", request.nameServers, addNameServer);
  each("--container-network-firewall", request.firewalls, setTrust);
  for (const { portGroup, addresses } of networks.values())
    if (addresses?.ranges.length === 0)
      throw new Error(
        `--container-network-gateway ${portGroup}: addresses need a range too: --container-network-ip-range ${portGroup}:FIRST-LAST. Without both, containers ask for addresses by DHCP.`,
      );
  return [...networks.values()];
}

/** Names of port groups may have colons; what follows them has none. */
function split(text: string): [portGroup: string, value: string | undefined] {
  const at = text.lastIndexOf(":");
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

const problem =
  (option: string, text: string) =>
  (reason: string): Error =>
    new Error(`${option} ${text}: ${reason}.`);

function setGateway(network: ContainerNetwork, value: string): void {
  const subnet = parseNetwork(value);
  const gateway = parseIp(value.split("/")[0] ?? "");
  if (subnet?.family !== 4 || gateway === undefined || subnet.prefixLength < 1 || subnet.prefixLength > 30)
    throw new Error("write the gateway with the length of the subnet's prefix, such as 10.1.2.1/24");
  if (gateway.value === subnet.first || gateway.value === subnet.last)
    throw new Error("that is the address of the network, or its broadcast address");
  if (network.addresses) throw new Error("a gateway was given already");
  network.addresses = { gateway: formatIp(gateway), prefixLength: subnet.prefixLength, ranges: [] };
}

function addRange({ addresses, portGroup }: ContainerNetwork, value: string): void {
  if (!addresses)
    throw new Error(
      `the gateway and the length of the prefix are missing: --container-network-gateway ${portGroup}:ADDRESS/LENGTH`,
    );
  const range = parseRange(value);
  const ends = range && [parseIp(range.first), parseIp(range.last)];
  if (!range || !ends) throw new Error("write FIRST-LAST, such as 10.1.2.10-10.1.2.99, or a CIDR");
  const subnet = subnetOf(addresses);
  if (!ends.every((end) => end && networkHas(subnet, end)))
    throw new Error(
      `it is not inside of the gateway's subnet ${formatIp({ family: 4, value: subnet.first })}/${subnet.prefixLength}`,
    );
  if (addresses.ranges.length >= RANGE_LIMIT) throw new Error(`more than ${RANGE_LIMIT} ranges`);
  addresses.ranges.push(range);
}

function subnetOf({ gateway, prefixLength }: NonNullable<ContainerNetwork["addresses"]>): IpNetwork {
  const address = parseIp(gateway);
  if (!address) throw new Error(`${gateway} is not an address`);
  return networkOf(address, prefixLength);
}

function parseRange(value: string): Range | undefined {
  const network = value.includes("/") ? parseNetwork(value) : undefined;
  if (network)
    return network.family === 4
      ? { first: formatIp({ family: 4, value: network.first }), last: formatIp({ family: 4, value: network.last }) }
      : undefined;
  const [first, last, ...more] = value.split("-").map((text) => parseIp(text));
  if (first?.family !== 4 || last?.family !== 4 || more.length > 0 || first.value > last.value) return undefined;
  return { first: formatIp(first), last: formatIp(last) };
}

function addNameServer({ nameServers }: ContainerNetwork, value: string): void {
  const address = parseIp(value);
  if (address?.family !== 4) throw new Error("write the IPv4 address of a name server");
  if (nameServers.length >= NAME_SERVER_LIMIT) throw new Error(`more than ${NAME_SERVER_LIMIT} name servers`);
  nameServers.push(formatIp(address));
}

function setTrust(network: ContainerNetwork, value: string): void {
  const level = TRUST_LEVELS.find((known) => known === value);
  if (!level) throw new Error(`choose one of ${TRUST_LEVELS.join(", ")}`);
  network.trust = level;
}

/** With this machine's interface on the port group where the vSphere is its own lab. */
export function locateContainerNetworks(
  paths: StatePaths,
  { containerNetworks, lab }: Pick<EndpointSettings, "containerNetworks" | "lab">,
): (ContainerNetwork & { interface?: string })[] {
  return (containerNetworks ?? []).map((network) => ({
    ...network,
    ...(lab === undefined ? {} : { interface: portGroupBridge(paths.lab, network.portGroup) }),
  }));
}
