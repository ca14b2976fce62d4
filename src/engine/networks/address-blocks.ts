/** IPAM of a `docker network create`: one block of addresses for each family. Texts are Docker's where it has one. */
import {
  type Family,
  formatIp,
  formatNetwork,
  type IpAddress,
  type IpNetwork,
  networkHas,
  networkIncludes,
  networksOverlap,
  parseIp,
  parseNetwork,
} from "../../format/ip-address.ts";
import { NetworkError } from "../../network/contract.ts";
import { hostSubnet } from "../../network/host-subnet.ts";
import type { NetworkCreateBody } from "../contract.ts";
import { EngineError, invalid } from "../errors.ts";
import type { AddressBlock } from "./network-record.ts";

const AUXILIARY_LIMIT = 1024;

/** A block as the client asks for it; without a subnet one is chosen. */
export interface BlockWish {
  subnet: IpNetwork | undefined;
  gateway?: string;
  ipRange?: string;
  auxiliary: Record<string, string>;
}

type GivenBlock = NonNullable<NonNullable<NonNullable<NetworkCreateBody["IPAM"]>["Config"]>[number]>;

/** Throws EngineError. */
export function checkBlocks(
  given: readonly GivenBlock[],
  enableIPv6: boolean,
): { ipv4: BlockWish; ipv6: BlockWish | undefined } {
  const wishes = new Map<Family, BlockWish>();
  for (const config of given) {
    const family: Family = config.Subnet?.includes(":") ? 6 : 4;
    if (family === 6 && !enableIPv6)
      throw invalid(
        `invalid network config:\nIPv6 subnet ${config.Subnet} would have no effect: the network is to have no IPv6. Add --ipv6`,
      );
    if (wishes.has(family))
      throw new EngineError("forbidden", "bridge driver doesn't support multiple subnets: give one of each family");
    wishes.set(family, checkBlock(config));
  }
  const chosen: BlockWish = { subnet: undefined, auxiliary: {} };
  return { ipv4: wishes.get(4) ?? chosen, ipv6: enableIPv6 ? (wishes.get(6) ?? chosen) : undefined };
}

function checkBlock(given: GivenBlock): BlockWish {
  const auxiliary = (given.AuxiliaryAddresses ?? {}) as Record<string, string>;
  if (Object.keys(auxiliary).length > AUXILIARY_LIMIT)
    throw invalid(`more than ${AUXILIARY_LIMIT} auxiliary addresses: give an --ip-range instead`);
  if (!given.Subnet) {
    if (given.IPRange || given.Gateway || Object.keys(auxiliary).length > 0)
      throw invalid("invalid network config: ipam: subnet is required with gateway, ip-range and aux-address");
    return { subnet: undefined, auxiliary: {} };
  }
  const subnet = subnetOf(given.Subnet);
  const problems = [
    ...(given.IPRange ? rangeProblems(given.IPRange, subnet) : []),
    ...(given.Gateway ? addressProblems(`gateway ${given.Gateway}`, given.Gateway, subnet) : []),
    ...Object.values(auxiliary).flatMap((text) => addressProblems(`auxiliary address ${text}`, text, subnet)),
  ];
  if (problems.length > 0) throw invalid(`invalid network config:\n${problems.join("\n")}`);
  return {
    subnet,
    ...(given.Gateway ? { gateway: canonical(given.Gateway) } : {}),
    ...(given.IPRange ? { ipRange: given.IPRange } : {}),
    auxiliary: Object.fromEntries(Object.entries(auxiliary).map(([name, text]) => [name, canonical(text)])),
  };
}

function subnetOf(text: string): IpNetwork {
  const parsed = parseNetwork(text);
  if (parsed === undefined)
    throw invalid(`invalid network config:\ninvalid subnet ${text}: invalid CIDR block notation`);
  const [addressText = ""] = text.split("/");
  if (parseIp(addressText)?.value !== parsed.first)
    throw invalid(`invalid network config:\ninvalid subnet ${text}: it should be ${formatNetwork(parsed)}`);
  try {
    return hostSubnet(text);
  } catch (error) {
    if (error instanceof NetworkError) throw invalid(`invalid network config:\n${error.message}`);
    throw error;
  }
}

function rangeProblems(text: string, subnet: IpNetwork): string[] {
  const range = parseNetwork(text);
  const say = (reason: string): string => `invalid ip-range ${text}: ${reason}`;
  if (range === undefined) return [say("invalid CIDR block notation")];
  if (range.family !== subnet.family) return [say(`parent subnet is an IPv${subnet.family} block`)];
  const problems: string[] = [];
  if (range.prefixLength < subnet.prefixLength)
    problems.push(say(`CIDR block is bigger than its parent subnet ${formatNetwork(subnet)}`));
  const [addressText = ""] = text.split("/");
  if (parseIp(addressText)?.value !== range.first) problems.push(say(`it should be ${formatNetwork(range)}`));
  if (!networksOverlap(subnet, range))
    problems.push(say(`parent subnet ${formatNetwork(subnet)} doesn't contain ip-range`));
  return problems.length === 0 && !networkIncludes(subnet, range) ? [say("it is not inside the subnet")] : problems;
}

function addressProblems(what: string, text: string, subnet: IpNetwork): string[] {
  const address = parseIp(text);
  if (address === undefined) return [`invalid ${what}: invalid address`];
  if (address.family !== subnet.family) return [`invalid ${what}: parent subnet is an IPv${subnet.family} block`];
  if (!networkHas(subnet, address))
    return [`invalid ${what}: parent subnet ${formatNetwork(subnet)} doesn't contain this address`];
  if (endsOf(subnet).includes(address.value))
    return [`invalid ${what}: it is the network's${subnet.family === 4 ? " or broadcast" : ""} address`];
  return [];
}

/** Addresses that no host can have. */
const endsOf = ({ family, first, last }: IpNetwork): bigint[] => (family === 4 ? [first, last] : [first]);

const canonical = (text: string): string => formatIp(parseIp(text) as IpAddress);

/** The addresses of a new network. Throws EngineError with Docker's text when they overlap with another network's. */
export function chooseBlock(wish: BlockWish, others: readonly IpNetwork[], choose: () => string): AddressBlock {
  const { subnet: wanted, gateway, ipRange, auxiliary } = wish;
  if (wanted && others.some((other) => networksOverlap(other, wanted)))
    throw new EngineError("forbidden", "invalid pool request: Pool overlaps with other one on this address space");
  const subnet = wanted ?? hostSubnet(choose());
  return {
    subnet: formatNetwork(subnet),
    gateway: gateway ?? firstFree(subnet, ipRange, Object.values(auxiliary)),
    ...(ipRange ? { ipRange } : {}),
    auxiliary,
  };
}

/** Docker takes the gateway from the ip-range when there is one. Throws EngineError when everything is taken. */
function firstFree(subnet: IpNetwork, ipRange: string | undefined, taken: readonly string[]): string {
  const range = (ipRange === undefined ? undefined : parseNetwork(ipRange)) ?? subnet;
  const used = new Set([...taken.flatMap((text) => parseIp(text)?.value ?? []), ...endsOf(subnet)]);
  for (const { first, last } of [range, subnet])
    for (let value = first; value <= last; value++)
      if (!used.has(value)) return formatIp({ family: subnet.family, value });
  throw invalid(`invalid network config:\nsubnet ${formatNetwork(subnet)} has no address left for a gateway`);
}
