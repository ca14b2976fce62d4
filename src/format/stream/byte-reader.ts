import { FormatError } from "../format-error";

/**
 * Reads a byte stream in units that the caller chooses, whatever the sizes of the source's chunks.
 *
 * It never holds more than one source chunk plus the bytes of one `read` call, and asks the source for the next
 * chunk only when it needs it: the source's back-pressure is the reader's.
 */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #format: string;
  #chunk: Uint8Array = new Uint8Array(0);
  #offset = 0;
  #position = 0;
  #ended = false;

  /** @param format short name of the format being read, for error messages */
  constructor(source: AsyncIterable<Uint8Array>, format: string) {
    this.#source = source[Symbol.asyncIterator]();
    this.#format = format;
  }

  /** Bytes consumed so far. */
  get position(): number {
    return this.#position;
  }

  /**
   * Exactly `length` bytes, or `undefined` when the stream ended just before them.
   * The result may be a view into the source's chunk: valid until the caller lets the source reuse it.
   * @throws FormatError when the stream ends in the middle of them
   */
  async read(length: number): Promise<Uint8Array | undefined> {
    return this.readBuffered(length) ?? this.#readAcrossChunks(length);
  }

  /** `length` bytes if they are already in memory: the fast path, without a promise. */
  readBuffered(length: number): Uint8Array | undefined {
    const end = this.#offset + length;
    if (end > this.#chunk.length) return undefined;
    const bytes = this.#chunk.subarray(this.#offset, end);
    this.#offset = end;
    this.#position += length;
    return bytes;
  }

  /** Like `read`, but the end of the stream is an error too. */
  async require(length: number): Promise<Uint8Array> {
    const bytes = await this.read(length);
    if (bytes === undefined) throw this.#truncated();
    return bytes;
  }

  /** Between 1 and `limit` bytes without copying, or `undefined` at the end of the stream. */
  async readSome(limit: number): Promise<Uint8Array | undefined> {
    if (this.#offset === this.#chunk.length && !(await this.#next())) return undefined;
    return this.readBuffered(Math.min(limit, this.#chunk.length - this.#offset));
  }

  /** The next `length` bytes in pieces, without copying. @throws FormatError when the stream ends before */
  async *pieces(length: number): AsyncGenerator<Uint8Array> {
    for (let left = length; left > 0; ) {
      const piece = await this.readSome(left);
      if (piece === undefined) throw this.#truncated();
      left -= piece.length;
      yield piece;
    }
  }

  /** Drops `length` bytes. @throws FormatError when the stream ends before */
  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const piece = await this.readSome(left);
      if (piece === undefined) throw this.#truncated();
      left -= piece.length;
    }
  }

  /** Reads and drops the rest, so that whoever produces the stream (a hash, a decompressor) sees its end. */
  async drain(): Promise<void> {
    do {
      this.#position += this.#chunk.length - this.#offset;
      this.#offset = this.#chunk.length;
    } while (await this.#next());
  }

  /** Tells the source that no more will be read. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#source.return?.();
  }

  async #readAcrossChunks(length: number): Promise<Uint8Array | undefined> {
    const first = await this.readSome(length);
    if (first === undefined) return length === 0 ? new Uint8Array(0) : undefined;
    if (first.length === length) return first;
    const bytes = new Uint8Array(length);
    bytes.set(first);
    for (let filled = first.length; filled < length; ) {
      const piece = await this.readSome(length - filled);
      if (piece === undefined) throw this.#truncated();
      bytes.set(piece, filled);
      filled += piece.length;
    }
    return bytes;
  }

  async #next(): Promise<boolean> {
    while (!this.#ended) {
      const result = await this.#source.next();
      if (result.done) {
        this.#ended = true;
      } else if (result.value.length > 0) {
        this.#chunk = result.value;
        this.#offset = 0;
        return true;
      }
    }
    return false;
  }

  #truncated(): FormatError {
    return new FormatError(this.#format, `the data ends early, after ${this.#position} bytes`);
  }
}
