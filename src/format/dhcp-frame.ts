/**
 * Ethernet frames around DHCP messages, for a client that has no address yet and so no socket of UDP: IPv4 (RFC 791) and UDP
 * (RFC 768), from the client's port to the server's and back.
 */
const ETHERNET_BYTES = 14;
const IP_BYTES = 20;
const UDP_BYTES = 8;
const TYPE_IPV4 = 0x0800;
const PROTOCOL_UDP = 17;
const TIME_TO_LIVE = 64;
const FRAGMENT_MASK = 0x3fff;
export const DHCP_PORT = { server: 67, client: 68 } as const;
export const BROADCAST_HARDWARE = "ff:ff:ff:ff:ff:ff";
export const BROADCAST_ADDRESS = "255.255.255.255";

export interface DhcpFrame {
  /** Lower case with colons. */
  sourceHardware: string;
  targetHardware: string;
  sourceAddress: string;
  targetAddress: string;
  message: Uint8Array;
}

const hardwareBytes = (text: string): number[] => text.split(":").map((part) => Number.parseInt(part, 16));
const addressBytes = (text: string): number[] => text.split(".").map(Number);

/** Towards a server. */
export function encodeDhcpFrame({
  sourceHardware,
  targetHardware,
  sourceAddress,
  targetAddress,
  message,
}: DhcpFrame): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + IP_BYTES + UDP_BYTES + message.length);
  const view = new DataView(frame.buffer);
  frame.set(hardwareBytes(targetHardware), 0);
  frame.set(hardwareBytes(sourceHardware), 6);
  view.setUint16(12, TYPE_IPV4);
  const udpLength = UDP_BYTES + message.length;
  view.setUint8(14, 0x45);
  view.setUint16(16, IP_BYTES + udpLength);
  view.setUint8(22, TIME_TO_LIVE);
  view.setUint8(23, PROTOCOL_UDP);
  frame.set(addressBytes(sourceAddress), 26);
  frame.set(addressBytes(targetAddress), 30);
  view.setUint16(24, checksum(frame.subarray(14, 34)));
  view.setUint16(34, DHCP_PORT.client);
  view.setUint16(36, DHCP_PORT.server);
  view.setUint16(38, udpLength);
  frame.set(message, 42);
  const pseudo = Uint8Array.of(...frame.subarray(26, 34), 0, PROTOCOL_UDP, udpLength >> 8, udpLength & 255);
  const sum = checksum(Buffer.concat([pseudo, frame.subarray(34)]));
  // Zero would mean that there is no checksum.
  view.setUint16(40, sum === 0 ? 0xffff : sum);
  return frame;
}

/**
 * A frame for the client, or undefined for anything else. UDP's checksum is not looked at: it is not made yet when the sender is on
 * the same machine and leaves it to hardware that there is not.
 */
export function decodeDhcpFrame(frame: Uint8Array): (DhcpFrame & { length: number }) | undefined {
  if (frame.length < ETHERNET_BYTES + IP_BYTES + UDP_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint16(12) !== TYPE_IPV4 || view.getUint8(14) >> 4 !== 4) return undefined;
  const headerBytes = (view.getUint8(14) & 15) * 4;
  const ipLength = view.getUint16(16);
  const start = ETHERNET_BYTES + headerBytes;
  const end = ETHERNET_BYTES + ipLength;
  if (headerBytes < IP_BYTES || end > frame.length || start + UDP_BYTES > end) return undefined;
  if (checksum(frame.subarray(ETHERNET_BYTES, start)) !== 0) return undefined;
  if (view.getUint8(23) !== PROTOCOL_UDP || (view.getUint16(20) & FRAGMENT_MASK) !== 0) return undefined;
  if (view.getUint16(start) !== DHCP_PORT.server || view.getUint16(start + 2) !== DHCP_PORT.client) return undefined;
  const udpLength = view.getUint16(start + 4);
  if (udpLength < UDP_BYTES || start + udpLength > end) return undefined;
  return {
    targetHardware: formatHardware(frame.subarray(0, 6)),
    sourceHardware: formatHardware(frame.subarray(6, 12)),
    sourceAddress: Array.from(frame.subarray(26, 30)).join("."),
    targetAddress: Array.from(frame.subarray(30, 34)).join("."),
    message: frame.slice(start + UDP_BYTES, start + udpLength),
    length: end,
  };
}

const formatHardware = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");

/** The Internet checksum (RFC 1071): 0 over bytes that contain their own. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
