import { RECEIVE_HIGH_WATER_BYTES } from "./limits.ts";

/** Thrown to a reader when the connection is gone before the bytes it needs. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
  constructor() {
    super("the client closed the connection before the whole request arrived");
  }
}

/**
 * What a socket received and nobody has consumed yet. Above the high-water mark it asks the
 * socket to pause, at half of it to go on.
 */
export class ByteReader {
  #chunks: Uint8Array[] = [];
  #size = 0;
  #ended = false;
  #lost = false;
  #paused = false;
  #waiting: (() => void)[] = [];

  constructor(
    readonly flow: { pause(): void; resume(): void },
    readonly highWater: number = RECEIVE_HIGH_WATER_BYTES,
  ) {}

  get size(): number {
    return this.#size;
  }

  /** True when the client will send nothing more. */
  get ended(): boolean {
    return this.#ended || this.#lost;
  }

  push(bytes: Uint8Array): void {
    if (this.#lost) return;
    this.#chunks.push(bytes);
    this.#size += bytes.length;
    if (!this.#paused && this.#size >= this.highWater) {
      this.#paused = true;
      this.flow.pause();
    }
    this.#notify();
  }

  /** The client's end of stream. */
  end(): void {
    this.#ended = true;
    this.#notify();
  }

  /** The connection is gone. */
  lose(): void {
    this.#lost = true;
    this.#notify();
  }

  /** Waits for bytes beyond the `size` that was seen; false when none will come. */
  async waitForMore(seen: number): Promise<boolean> {
    while (this.#size <= seen) {
      if (this.ended) return false;
      // A consumer that needs more than the high-water mark in one piece must not wait for a paused socket.
      this.#resume();
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    return true;
  }

  /** The next bytes, at most `limit`; undefined at the end of the stream. Throws ConnectionLost. */
  async read(limit: number): Promise<Uint8Array | undefined> {
    if (this.#size === 0 && !(await this.waitForMore(0))) {
      if (this.#lost) throw new ConnectionLost();
      return undefined;
    }
    const first = this.#chunks[0];
    if (first === undefined) return undefined;
    if (first.length <= limit) {
      this.#chunks.shift();
      this.#consumed(first.length);
      return first;
    }
    this.#chunks[0] = first.subarray(limit);
    this.#consumed(limit);
    return first.subarray(0, limit);
  }

  /** All received bytes in one piece, without consuming them. */
  peek(): Buffer {
    const [first] = this.#chunks;
    if (first === undefined) return Buffer.alloc(0);
    if (this.#chunks.length === 1) return Buffer.from(first.buffer, first.byteOffset, first.byteLength);
    const all = Buffer.concat(this.#chunks, this.#size);
    this.#chunks = [all];
    return all;
  }

  /** Drops `count` bytes that `peek` showed. */
  skip(count: number): void {
    let left = count;
    while (left > 0) {
      const first = this.#chunks[0];
      if (first === undefined) break;
      if (first.length <= left) {
        this.#chunks.shift();
        left -= first.length;
      } else {
        this.#chunks[0] = first.subarray(left);
        left = 0;
      }
    }
    this.#consumed(count - left);
  }

  #consumed(count: number): void {
    this.#size -= count;
    if (this.#size <= this.highWater / 2) this.#resume();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.flow.resume();
  }

  #notify(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
