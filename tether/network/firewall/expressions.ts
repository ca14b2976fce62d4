/** The few expressions of nf_tables that the rules consist of. Each loads something into register 1 and compares, or decides. */
import type { Attribute } from "./netlink.ts";

const REGISTER = { verdict: 0, first: 1 } as const;
const META = { incomingName: 6, outgoingName: 7, networkProtocol: 15, transportProtocol: 16 } as const;
const COMPARE = { equal: 0, notEqual: 1, atMost: 3, atLeast: 5 } as const;
const BASE = { network: 1, transport: 2 } as const;
const CONNECTION = { state: 0, status: 2 } as const;
const VERDICT = { drop: 0, accept: 1 } as const;
const INTERFACE_NAME_BYTES = 16;
/** Bits of `ct state`: established, related. */
const STATE_ANSWER = 0x2 | 0x4;
/** Bit of `ct status`: the destination was translated. */
const STATUS_REDIRECTED = 0x20;

export type Expression = Attribute[];
/** Several expressions that belong together. */
export type Match = Expression[];

const expression = (name: string, attributes: Attribute[]): Expression => [
  [1, name],
  [2, attributes],
];

const data = (bytes: Uint8Array): Attribute[] => [[1, bytes]];
const meta = (key: number): Expression =>
  expression("meta", [
    [1, REGISTER.first],
    [2, key],
  ]);
const compare = (operation: number, bytes: Uint8Array): Expression =>
  expression("cmp", [
    [1, REGISTER.first],
    [2, operation],
    [3, data(bytes)],
  ]);
const payload = (base: number, offset: number, length: number): Expression =>
  expression("payload", [
    [1, REGISTER.first],
    [2, base],
    [3, offset],
    [4, length],
  ]);

const hostOrder32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
};
const port = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 255);
const ipv4 = (address: string): Uint8Array => Uint8Array.from(address.split(".").map(Number));

function interfaceIs(key: number, name: string): Match {
  const bytes = new Uint8Array(INTERFACE_NAME_BYTES);
  bytes.set(Buffer.from(name).subarray(0, INTERFACE_NAME_BYTES - 1));
  return [meta(key), compare(COMPARE.equal, bytes)];
}
export const comesIn = (name: string): Match => interfaceIs(META.incomingName, name);
export const goesOut = (name: string): Match => interfaceIs(META.outgoingName, name);

const connection = (key: number, bits: number): Match => [
  expression("ct", [
    [1, REGISTER.first],
    [2, key],
  ]),
  expression("bitwise", [
    [1, REGISTER.first],
    [2, REGISTER.first],
    [3, 4],
    [4, data(hostOrder32(bits))],
    [5, data(hostOrder32(0))],
  ]),
  compare(COMPARE.notEqual, hostOrder32(0)),
];
/** Belongs to a connection that was let through before, or is an error about one. */
export const isAnswer = (): Match => connection(CONNECTION.state, STATE_ANSWER);
/** Was sent to a port that a rule of ours has led to another one. */
export const wasRedirected = (): Match => connection(CONNECTION.status, STATUS_REDIRECTED);

export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
export const usesProtocol = (protocol: number): Match => [
  meta(META.transportProtocol),
  compare(COMPARE.equal, Uint8Array.of(protocol)),
];
const NETWORK_PROTOCOL_IPV4 = 2;
export const isIpv4 = (): Match => [
  meta(META.networkProtocol),
  compare(COMPARE.equal, Uint8Array.of(NETWORK_PROTOCOL_IPV4)),
];

function between(low: Uint8Array, high: Uint8Array): Expression[] {
  return Buffer.compare(low, high) === 0
    ? [compare(COMPARE.equal, low)]
    : [compare(COMPARE.atLeast, low), compare(COMPARE.atMost, high)];
}
/** After `usesProtocol`: the destination port of tcp, udp and sctp. */
export const toPorts = (first: number, last: number): Match => [
  payload(BASE.transport, 2, 2),
  ...between(port(first), port(last)),
];
/** After `usesProtocol` of ICMP. */
export const hasIcmpType = (first: number, last = first): Match => [
  payload(BASE.transport, 0, 1),
  ...between(Uint8Array.of(first), Uint8Array.of(last)),
];
/** After `isIpv4`. */
export const comesFrom = (first: string, last: string): Match => [
  payload(BASE.network, 12, 4),
  ...between(ipv4(first), ipv4(last)),
];
/** After `isIpv4`. */
export const goesTo = (address: string): Match => [
  payload(BASE.network, 16, 4),
  ...between(ipv4(address), ipv4(address)),
];

const verdict = (code: number): Match => [
  expression("immediate", [
    [1, REGISTER.verdict],
    [2, [[2, [[1, code]]]]],
  ]),
];
export const accept = (): Match => verdict(VERDICT.accept);
export const drop = (): Match => verdict(VERDICT.drop);
/** Leads to another port of this machine. */
export const redirectTo = (target: number): Match => [
  expression("immediate", [
    [1, REGISTER.first],
    [2, data(port(target))],
  ]),
  expression("redir", [[1, REGISTER.first]]),
];
