/** IPv4 addresses as numbers, and subnets. */
import { NetworkError } from "./contract.ts";

export interface Subnet {
  /** Network address as an unsigned number. */
  first: number;
  /** Broadcast address as an unsigned number. */
  last: number;
  prefixLength: number;
}

const DOTTED = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;

/** The address as an unsigned 32-bit number, or undefined when it is not a dotted IPv4 address. */
export function parseIpv4(text: string): number | undefined {
  const match = DOTTED.exec(text);
  if (match === null) return undefined;
  let value = 0;
  for (const part of match.slice(1)) {
    const octet = Number(part);
    if (octet > 255 || (part.length > 1 && part.startsWith("0"))) return undefined;
    value = value * 256 + octet;
  }
  return value;
}

export function formatIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
}

/** Parses `a.b.c.d/n`; host bits may be set and are cleared. Throws NetworkError `invalid`. */
export function parseSubnet(text: string): Subnet {
  const [addressText = "", lengthText = "", ...rest] = text.split("/");
  const address = parseIpv4(addressText);
  const prefixLength = /^\d{1,2}$/.test(lengthText) ? Number(lengthText) : Number.NaN;
  if (address === undefined || rest.length > 0 || !(prefixLength >= 1 && prefixLength <= 30)) {
    throw new NetworkError(
      "invalid",
      `invalid subnet ${text}: expected an IPv4 network such as 172.18.0.0/16 (/1 to /30)`,
    );
  }
  const size = 2 ** (32 - prefixLength);
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1, prefixLength };
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatIpv4(subnet.first)}/${subnet.prefixLength}`;
}

export const contains = (subnet: Subnet, address: number): boolean => address >= subnet.first && address <= subnet.last;

export const overlaps = (a: Subnet, b: Subnet): boolean => a.first <= b.last && b.first <= a.last;
