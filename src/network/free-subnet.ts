/** Choosing subnets that collide with nothing. */
import { readFileSync } from "node:fs";
import os from "node:os";
import { NetworkError } from "./contract.ts";
import { formatIpv4, formatSubnet, overlaps, parseIpv4, parseSubnet, type Subnet } from "./subnet.ts";

/** Docker's own default pools: 172.17 to 172.31 whole, then 192.168 in parts of 4096 addresses. */
const DEFAULT_POOLS: readonly Subnet[] = [
  ...Array.from({ length: 15 }, (_, index) => parseSubnet(`172.${17 + index}.0.0/16`)),
  ...Array.from({ length: 16 }, (_, index) => parseSubnet(`192.168.${index * 16}.0/20`)),
];

/** Subnets that this machine has an address in or a route to, default routes aside. */
export function machineSubnets(): Subnet[] {
  const found: Subnet[] = [];
  for (const addresses of Object.values(os.networkInterfaces()))
    for (const { family, cidr } of addresses ?? []) {
      const match = family === "IPv4" && cidr !== null ? /^([\d.]+)\/(\d+)$/.exec(cidr) : null;
      const address = parseIpv4(match?.[1] ?? "");
      if (address !== undefined && Number(match?.[2]) > 0) found.push(subnetOf(address, Number(match?.[2])));
    }
  return [...found, ...routedSubnets()];
}

/** /proc/net/route has little-endian hexadecimal addresses. */
function routedSubnets(): Subnet[] {
  let text: string;
  try {
    text = readFileSync("/proc/net/route", "utf8");
  } catch {
    // A machine without IPv4 has no routes to collide with.
    return [];
  }
  const swap = (hex: string): number => Number.parseInt(hex.match(/../g)?.reverse().join("") ?? "0", 16);
  return text
    .split("\n")
    .slice(1)
    .map((line) => line.split(/\s+/))
    .filter((fields) => fields.length > 7 && fields[7] !== "00000000")
    .map((fields) => {
      const first = swap(fields[1] ?? "0");
      const mask = swap(fields[7] ?? "0");
      return { first, last: first + (0xffffffff - mask), prefixLength: mask.toString(2).replaceAll("0", "").length };
    });
}

function subnetOf(address: number, prefixLength: number): Subnet {
  const size = 2 ** (32 - prefixLength);
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1, prefixLength };
}

/** The first default pool that overlaps with none of `taken`. Throws NetworkError with Docker's text when there is none. */
export function freeSubnet(taken: readonly Subnet[]): string {
  const free = DEFAULT_POOLS.find((pool) => !taken.some((other) => overlaps(pool, other)));
  if (!free)
    throw new NetworkError(
      "addresses-exhausted",
      "all predefined address pools have been fully subnetted: give the network a --subnet of its own",
    );
  return formatSubnet(free);
}

/** The first usable address of a subnet: Docker's default gateway. */
export const firstAddress = (subnet: string): string => formatIpv4(parseSubnet(subnet).first + 1);
