import { closeSync } from "node:fs";
import { connect, readFd, socket, waitReadable, writeFd } from "../system/libc.ts";
import type { RpciTransport } from "./transport.ts";

/**
 * VMware's carrier since ESXi 6.0: a vsock connection per request to the hypervisor (CID 0, port 976). Each direction is
 * one DataMap: u32 length, then fields `u32 type, u32 id, value`, big endian; an int64 value is sent low word first.
 * The older I/O port backdoor is left out: it needs machine code of its own, is not there under SEV and TDX, and no
 * supported ESXi is without vsock.
 */
const AF_VSOCK = 40;
const SOCK_STREAM = 1;
const RPCI_PORT = 976;
const HYPERVISOR_CID = 0;

const FIELD = { type: 1, payload: 2, fastClose: 3 } as const;
const VALUE = { int64: 1, string: 2 } as const;
const REPLY_LIMIT = 1024 * 1024 + 256;

/** undefined when the hypervisor does not answer on vsock. */
export const openVsockTransport = (): RpciTransport | undefined => {
  try {
    closeSync(dial());
  } catch {
    return undefined;
  }
  return { name: "vsock", exchange };
};

const dial = (): number => {
  const fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  const address = new Uint8Array(16);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_VSOCK, true);
  view.setUint32(4, RPCI_PORT, true);
  view.setUint32(8, HYPERVISOR_CID, true);
  try {
    connect(fd, address);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
};

const exchange = (message: Uint8Array, limit: number): Uint8Array => {
  const deadline = performance.now() + limit;
  const fd = dial();
  try {
    const request = encodeRequest(message);
    for (let offset = 0; offset < request.length; ) offset += writeFd(fd, request.subarray(offset));
    const head = readExactly(fd, 4, deadline);
    const length = new DataView(head.buffer).getUint32(0);
    if (length > REPLY_LIMIT) throw new Error(`RPCI reply of ${length} bytes`);
    return replyPayload(readExactly(fd, length, deadline));
  } finally {
    closeSync(fd);
  }
};

export const encodeRequest = (message: Uint8Array): Uint8Array => {
  const packet = new Uint8Array(4 + 16 + 16 + 12 + message.length);
  const view = new DataView(packet.buffer);
  view.setUint32(0, packet.length - 4);
  const words = [VALUE.int64, FIELD.type, 1, 0, VALUE.int64, FIELD.fastClose, 1, 0, VALUE.string, FIELD.payload];
  for (const [index, word] of [...words, message.length].entries()) view.setUint32(4 + index * 4, word);
  packet.set(message, packet.length - message.length);
  return packet;
};

export const replyPayload = (fields: Uint8Array): Uint8Array => {
  const view = new DataView(fields.buffer, fields.byteOffset, fields.length);
  for (let at = 0; at + 12 <= fields.length; ) {
    const type = view.getUint32(at);
    const id = view.getUint32(at + 4);
    const length = type === VALUE.int64 ? 8 : 4 + view.getUint32(at + 8);
    if (type !== VALUE.int64 && type !== VALUE.string) break;
    if (at + 8 + length > fields.length) break;
    if (type === VALUE.string && id === FIELD.payload) return fields.slice(at + 12, at + 8 + length);
    at += 8 + length;
  }
  throw new Error("malformed RPCI reply");
};

const readExactly = (fd: number, length: number, deadline: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  for (let offset = 0; offset < length; ) {
    if (!waitReadable(fd, deadline - performance.now())) throw new Error("no RPCI reply");
    const count = readFd(fd, bytes.subarray(offset));
    if (count === 0) throw new Error("RPCI connection closed");
    offset += count ?? 0;
  }
  return bytes;
};
