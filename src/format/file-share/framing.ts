import { shareError } from "./fields.ts";

/** Cuts a stream of bytes, in pieces of any size, into messages that begin with their u32 length. */
export class MessageSplitter {
  readonly #limit: number;
  /** Whether the length counts its own four bytes, as FUSE has it. */
  readonly #inclusive: boolean;
  readonly #header = Buffer.alloc(4);
  #headerLength = 0;
  #message: Buffer | undefined;
  #filled = 0;

  constructor(limit: number, inclusive = false) {
    this.#limit = limit;
    this.#inclusive = inclusive;
  }

  /** Whole messages without their length; each is a copy. Throws FormatError at a length out of bounds. */
  *push(bytes: Uint8Array): Generator<Buffer, void, undefined> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#message === undefined) {
        this.#header[this.#headerLength++] = bytes[at++] ?? 0;
        if (this.#headerLength < 4) continue;
        this.#headerLength = 0;
        const length = this.#header.readUInt32LE(0) - (this.#inclusive ? 4 : 0);
        if (length < 1 || length > this.#limit) throw shareError(`a message of ${length} bytes`);
        this.#message = Buffer.allocUnsafeSlow(length);
        this.#filled = 0;
        continue;
      }
      const take = Math.min(this.#message.length - this.#filled, bytes.length - at);
      this.#message.set(bytes.subarray(at, at + take), this.#filled);
      this.#filled += take;
      at += take;
      if (this.#filled < this.#message.length) continue;
      const message = this.#message;
      this.#message = undefined;
      yield message;
    }
  }
}
