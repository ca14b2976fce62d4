/** Choosing subnets that collide with nothing. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import os from "node:os";
import {
  type Family,
  formatIp,
  formatNetwork,
  type IpNetwork,
  networkOf,
  networksOverlap,
  parseNetwork,
} from "../format/ip-address.ts";
import { NetworkError } from "./contract.ts";

/** Docker's own default pools: 172.17 to 172.31 whole, then 192.168 in parts of 4096 addresses. */
const DEFAULT_POOLS: readonly string[] = [
  ...Array.from({ length: 15 }, (_, index) => `172.${17 + index}.0.0/16`),
  ...Array.from({ length: 16 }, (_, index) => `192.168.${index * 16}.0/20`),
];
/** Subnets of 64 bits in a site's prefix of 48 (RFC 4193, 3.1). */
const SITE_SUBNETS = 1 << 16;
const MACHINE_ID = "/etc/machine-id";

/** Subnets that this machine has an address in or a route to, default routes and link-local ones aside. */
export function machineSubnets(): IpNetwork[] {
  const found: IpNetwork[] = [];
  for (const addresses of Object.values(os.networkInterfaces()))
    for (const { cidr } of addresses ?? []) {
      const network = parseNetwork(cidr?.replace(/%[^/]*/, "") ?? "");
      if (network !== undefined) found.push(network);
    }
  return [...found, ...routes4(), ...routes6()].filter((network) => network.prefixLength > 0 && !isLinkLocal(network));
}

const isLinkLocal = ({ family, first }: IpNetwork): boolean => family === 6 && first >> 118n === 0x3fan;

/** /proc/net/route has little-endian hexadecimal addresses and masks. */
function routes4(): IpNetwork[] {
  const swap = (hex: string): number => Number.parseInt(hex.match(/../g)?.reverse().join("") ?? "0", 16);
  return linesOf("/proc/net/route")
    .slice(1)
    .filter((fields) => fields.length > 7)
    .map((fields) => {
      const ones = swap(fields[7] ?? "0")
        .toString(2)
        .replaceAll("0", "").length;
      return networkOf({ family: 4, value: BigInt(swap(fields[1] ?? "0")) }, ones);
    });
}

/** /proc/net/ipv6_route begins with destination and prefix length, both hexadecimal. */
function routes6(): IpNetwork[] {
  return linesOf("/proc/net/ipv6_route")
    .filter((fields) => /^[0-9a-f]{32}$/.test(fields[0] ?? "") && fields.at(-1) !== "lo")
    .map((fields) => networkOf({ family: 6, value: BigInt(`0x${fields[0]}`) }, Number.parseInt(fields[1] ?? "0", 16)));
}

/** The words of each line. A machine without the protocol has no such file and no routes to collide with. */
function linesOf(path: string): string[][] {
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}

/**
 * The first default pool of the family that overlaps with none of `taken`. `owner` names the VCH, whose IPv6 networks are
 * parts of one prefix of its own. Throws NetworkError with Docker's text when there is none.
 */
export function freeSubnet(family: Family, taken: readonly IpNetwork[], owner: string): string {
  for (const pool of family === 4 ? DEFAULT_POOLS : sitePools(owner)) {
    const network = parseNetwork(pool);
    if (network && !taken.some((other) => networksOverlap(network, other))) return pool;
  }
  throw new NetworkError(
    "addresses-exhausted",
    "all predefined address pools have been fully subnetted: give the network a --subnet of its own",
  );
}

/** Unique local addresses (RFC 4193): 40 bits that follow from this machine and the VCH's name, so sites do not collide. */
function* sitePools(owner: string): Generator<string> {
  const [[machine = os.hostname()] = []] = linesOf(MACHINE_ID);
  const digest = createHash("sha256").update(`${machine}\0${owner}`).digest("hex");
  const prefix = BigInt(`0xfd${digest.slice(0, 10)}`) << 80n;
  for (let subnet = 0; subnet < SITE_SUBNETS; subnet++)
    yield formatNetwork(networkOf({ family: 6, value: prefix | (BigInt(subnet) << 64n) }, 64));
}

/** The first usable address of a subnet: Docker's default gateway. */
export function firstAddress(subnet: string): string {
  const network = parseNetwork(subnet);
  if (network === undefined) throw new NetworkError("invalid", `invalid subnet ${subnet}`);
  return formatIp({ family: network.family, value: network.first + 1n });
}
