/** IPv4 and IPv6 addresses as numbers, in their one canonical spelling (RFC 5952), and networks of them. */

export type Family = 4 | 6;

export interface IpAddress {
  family: Family;
  value: bigint;
}

/** Host bits are never set in `first`; `last` is the broadcast address of an IPv4 network. */
export interface IpNetwork {
  family: Family;
  first: bigint;
  last: bigint;
  prefixLength: number;
}

export const ADDRESS_BITS: Record<Family, number> = { 4: 32, 6: 128 };
const GROUPS = 8;

/** Undefined for anything else; zones (`fe80::1%eth0`) and numbers with leading zeros in IPv4 are anything else. */
export function parseIp(text: string): IpAddress | undefined {
  const value = text.includes(":") ? parse6(text) : parse4(text);
  return value === undefined ? undefined : { family: text.includes(":") ? 6 : 4, value };
}

function parse4(text: string): bigint | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let value = 0n;
  for (const part of match.slice(1)) {
    if (Number(part) > 255 || (part.length > 1 && part.startsWith("0"))) return undefined;
    value = value * 256n + BigInt(part);
  }
  return value;
}

function parse6(text: string): bigint | undefined {
  const dotted = /^(.*:)([\d.]*\.[\d.]*)$/.exec(text);
  if (dotted) {
    // The last 32 bits as IPv4 (RFC 4291, 2.2).
    const low = parse4(dotted[2] ?? "");
    return low === undefined
      ? undefined
      : parse6(`${dotted[1]}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}`);
  }
  const [head = "", tail, ...more] = text.split("::");
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  if (left === undefined || right === undefined || more.length > 0) return undefined;
  const missing = GROUPS - left.length - right.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  return [...left, ...new Array<number>(missing).fill(0), ...right].reduce(
    (sum, group) => (sum << 16n) | BigInt(group),
    0n,
  );
}

function groups(part: string): number[] | undefined {
  if (part === "") return [];
  const words = part.split(":");
  return words.every((word) => /^[0-9a-fA-F]{1,4}$/.test(word))
    ? words.map((word) => Number.parseInt(word, 16))
    : undefined;
}

export function formatIp({ family, value }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
  const words = Array.from({ length: GROUPS }, (_, index) =>
    Number((value >> BigInt(16 * (GROUPS - 1 - index))) & 0xffffn),
  );
  const zeros = longestZeros(words);
  const hex = (part: number[]): string => part.map((word) => word.toString(16)).join(":");
  return zeros === undefined ? hex(words) : `${hex(words.slice(0, zeros.from))}::${hex(words.slice(zeros.to))}`;
}

/** The first of the longest runs of at least two zero groups. */
function longestZeros(words: readonly number[]): { from: number; to: number } | undefined {
  let best: { from: number; to: number } | undefined;
  for (let from = 0; from < words.length; from++) {
    let to = from;
    while (words[to] === 0) to++;
    if (to - from >= 2 && to - from > (best ? best.to - best.from : 0)) best = { from, to };
    if (to > from) from = to;
  }
  return best;
}

/** The canonical spelling, or undefined when it is no address. */
export function canonicalIp(text: string): string | undefined {
  const address = parseIp(text);
  return address && formatIp(address);
}

/** The bytes of an address in network order. */
export function ipBytes({ family, value }: IpAddress): Uint8Array {
  const length = ADDRESS_BITS[family] / 8;
  return Uint8Array.from({ length }, (_, index) => Number((value >> BigInt(8 * (length - 1 - index))) & 255n));
}

/** `address/length`; host bits may be set and are cleared. Undefined for anything else. */
export function parseNetwork(text: string): IpNetwork | undefined {
  const [addressText = "", lengthText = "", ...rest] = text.split("/");
  const address = parseIp(addressText);
  if (address === undefined || rest.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(lengthText)) return undefined;
  const prefixLength = Number(lengthText);
  return prefixLength > ADDRESS_BITS[address.family] ? undefined : networkOf(address, prefixLength);
}

export function networkOf({ family, value }: IpAddress, prefixLength: number): IpNetwork {
  const size = 1n << BigInt(ADDRESS_BITS[family] - prefixLength);
  const first = value - (value % size);
  return { family, first, last: first + size - 1n, prefixLength };
}

export const formatNetwork = ({ family, first, prefixLength }: IpNetwork): string =>
  `${formatIp({ family, value: first })}/${prefixLength}`;

export const networkHas = (network: IpNetwork, { family, value }: IpAddress): boolean =>
  family === network.family && value >= network.first && value <= network.last;

/** True when `part` is inside of `whole`, or the same. */
export const networkIncludes = (whole: IpNetwork, part: IpNetwork): boolean =>
  whole.family === part.family && part.first >= whole.first && part.last <= whole.last;

export const networksOverlap = (a: IpNetwork, b: IpNetwork): boolean =>
  a.family === b.family && a.first <= b.last && b.first <= a.last;

/** The address that a name of a reverse look-up asks for (RFC 1035, 3.5; RFC 3596, 2.5), or undefined for another name. */
export function reverseAddress(name: string): string | undefined {
  const dotted = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (dotted) return dotted.slice(1).reverse().join(".");
  const nibbles = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (nibbles === undefined) return undefined;
  return formatIp({ family: 6, value: BigInt(`0x${nibbles.replaceAll(".", "").split("").reverse().join("")}`) });
}
