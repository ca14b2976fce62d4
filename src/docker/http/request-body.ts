/** Decodes a request body from the connection, by length or chunk by chunk, at the pace of its consumer. */
import type { ByteReader } from "./byte-reader.ts";
import { ConnectionLost } from "./byte-reader.ts";
import { MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES } from "./limits.ts";
import { ProtocolError } from "./protocol-error.ts";
import type { BodyFraming } from "./request-head.ts";

const CHUNK_LINE = /^([0-9A-Fa-f]{1,12})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?$/;
const LINE_END = "\r\n";

export class RequestBody {
  /** Bytes left of the body (length) or of the current chunk (chunked). */
  #left: number;
  #done: boolean;
  #insideChunks = false;
  #started = false;

  /** `onFirstRead` runs before the first byte is awaited: the moment to send "100 Continue". */
  constructor(
    readonly reader: ByteReader,
    readonly framing: BodyFraming,
    readonly onFirstRead: () => Promise<void>,
  ) {
    this.#left = framing.kind === "length" ? framing.bytes : 0;
    this.#done = framing.kind === "none";
  }

  /** True when the connection stands at the first byte after this body. */
  get done(): boolean {
    return this.#done;
  }

  get started(): boolean {
    return this.#started;
  }

  /** The next bytes, or undefined at the end. Throws ProtocolError or ConnectionLost. */
  async read(): Promise<Uint8Array | undefined> {
    if (this.#done) return undefined;
    if (!this.#started) {
      this.#started = true;
      await this.onFirstRead();
    }
    if (this.framing.kind === "chunked" && this.#left === 0) {
      this.#left = await this.#nextChunkSize();
      if (this.#left === 0) {
        await this.#skipTrailers();
        this.#done = true;
        return undefined;
      }
    }
    const bytes = await this.reader.read(this.#left);
    if (bytes === undefined) throw new ConnectionLost();
    this.#left -= bytes.length;
    if (this.#left === 0 && this.framing.kind === "length") this.#done = true;
    return bytes;
  }

  /** The body as a stream that reads only what is asked for. */
  stream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const bytes = await this.read();
          if (bytes === undefined) controller.close();
          else controller.enqueue(bytes);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** Reads and drops what is left; false when that is more than `limit` bytes or the client breaks off. */
  async skip(limit: number): Promise<boolean> {
    let skipped = 0;
    try {
      for (;;) {
        const bytes = await this.read();
        if (bytes === undefined) return true;
        skipped += bytes.length;
        if (skipped > limit) return false;
      }
    } catch (error) {
      if (error instanceof ProtocolError || error instanceof ConnectionLost) return false;
      throw error;
    }
  }

  async #nextChunkSize(): Promise<number> {
    if (this.#insideChunks && (await this.#line(MAX_CHUNK_LINE_BYTES)) !== "") {
      throw new ProtocolError(400, "malformed chunked body: a chunk is longer than its size");
    }
    this.#insideChunks = true;
    const line = CHUNK_LINE.exec(await this.#line(MAX_CHUNK_LINE_BYTES));
    if (line === null) throw new ProtocolError(400, "malformed chunked body: no chunk size");
    return Number.parseInt(line[1] ?? "", 16);
  }

  async #skipTrailers(): Promise<void> {
    let left = MAX_TRAILER_BYTES;
    for (;;) {
      const line = await this.#line(left);
      if (line === "") return;
      left -= line.length + LINE_END.length;
      if (left <= 0) throw new ProtocolError(431, "the trailer section is too long");
    }
  }

  async #line(limit: number): Promise<string> {
    for (;;) {
      const bytes = this.reader.peek();
      const newline = bytes.indexOf(10);
      if (newline > 0 && bytes[newline - 1] === 13 && newline <= limit) {
        const line = bytes.toString("latin1", 0, newline - 1);
        this.reader.skip(newline + 1);
        return line;
      }
      if (newline !== -1 || bytes.length > limit) throw new ProtocolError(400, "malformed chunked body");
      if (!(await this.reader.waitForMore(bytes.length))) throw new ConnectionLost();
    }
  }
}
