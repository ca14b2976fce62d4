import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";

/** Tried in this order for the default bridge network; the first that no route or address of this machine touches is taken. */
const CANDIDATE_SUBNETS = ["172.30.0.0/16", "172.29.0.0/16", "172.28.0.0/16", "10.213.0.0/16", "192.168.213.0/24"];

interface Range {
  first: number;
  last: number;
}

function parseAddress(address: string): number {
  const parts = address.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255))
    throw new Error(`"${address}" is not an IPv4 address`);
  return parts.reduce((value, part) => value * 256 + part, 0);
}

/** First and last address of a CIDR such as 172.30.0.0/16; throws for anything else. */
export function subnetRange(subnet: string): Range {
  const [address, length, ...rest] = subnet.split("/");
  const bits = Number(length);
  if (address === undefined || rest.length > 0 || !Number.isInteger(bits) || bits < 8 || bits > 29)
    throw new Error(`Subnet "${subnet}": write an IPv4 network with 8 to 29 prefix bits, such as 172.30.0.0/16.`);
  const size = 2 ** (32 - bits);
  const base = Math.floor(parseAddress(address) / size) * size;
  return { first: base, last: base + size - 1 };
}

/** The first usable address of a subnet, which the endpoint takes. */
export function gatewayOf(subnet: string): string {
  const address = subnetRange(subnet).first + 1;
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
}

/** IPv4 routes of this machine except default routes, from /proc/net/route (little-endian hexadecimal addresses). */
async function routedRanges(): Promise<Range[]> {
  const text = await readFile("/proc/net/route", "utf8");
  const swap = (hex: string): number => Number.parseInt(hex.match(/../g)?.reverse().join("") ?? "0", 16);
  return text
    .split("\n")
    .slice(1)
    .map((line) => line.split(/\s+/))
    .filter((fields) => fields.length > 7 && fields[7] !== "00000000")
    .map((fields) => {
      const first = swap(fields[1] ?? "0");
      return { first, last: first + (0xffffffff - swap(fields[7] ?? "0")) };
    });
}

/** A private subnet that collides with nothing on this machine. */
export async function chooseBridgeSubnet(): Promise<string> {
  const taken = await routedRanges();
  for (const addresses of Object.values(networkInterfaces()))
    for (const { address, family } of addresses ?? [])
      if (family === "IPv4") taken.push({ first: parseAddress(address), last: parseAddress(address) });
  const free = CANDIDATE_SUBNETS.find((candidate) => {
    const range = subnetRange(candidate);
    return !taken.some((other) => other.first <= range.last && range.first <= other.last);
  });
  if (free === undefined)
    throw new Error(
      `No free subnet for the bridge network: ${CANDIDATE_SUBNETS.join(", ")} are all in use. Name one with --subnet.`,
    );
  return free;
}
