/** WebSocket frames (RFC 6455, 5): what a client sends, piece by piece, and what a server sends. */

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
/** Status codes of a close frame (RFC 6455, 7.4.1). */
export const CLOSE = { normal: 1000, protocolError: 1002 } as const;
const CONTROL_BIT = 0x8;
const CONTROL_LIMIT = 125;
const MASK_BYTES = 4;

/** The client broke the protocol; the connection is to be closed with `CLOSE.protocolError`. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

export type Received =
  /** A piece of a message; how messages are cut does not matter for a stream of bytes. */
  { kind: "data"; bytes: Uint8Array } | { kind: "ping" | "close"; bytes: Uint8Array };

/**
 * Reads a client's frames out of pieces of any size. A payload is handed on as it comes, so no frame is too long; only
 * control frames, of 125 bytes at most, are gathered.
 */
export class FrameReader {
  #rest: Uint8Array = new Uint8Array(0);
  #inMessage = false;
  #left = 0;
  #mask: Uint8Array = new Uint8Array(MASK_BYTES);
  #maskAt = 0;

  /** `next` yields the client's bytes; undefined at their end. */
  constructor(private readonly next: () => Promise<Uint8Array | undefined>) {}

  /** Undefined at the end of the client's bytes. Throws FrameError. */
  async read(): Promise<Received | undefined> {
    for (;;) {
      if (this.#left > 0) {
        const bytes = await this.#take(1, this.#left);
        if (bytes === undefined) return undefined;
        this.#left -= bytes.length;
        return { kind: "data", bytes: this.#unmask(bytes) };
      }
      const control = await this.#head();
      if (control === undefined) return undefined;
      if (control !== "data" && control.kind !== "data") return control;
    }
  }

  /** Reads a frame's head; a control frame at once as a whole. */
  async #head(): Promise<Received | "data" | undefined> {
    const start = await this.#take(2, 2);
    if (start === undefined) return undefined;
    const [first = 0, second = 0] = start;
    const isFinal = (first & 0x80) !== 0;
    const opcode = first & 0x0f;
    if ((first & 0x70) !== 0) throw new FrameError("reserved bits are set: no extension was agreed on");
    if ((second & 0x80) === 0) throw new FrameError("a client's frame is not masked");
    const isControl = (opcode & CONTROL_BIT) !== 0;
    const length = await this.#length(second & 0x7f);
    const mask = length === undefined ? undefined : await this.#take(MASK_BYTES, MASK_BYTES);
    if (length === undefined || mask === undefined) return undefined;
    this.#mask = mask;
    this.#maskAt = 0;
    if (isControl) {
      if (!isFinal || length > CONTROL_LIMIT) throw new FrameError("a control frame is too long or in parts");
      const payload = length === 0 ? new Uint8Array(0) : await this.#take(length, length);
      if (payload === undefined) return undefined;
      const bytes = this.#unmask(payload);
      if (opcode === OPCODE.close || opcode === OPCODE.ping)
        return { kind: opcode === OPCODE.close ? "close" : "ping", bytes };
      if (opcode !== OPCODE.pong) throw new FrameError(`the opcode ${opcode} is not known`);
      return "data";
    }
    if (opcode > OPCODE.binary) throw new FrameError(`the opcode ${opcode} is not known`);
    if (this.#inMessage !== (opcode === OPCODE.continuation))
      throw new FrameError(this.#inMessage ? "a message begins inside of another" : "nothing is there to continue");
    this.#inMessage = !isFinal;
    this.#left = length;
    return "data";
  }

  async #length(short: number): Promise<number | undefined> {
    if (short < 126) return short;
    const size = short === 126 ? 2 : 8;
    const bytes = await this.#take(size, size);
    if (bytes === undefined) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = size === 2 ? view.getUint16(0) : Number(view.getBigUint64(0));
    if (length > Number.MAX_SAFE_INTEGER) throw new FrameError("a frame is longer than any can be");
    return length;
  }

  /** From `least` to `most` bytes. */
  async #take(least: number, most: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length < least) {
      const more = await this.next();
      if (more === undefined) return undefined;
      this.#rest = this.#rest.length === 0 ? more : Buffer.concat([this.#rest, more]);
    }
    const taken = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(taken.length);
    return taken;
  }

  #unmask(bytes: Uint8Array): Uint8Array {
    const plain = new Uint8Array(bytes.length);
    for (const [index, byte] of bytes.entries())
      plain[index] = byte ^ (this.#mask[(this.#maskAt + index) % MASK_BYTES] ?? 0);
    this.#maskAt = (this.#maskAt + bytes.length) % MASK_BYTES;
    return plain;
  }
}

/** A whole frame of the server: final and not masked. */
export function frame(opcode: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const head = Buffer.alloc(length <= CONTROL_LIMIT ? 2 : length <= 0xffff ? 4 : 10);
  head[0] = 0x80 | opcode;
  if (head.length === 2) head[1] = length;
  else if (head.length === 4) {
    head[1] = 126;
    head.writeUInt16BE(length, 2);
  } else {
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, payload]);
}

export function closeFrame(status: number): Uint8Array {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(status);
  return frame(OPCODE.close, payload);
}
