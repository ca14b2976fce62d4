/**
 * DHCP messages (RFC 2131, options of RFC 2132, 3396, 3397 and 3442) as far as a client needs them. A server is a stranger: what
 * it sends is checked, cut to limits, and left out where it makes no sense.
 */
import { FormatError } from "./format-error.ts";

export const DHCP_TYPE = { discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7 } as const;

const OPTION = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  nameServer: 6,
  hostName: 12,
  domainName: 15,
  mtu: 26,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterList: 55,
  message: 56,
  maximumSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  clientIdentifier: 61,
  domainSearch: 119,
  classlessRoutes: 121,
  end: 255,
} as const;

const FIXED_BYTES = 236;
const MAGIC = 0x63825363;
/** BOOTP's size: some relays drop what is shorter (RFC 1542, 2.1). */
const SMALLEST_MESSAGE = 300;
/** What fits into one Ethernet frame. */
const LARGEST_MESSAGE = 1472;
const OPERATION = { request: 1, reply: 2 } as const;
const HARDWARE_ETHERNET = 1;
const FLAG_BROADCAST = 0x8000;
const ADDRESS_LIMIT = 8;
const ROUTE_LIMIT = 32;
const NAME_LIMIT = 6;
const LONGEST_NAME = 253;
const LONGEST_TEXT = 200;
/** Jumps of a compressed name (RFC 1035, 4.1.4). */
const POINTER_LIMIT = 16;
const SMALLEST_MTU = 576;
const LARGEST_MTU = 9000;
/** A lease without end (RFC 2131, 3.3). */
export const INFINITE_LEASE = 0xffffffff;

export interface DhcpRequest {
  type: 1 | 3 | 4 | 7;
  /** Random 32 bits; the answer has the same. */
  transaction: number;
  /** Seconds since the client began. */
  seconds: number;
  /** Lower case with colons. */
  hardwareAddress: string;
  /** The client's own address, when it has one: renewing, rebinding, release. */
  clientAddress?: string;
  requestedAddress?: string;
  serverIdentifier?: string;
  hostName?: string;
}

export interface DhcpRoute {
  destination: string;
  prefixLength: number;
  gateway: string;
}

export interface DhcpReply {
  type: 2 | 5 | 6;
  transaction: number;
  hardwareAddress: string;
  /** What the server gives; "0.0.0.0" in a NAK. */
  address: string;
  serverIdentifier?: string;
  prefixLength?: number;
  leaseSeconds?: number;
  renewalSeconds?: number;
  rebindingSeconds?: number;
  routers: string[];
  /** Besides the network itself. When there are some, `routers` do not count (RFC 3442). */
  routes: DhcpRoute[];
  nameServers: string[];
  /** Domains to look names up in, the client's own first. */
  search: string[];
  mtu?: number;
  /** Why the server says no. */
  message?: string;
}

const problem = (text: string): FormatError => new FormatError("DHCP", text);

/** Throws FormatError when the name of the host or an address does not fit. */
export function encodeDhcpRequest(request: DhcpRequest): Uint8Array {
  const fixed = new Uint8Array(FIXED_BYTES + 4);
  const view = new DataView(fixed.buffer);
  const hardware = parseHardwareAddress(request.hardwareAddress);
  view.setUint8(0, OPERATION.request);
  view.setUint8(1, HARDWARE_ETHERNET);
  view.setUint8(2, hardware.length);
  view.setUint32(4, request.transaction);
  view.setUint16(8, Math.min(Math.max(0, Math.round(request.seconds)), 0xffff));
  // Without an address of its own the client may not hear what is sent to it alone.
  view.setUint16(10, request.clientAddress === undefined ? FLAG_BROADCAST : 0);
  if (request.clientAddress !== undefined) fixed.set(addressBytes(request.clientAddress), 12);
  fixed.set(hardware, 28);
  view.setUint32(FIXED_BYTES, MAGIC);
  const options: Uint8Array[] = [
    option(OPTION.messageType, [request.type]),
    option(OPTION.clientIdentifier, [HARDWARE_ETHERNET, ...hardware]),
  ];
  if (request.requestedAddress !== undefined)
    options.push(option(OPTION.requestedAddress, addressBytes(request.requestedAddress)));
  if (request.serverIdentifier !== undefined)
    options.push(option(OPTION.serverIdentifier, addressBytes(request.serverIdentifier)));
  if (request.type === DHCP_TYPE.discover || request.type === DHCP_TYPE.request) {
    if (request.hostName !== undefined && request.hostName !== "")
      options.push(option(OPTION.hostName, new TextEncoder().encode(request.hostName)));
    const wanted = [1, 121, 3, 6, 15, 119, 26, 51, 58, 59];
    options.push(option(OPTION.parameterList, wanted));
    options.push(option(OPTION.maximumSize, [LARGEST_MESSAGE >> 8, LARGEST_MESSAGE & 255]));
  }
  const message = Buffer.concat([fixed, ...options, Uint8Array.of(OPTION.end)]);
  return message.length >= SMALLEST_MESSAGE
    ? message
    : Buffer.concat([message, new Uint8Array(SMALLEST_MESSAGE - message.length)]);
}

function option(code: number, value: ArrayLike<number>): Uint8Array {
  if (value.length < 1 || value.length > 255) throw problem(`option ${code} has ${value.length} bytes`);
  return Uint8Array.from([code, value.length, ...Array.from(value)]);
}

/** Throws FormatError for what is no DHCP answer to an Ethernet client. */
export function decodeDhcpReply(message: Uint8Array): DhcpReply {
  if (message.length < FIXED_BYTES + 4 || message.length > LARGEST_MESSAGE) throw problem(`${message.length} bytes`);
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (view.getUint8(0) !== OPERATION.reply) throw problem("it is no reply");
  if (view.getUint8(1) !== HARDWARE_ETHERNET || view.getUint8(2) !== 6) throw problem("it is not for Ethernet");
  if (view.getUint32(FIXED_BYTES) !== MAGIC) throw problem("it has no options");
  const options = readOptions(message);
  const type = options.get(OPTION.messageType)?.[0];
  if (type !== DHCP_TYPE.offer && type !== DHCP_TYPE.ack && type !== DHCP_TYPE.nak)
    throw problem(`message type ${type}`);
  const serverIdentifier = addresses(options.get(OPTION.serverIdentifier))[0];
  const prefixLength = maskLength(options.get(OPTION.subnetMask));
  const leaseSeconds = number32(options.get(OPTION.leaseTime));
  const renewalSeconds = number32(options.get(OPTION.renewalTime));
  const rebindingSeconds = number32(options.get(OPTION.rebindingTime));
  const mtu = options.get(OPTION.mtu);
  const mtuValue = mtu?.length === 2 ? ((mtu[0] ?? 0) << 8) | (mtu[1] ?? 0) : 0;
  const text = options.get(OPTION.message);
  return {
    type,
    transaction: view.getUint32(4),
    hardwareAddress: formatHardwareAddress(message.subarray(28, 34)),
    address: formatAddress(message.subarray(16, 20)),
    ...(serverIdentifier === undefined ? {} : { serverIdentifier }),
    ...(prefixLength === undefined ? {} : { prefixLength }),
    ...(leaseSeconds === undefined ? {} : { leaseSeconds }),
    ...(renewalSeconds === undefined ? {} : { renewalSeconds }),
    ...(rebindingSeconds === undefined ? {} : { rebindingSeconds }),
    routers: addresses(options.get(OPTION.router)),
    routes: routes(options.get(OPTION.classlessRoutes)),
    nameServers: addresses(options.get(OPTION.nameServer)),
    search: domains(options.get(OPTION.domainName), options.get(OPTION.domainSearch)),
    ...(mtuValue >= SMALLEST_MTU && mtuValue <= LARGEST_MTU ? { mtu: mtuValue } : {}),
    ...(text === undefined ? {} : { message: printable(text) }),
  };
}

/** Option values by code; several of one code belong together (RFC 3396), also those in the fields of names. */
function readOptions(message: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const read = (bytes: Uint8Array): void => {
    for (let offset = 0; offset < bytes.length; ) {
      const code = bytes[offset++] ?? OPTION.end;
      if (code === OPTION.end) return;
      if (code === OPTION.pad) continue;
      const length = bytes[offset++];
      if (length === undefined || offset + length > bytes.length) throw problem(`option ${code} is cut off`);
      const value = bytes.subarray(offset, offset + length);
      const before = found.get(code);
      found.set(code, before === undefined ? value : Buffer.concat([before, value]));
      offset += length;
    }
  };
  read(message.subarray(FIXED_BYTES + 4));
  const overload = found.get(OPTION.overload)?.[0] ?? 0;
  if (overload & 1) read(message.subarray(108, 236));
  if (overload & 2) read(message.subarray(44, 108));
  return found;
}

const number32 = (bytes: Uint8Array | undefined): number | undefined =>
  bytes?.length === 4 ? new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) : undefined;

/** Whole addresses that a host can have. */
function addresses(bytes: Uint8Array | undefined): string[] {
  const found: string[] = [];
  for (let offset = 0; bytes && offset + 4 <= bytes.length && found.length < ADDRESS_LIMIT; offset += 4) {
    const address = formatAddress(bytes.subarray(offset, offset + 4));
    if (isHostAddress(address) && !found.includes(address)) found.push(address);
  }
  return found;
}

function maskLength(bytes: Uint8Array | undefined): number | undefined {
  const mask = number32(bytes);
  if (mask === undefined) return undefined;
  const length = Math.clz32(~mask >>> 0);
  const isWhole = mask === (length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0);
  return isWhole && length >= 1 ? length : undefined;
}

/** Bytes of the destination as its prefix needs, then the gateway (RFC 3442). One that makes no sense ends the list. */
function routes(bytes: Uint8Array | undefined): DhcpRoute[] {
  const found: DhcpRoute[] = [];
  for (let offset = 0; bytes && offset < bytes.length && found.length < ROUTE_LIMIT; ) {
    const prefixLength = bytes[offset++] ?? 33;
    const significant = Math.ceil(prefixLength / 8);
    if (prefixLength > 32 || offset + significant + 4 > bytes.length) break;
    const destination = new Uint8Array(4);
    destination.set(bytes.subarray(offset, offset + significant));
    offset += significant;
    const gateway = formatAddress(bytes.subarray(offset, offset + 4));
    offset += 4;
    if (gateway !== "0.0.0.0" && !isHostAddress(gateway)) break;
    found.push({ destination: formatAddress(destination), prefixLength, gateway });
  }
  return found;
}

const DOMAIN = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/;

/** They end up in resolv.conf, so nothing but names may be in them. */
function domains(own: Uint8Array | undefined, list: Uint8Array | undefined): string[] {
  const names = [...(own === undefined ? [] : [printable(own)]), ...(list === undefined ? [] : domainList(list))];
  const found: string[] = [];
  for (const name of names) {
    const plain = name.toLowerCase().replace(/\.$/, "");
    if (plain.length > LONGEST_NAME || !DOMAIN.test(plain) || found.includes(plain)) continue;
    if (found.length < NAME_LIMIT) found.push(plain);
  }
  return found;
}

/** Names in DNS's form, with pointers into this list (RFC 3397). */
function domainList(bytes: Uint8Array): string[] {
  const names: string[] = [];
  for (let offset = 0; offset < bytes.length && names.length < NAME_LIMIT; ) {
    const read = domainAt(bytes, offset);
    if (read === undefined) break;
    names.push(read.name);
    offset = read.end;
  }
  return names;
}

function domainAt(bytes: Uint8Array, start: number): { name: string; end: number } | undefined {
  const labels: string[] = [];
  let end: number | undefined;
  let jumps = 0;
  let size = 0;
  for (let offset = start; ; ) {
    const length = bytes[offset];
    if (length === undefined) return undefined;
    if (length === 0) return { name: labels.join("."), end: end ?? offset + 1 };
    if (length >= 0xc0) {
      const low = bytes[offset + 1];
      if (low === undefined || ++jumps > POINTER_LIMIT) return undefined;
      end ??= offset + 2;
      offset = ((length & 0x3f) << 8) | low;
      continue;
    }
    size += length + 1;
    if (length > 63 || size > LONGEST_NAME || offset + 1 + length > bytes.length) return undefined;
    labels.push(String.fromCharCode(...bytes.subarray(offset + 1, offset + 1 + length)));
    offset += 1 + length;
  }
}

const printable = (bytes: Uint8Array): string =>
  String.fromCharCode(...bytes.subarray(0, LONGEST_TEXT).filter((byte) => byte >= 0x20 && byte < 0x7f));

const formatAddress = (bytes: Uint8Array): string => Array.from(bytes).join(".");

function addressBytes(text: string): Uint8Array {
  const parts = text.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255))
    throw problem(`address ${text}`);
  return Uint8Array.from(parts);
}

const formatHardwareAddress = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");

function parseHardwareAddress(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(text)) throw problem(`hardware address ${text}`);
  return Uint8Array.from(text.split(":").map((part) => Number.parseInt(part, 16)));
}

/** An address that one host can have: not of this network, loopback, multicast, reserved or broadcast. */
export function isHostAddress(text: string): boolean {
  const [first = 0] = text.split(".").map(Number);
  return first >= 1 && first < 224 && first !== 127;
}
