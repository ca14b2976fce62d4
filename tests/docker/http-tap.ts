/** Reads along one direction of an HTTP/1.1 connection: heads and bodies as they complete, without touching the bytes. */

export interface TappedMessage {
  /** `GET /path HTTP/1.1` or `HTTP/1.1 200 OK`. */
  startLine: string;
  /** Names in lower case. */
  headers: Map<string, string>;
}

export interface TapHandler {
  /**
   * A head was read. The answer says how its body is framed; "raw" for bytes that are no HTTP any more, "none" where
   * the method or status has no body whatever the headers say.
   */
  head(message: TappedMessage): "by-headers" | "none" | "raw";
  /** Some of the body, without its framing. */
  body(bytes: Uint8Array): void;
  /** The message is complete. */
  end(): void;
}

const HEAD_LIMIT = 256 * 1024;

/** The connection ended before the message did. */
export class CutOff extends Error {}

type State =
  | { kind: "head" }
  | { kind: "length"; left: number }
  | { kind: "chunk-size" }
  | { kind: "chunk"; left: number }
  | { kind: "chunk-end" }
  | { kind: "trailers" }
  | { kind: "until-close" }
  | { kind: "raw" };

export class HttpTap {
  #state: State = { kind: "head" };
  #buffered: Buffer = Buffer.alloc(0);

  /** @param response a response without a length lasts until the connection closes; a request has no body then */
  constructor(
    private readonly handler: TapHandler,
    private readonly response: boolean,
  ) {}

  /** Throws Error when the bytes are no HTTP. */
  feed(bytes: Uint8Array): void {
    if (this.#state.kind === "raw") return;
    this.#buffered = Buffer.concat([this.#buffered, bytes]);
    while (this.#step());
  }

  /** The direction has ended. Throws Error in the middle of a message. */
  close(): void {
    const { kind } = this.#state;
    if (kind === "until-close") this.handler.end();
    else if (kind !== "raw" && !(kind === "head" && this.#buffered.length === 0))
      throw new CutOff(`the connection ended inside of a message (${kind})`);
  }

  /** From here on the bytes are no HTTP. */
  becomeRaw(): void {
    this.#state = { kind: "raw" };
    this.#buffered = Buffer.alloc(0);
  }

  /** True when there may be more to do with what is buffered. */
  #step(): boolean {
    const state = this.#state;
    switch (state.kind) {
      case "head":
        return this.#head();
      case "length":
      case "chunk": {
        const piece = this.#take(Math.min(state.left, this.#buffered.length));
        if (piece.length > 0) this.handler.body(piece);
        state.left -= piece.length;
        if (state.left > 0) return false;
        if (state.kind === "chunk") this.#state = { kind: "chunk-end" };
        else this.#finish();
        return true;
      }
      case "chunk-size": {
        const line = this.#line();
        if (line === undefined) return false;
        if (!/^[0-9a-fA-F]{1,12}(;.*)?$/.test(line)) throw new Error(`bad chunk size ${JSON.stringify(line)}`);
        const size = Number.parseInt(line, 16);
        this.#state = size === 0 ? { kind: "trailers" } : { kind: "chunk", left: size };
        return true;
      }
      case "chunk-end": {
        const line = this.#line();
        if (line === undefined) return false;
        if (line !== "") throw new Error("a chunk is longer than its size");
        this.#state = { kind: "chunk-size" };
        return true;
      }
      case "trailers": {
        const line = this.#line();
        if (line === undefined) return false;
        if (line === "") this.#finish();
        return true;
      }
      case "until-close":
        if (this.#buffered.length > 0) this.handler.body(this.#take(this.#buffered.length));
        return false;
      case "raw":
        this.#buffered = Buffer.alloc(0);
        return false;
    }
  }

  #head(): boolean {
    const end = this.#buffered.indexOf("\r\n\r\n");
    if (end < 0) {
      if (this.#buffered.length > HEAD_LIMIT) throw new Error("the head does not end");
      return false;
    }
    const [startLine = "", ...lines] = this.#take(end + 4)
      .toString("latin1")
      .trimEnd()
      .split("\r\n");
    const headers = new Map<string, string>();
    for (const line of lines) {
      const [, name, value] = /^([^:\s]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
      if (name === undefined || value === undefined) throw new Error(`bad header ${JSON.stringify(line)}`);
      headers.set(name.toLowerCase(), value);
    }
    const framing = this.handler.head({ startLine, headers });
    if (framing === "raw") {
      this.becomeRaw();
      return false;
    }
    const chunked = headers.get("transfer-encoding") === "chunked";
    const length = headers.get("content-length");
    if (chunked && length !== undefined) throw new Error("both a length and chunks");
    if (framing === "none") this.#finish();
    else if (chunked) this.#state = { kind: "chunk-size" };
    else if (length !== undefined) this.#state = { kind: "length", left: Number(length) };
    else if (this.response) this.#state = { kind: "until-close" };
    else this.#finish();
    return true;
  }

  #finish(): void {
    this.#state = { kind: "head" };
    this.handler.end();
  }

  #take(length: number): Buffer {
    const piece = this.#buffered.subarray(0, length);
    this.#buffered = this.#buffered.subarray(length);
    return piece;
  }

  #line(): string | undefined {
    const end = this.#buffered.indexOf("\r\n");
    return end < 0
      ? undefined
      : this.#take(end + 2)
          .toString("latin1")
          .slice(0, -2);
  }
}
