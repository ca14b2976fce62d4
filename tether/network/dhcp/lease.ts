/** What a DHCP server has given, as the guest uses it. */
import type { DhcpFrame } from "../../../src/format/dhcp-frame.ts";
import { type DhcpReply, type DhcpRoute, INFINITE_LEASE, isHostAddress } from "../../../src/format/dhcp-message.ts";

/** Seconds. A server that gives less would have its clients do nothing but renew. */
const SHORTEST_LEASE = 20;
const SHORTEST_RENEWAL = 3;

export interface Lease {
  address: string;
  prefixLength: number;
  gateway?: string;
  routes: DhcpRoute[];
  nameServers: string[];
  search: string[];
  mtu?: number;
  server: string;
  /** Who delivered it: the server, or a router on the way to it. */
  serverHardware: string;
  /** Wall clock, milliseconds. */
  obtained: number;
  /** Seconds after `obtained`, in this order. Infinity for a lease without end. */
  renewal: number;
  rebinding: number;
  expiry: number;
}

/** The lease of an ACK, or undefined when there is none to use in it. */
export function leaseOf(reply: DhcpReply, frame: DhcpFrame, obtained: number): Lease | undefined {
  const { address, serverIdentifier, leaseSeconds } = reply;
  if (!isHostAddress(address) || serverIdentifier === undefined || leaseSeconds === undefined) return undefined;
  const expiry = leaseSeconds === INFINITE_LEASE ? Number.POSITIVE_INFINITY : Math.max(leaseSeconds, SHORTEST_LEASE);
  // RFC 2131, 4.4.5: T1 at a half and T2 at seven eighths unless the server says otherwise.
  const rebinding = within(reply.rebindingSeconds, SHORTEST_RENEWAL, expiry, expiry * 0.875);
  const renewal = within(reply.renewalSeconds, SHORTEST_RENEWAL, rebinding, expiry * 0.5);
  // One without a gateway would lead to the link itself, where a container's other networks are not.
  const routes = reply.routes.filter(({ gateway }) => gateway !== "0.0.0.0");
  const standard = routes.find(({ prefixLength }) => prefixLength === 0)?.gateway;
  const gateway = reply.routes.length > 0 ? standard : reply.routers[0];
  return {
    address,
    prefixLength: reply.prefixLength ?? classLength(address),
    ...(gateway === undefined ? {} : { gateway }),
    routes: routes.filter(({ prefixLength }) => prefixLength > 0),
    nameServers: reply.nameServers,
    search: reply.search,
    ...(reply.mtu === undefined ? {} : { mtu: reply.mtu }),
    server: serverIdentifier,
    serverHardware: frame.sourceHardware,
    obtained,
    renewal,
    rebinding,
    expiry,
  };
}

const within = (wanted: number | undefined, lowest: number, highest: number, otherwise: number): number =>
  Math.min(wanted === undefined || wanted < lowest ? otherwise : wanted, highest);

/** A server that gives no mask means that of the address's class (RFC 950). */
function classLength(address: string): number {
  const [first = 0] = address.split(".").map(Number);
  return first < 128 ? 8 : first < 192 ? 16 : 24;
}

export const isValid = (lease: Lease, now: number): boolean => now < lease.obtained + lease.expiry * 1000;

/** True when nothing that the guest sets up differs. */
export const sameSettings = (a: Lease, b: Lease): boolean => settings(a) === settings(b);
const settings = ({ address, prefixLength, gateway, routes, nameServers, search, mtu }: Lease): string =>
  JSON.stringify([address, prefixLength, gateway, routes, nameServers, search, mtu]);
