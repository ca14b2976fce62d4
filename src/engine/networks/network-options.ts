/** Checks a `docker network create`: everything in it is applied or refused. Texts are Docker's where it has one. */
import { isIPv4 } from "node:net";
import { NetworkError } from "../../network/contract.ts";
import { firstAddress } from "../../network/free-subnet.ts";
import {
  contains,
  formatIpv4,
  formatSubnet,
  overlaps,
  parseIpv4,
  parseSubnet,
  type Subnet,
} from "../../network/subnet.ts";
import { isDefault } from "../containers/fields.ts";
import type { NetworkCreateBody } from "../contract.ts";
import { EngineError, invalid, notImplemented } from "../errors.ts";
import { NAME_CHARACTERS } from "../identifiers.ts";
import { type AddressBlock, NETWORK_OPTION } from "./network-record.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const LONGEST_NAME = 200;
const MTU_RANGE = { lowest: 68, highest: 9000 };
const AUXILIARY_LIMIT = 1024;
const BOOLEAN = new Set(["true", "false", "1", "0", ""]);

/** Why other drivers have no place here. */
const DRIVERS: Record<string, string> = {
  overlay: "every network is on vSphere's switches, which span hosts by themselves. Use the driver bridge",
  macvlan:
    "a container has a vNIC of its own on a port group. Use the driver bridge, or a port group with -o vch.network.portgroup=NAME",
  ipvlan:
    "a container has a vNIC of its own on a port group. Use the driver bridge, or a port group with -o vch.network.portgroup=NAME",
  host: 'only one instance of "host" network is allowed',
  null: 'only one instance of "null" network is allowed',
};

export interface NetworkWish {
  name: string;
  internal: boolean;
  attachable: boolean;
  /** As the client gave it; without a subnet one is chosen. */
  block: { subnet: Subnet | undefined; gateway?: string; ipRange?: string; auxiliary: Record<string, string> };
  options: Record<string, string>;
  labels: Record<string, string>;
  portGroup: string | undefined;
}

/** Throws EngineError. */
export function checkNetwork(body: NetworkCreateBody): NetworkWish {
  const { Name: name = "", Options: options, Labels: labels, IPAM: ipam } = body;
  if (!NAME.test(name) || name.length > LONGEST_NAME)
    throw invalid(`invalid network name: ${JSON.stringify(name)}: only ${NAME_CHARACTERS} are allowed`);
  checkDriver(body.Driver);
  if (body.Scope && body.Scope !== "local")
    throw notImplemented(`network scope ${body.Scope} is not supported: there is no swarm here. Leave it out`);
  if (body.Ingress) throw notImplemented("an ingress network is not supported: there is no swarm here. Leave it out");
  if (body.ConfigOnly || !isDefault(body.ConfigFrom))
    throw notImplemented("configuration-only networks are not supported: give each network its options itself");
  if (body.EnableIPv4 === false)
    throw notImplemented("a network without IPv4 is not supported: the control link of its containers uses IPv4");
  if (body.EnableIPv6)
    throw notImplemented("IPv6 is not supported on bridge networks yet: create the network without --ipv6");
  const options_ = options ?? {};
  checkOptions(options_);
  if (ipam?.Driver && ipam.Driver !== "default")
    throw notImplemented(
      `IPAM driver ${ipam.Driver} is not supported: addresses are given out by the endpoint. Use default`,
    );
  if (Object.keys(ipam?.Options ?? {}).length > 0)
    throw notImplemented("IPAM options are not supported: give subnet, gateway and range instead");
  const [config, ...more] = ipam?.Config ?? [];
  if (more.length > 0) throw invalid("bridge driver doesn't support multiple subnets");
  return {
    name,
    internal: body.Internal === true,
    attachable: body.Attachable === true,
    block: checkBlock(config ?? {}),
    options: options_,
    labels: labels ?? {},
    portGroup: options_[NETWORK_OPTION.portGroup],
  };
}

function checkDriver(driver: string | undefined): void {
  if (!driver || driver === "bridge" || driver === "default") return;
  const reason = DRIVERS[driver];
  if (driver === "host" || driver === "null") throw new EngineError("forbidden", String(reason));
  if (reason) throw notImplemented(`network driver ${driver} is not supported: ${reason}`);
  throw new EngineError("not-found", `could not find plugin ${driver} in v1 plugin registry: plugin not found`);
}

function checkOptions(options: Record<string, string>): void {
  for (const [name, value] of Object.entries(options)) {
    switch (name) {
      case NETWORK_OPTION.masquerade:
        if (!BOOLEAN.has(value)) throw invalid(`failed to parse ${name} value: ${JSON.stringify(value)}`);
        break;
      case NETWORK_OPTION.communication:
        if (value !== "true" && value !== "1")
          throw notImplemented(
            `network option ${name}=${value} is not supported: containers of one network share a layer 2 segment of vSphere. Give each its own network`,
          );
        break;
      case NETWORK_OPTION.mtu: {
        const mtu = Number(value);
        if (!/^\d{1,5}$/.test(value) || mtu < MTU_RANGE.lowest || mtu > MTU_RANGE.highest)
          throw invalid(`failed to parse ${name} value: ${JSON.stringify(value)}`);
        break;
      }
      case NETWORK_OPTION.hostBinding:
        if (!isIPv4(value)) throw invalid(`failed to parse ${name} value: ${JSON.stringify(value)}`);
        break;
      case NETWORK_OPTION.interfacePrefix:
        if (!/^[a-zA-Z][a-zA-Z0-9_.-]{0,9}$/.test(value) || value === "lo")
          throw invalid(`invalid interface prefix ${JSON.stringify(value)}: give at most 10 letters and digits`);
        break;
      case NETWORK_OPTION.portGroup:
        if (value === "") throw invalid(`network option ${name} needs the name of a port group`);
        break;
      case NETWORK_OPTION.bridgeName:
        throw notImplemented(
          `network option ${name} is not supported: a network is a port group of vSphere. Name one with -o ${NETWORK_OPTION.portGroup}=NAME`,
        );
      default:
        throw notImplemented(
          `network option ${name} is not supported: it would have no effect. Supported are ${Object.values(
            NETWORK_OPTION,
          )
            .filter((known) => known !== NETWORK_OPTION.bridgeName && known !== NETWORK_OPTION.defaultBridge)
            .join(", ")}`,
        );
    }
  }
}

type GivenBlock = NonNullable<NonNullable<NonNullable<NetworkCreateBody["IPAM"]>["Config"]>[number]>;

function checkBlock(given: GivenBlock): NetworkWish["block"] {
  const auxiliary = (given.AuxiliaryAddresses ?? {}) as Record<string, string>;
  if (Object.keys(auxiliary).length > AUXILIARY_LIMIT)
    throw invalid(`more than ${AUXILIARY_LIMIT} auxiliary addresses: give an --ip-range instead`);
  if (!given.Subnet) {
    if (given.IPRange || given.Gateway || Object.keys(auxiliary).length > 0)
      throw invalid("invalid network config: ipam: subnet is required with gateway, ip-range and aux-address");
    return { subnet: undefined, auxiliary: {} };
  }
  if (given.Subnet.includes(":"))
    throw notImplemented("IPv6 is not supported on bridge networks yet: give an IPv4 subnet");
  const subnet = translated(() => parseSubnet(given.Subnet ?? ""));
  if (formatSubnet(subnet) !== given.Subnet)
    throw invalid(`invalid network config:\ninvalid subnet ${given.Subnet}: it should be ${formatSubnet(subnet)}`);
  const inside = (text: string, what: string): string => {
    const address = parseIpv4(text);
    if (address === undefined || !contains(subnet, address))
      throw invalid(
        `invalid network config:\ninvalid ${what} ${text}: parent subnet ${given.Subnet} doesn't contain it`,
      );
    if (address === subnet.first || address === subnet.last)
      throw invalid(`invalid network config:\ninvalid ${what} ${text}: it is the network's or broadcast address`);
    return text;
  };
  if (given.IPRange) {
    const range = translated(() => parseSubnet(given.IPRange ?? ""));
    if (!contains(subnet, range.first) || !contains(subnet, range.last))
      throw invalid(
        `invalid network config:\ninvalid ip-range ${given.IPRange}: parent subnet ${given.Subnet} doesn't contain it`,
      );
  }
  for (const address of Object.values(auxiliary)) inside(address, "auxiliary address");
  return {
    subnet,
    ...(given.Gateway ? { gateway: inside(given.Gateway, "gateway") } : {}),
    ...(given.IPRange ? { ipRange: given.IPRange } : {}),
    auxiliary,
  };
}

/** The addresses of a new network. Throws EngineError with Docker's text when they overlap with another network's. */
export function chooseBlock(wish: NetworkWish["block"], others: readonly Subnet[], choose: () => string): AddressBlock {
  const { subnet: wanted, gateway, ipRange, auxiliary } = wish;
  if (wanted && others.some((other) => overlaps(other, wanted)))
    throw new EngineError("forbidden", "invalid pool request: Pool overlaps with other one on this address space");
  const subnet = wanted ? formatSubnet(wanted) : choose();
  const free = gateway ?? firstFree(subnet, ipRange, Object.values(auxiliary));
  return { subnet, gateway: free, ...(ipRange ? { ipRange } : {}), auxiliary };
}

/** Docker takes the gateway from the ip-range when there is one. */
function firstFree(subnet: string, ipRange: string | undefined, taken: readonly string[]): string {
  const range = parseSubnet(ipRange ?? subnet);
  const whole = parseSubnet(subnet);
  const used = new Set(taken.map((text) => parseIpv4(text)));
  for (let address = range.first; address <= range.last; address++)
    if (address !== whole.first && address !== whole.last && !used.has(address)) return formatIpv4(address);
  return firstAddress(subnet);
}

function translated<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof NetworkError) throw invalid(`invalid network config:\n${error.message}`);
    throw error;
  }
}
