/** Messages of the kernel's nf_tables interface (include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h and netlink.h of Linux). */

const HEADER_BYTES = 16;
const FAMILY_HEADER_BYTES = 4;
const ATTRIBUTE_HEADER_BYTES = 4;
const NESTED = 0x8000;
const SUBSYSTEM = 10;
const BATCH = { begin: 0x10, end: 0x11 } as const;
const FLAG = { request: 1, acknowledge: 4, create: 0x400, append: 0x800 } as const;
const ERROR_MESSAGE = 2;

export const FAMILY = { unspecified: 0, inet: 1 } as const;
export const MESSAGE = { newTable: 0, deleteTable: 2, newChain: 3, newRule: 6 } as const;

/** An attribute of a message: text, a number (32 bits, big-endian), bytes, or more attributes. */
export type Attribute = [type: number, value: string | number | Uint8Array | Attribute[]];

export interface Change {
  message: (typeof MESSAGE)[keyof typeof MESSAGE];
  attributes: Attribute[];
}

const padded = (length: number): number => (length + 3) & ~3;

function encodeValue(value: Attribute[1]): Uint8Array {
  if (typeof value === "string") return Buffer.from(`${value}\0`);
  if (typeof value === "number") {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setInt32(0, value);
    return bytes;
  }
  return value instanceof Uint8Array ? value : encodeAttributes(value);
}

export function encodeAttributes(attributes: readonly Attribute[]): Uint8Array {
  const parts = attributes.map(([type, value]) => {
    const content = encodeValue(value);
    const length = ATTRIBUTE_HEADER_BYTES + content.length;
    const bytes = new Uint8Array(padded(length));
    const view = new DataView(bytes.buffer);
    view.setUint16(0, length, true);
    view.setUint16(2, Array.isArray(value) ? type | NESTED : type, true);
    bytes.set(content, ATTRIBUTE_HEADER_BYTES);
    return bytes;
  });
  return Buffer.concat(parts);
}

function encodeMessage(
  type: number,
  flags: number,
  sequence: number,
  family: number,
  resource: number,
  attributes: readonly Attribute[],
): Uint8Array {
  const content = encodeAttributes(attributes);
  const bytes = new Uint8Array(HEADER_BYTES + FAMILY_HEADER_BYTES + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  view.setUint8(16, family);
  view.setUint16(18, resource);
  bytes.set(content, HEADER_BYTES + FAMILY_HEADER_BYTES);
  return bytes;
}

/** All changes as one transaction: the kernel makes all of them or none. It acknowledges the last one. */
export function encodeTransaction(changes: readonly Change[]): Uint8Array {
  const messages = changes.map(({ message, attributes }, index) => {
    const last = index === changes.length - 1 ? FLAG.acknowledge : 0;
    const creates = message === MESSAGE.deleteTable ? 0 : FLAG.create | FLAG.append;
    const type = (SUBSYSTEM << 8) | message;
    return encodeMessage(type, FLAG.request | creates | last, index + 1, FAMILY.inet, 0, attributes);
  });
  const edge = (type: number, sequence: number): Uint8Array =>
    encodeMessage(type, FLAG.request, sequence, FAMILY.unspecified, SUBSYSTEM, []);
  return Buffer.concat([edge(BATCH.begin, 0), ...messages, edge(BATCH.end, changes.length + 1)]);
}

/** Errors (errno, 0 for success) with the number of the change that each is about, out of what the kernel answered. */
export function decodeAnswers(bytes: Uint8Array): { change: number; errno: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: { change: number; errno: number }[] = [];
  for (let offset = 0; offset + HEADER_BYTES + 4 <= bytes.length; ) {
    const length = view.getUint32(offset, true);
    if (length < HEADER_BYTES || offset + length > bytes.length) break;
    if (view.getUint16(offset + 4, true) === ERROR_MESSAGE)
      found.push({
        change: view.getUint32(offset + 8, true) - 1,
        errno: -view.getInt32(offset + HEADER_BYTES, true),
      });
    offset += padded(length);
  }
  return found;
}
