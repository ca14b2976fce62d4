/** One accepted connection: requests one after another, until it closes or is hijacked. */
import { ByteReader, ConnectionLost } from "./byte-reader.ts";
import { Exchange, type Peer, rawStream } from "./exchange.ts";
import {
  CLOSE_TIMEOUT_MS,
  HEAD_TIMEOUT_MS,
  IDLE_TIMEOUT_MS,
  LINGER_TIMEOUT_MS,
  MAX_HEAD_BYTES,
  MAX_SKIPPED_BODY_BYTES,
  RESPONSE_STALL_TIMEOUT_MS,
} from "./limits.ts";
import { ProtocolError } from "./protocol-error.ts";
import { RequestBody } from "./request-body.ts";
import { parseRequestHead, type RequestHead } from "./request-head.ts";
import {
  CONTINUE,
  hijackHead,
  isStreamed,
  type ReadyAnswer,
  readyResponse,
  refusal,
  writeResponse,
} from "./response-writer.ts";
import { type Transport, WriteFailed } from "./transport.ts";

/** The application: Hono's `fetch`. */
export type RequestHandler = (request: Request, environment: { exchange: Exchange }) => Response | Promise<Response>;

/** What can be answered from the request line alone, without the application; undefined for everything else. */
export type ReadyAnswers = (method: string, target: string) => ReadyAnswer | undefined;

const HEAD_END = "\r\n\r\n";
const EMPTY_LINE_BEFORE_HEAD = 2;

export interface ConnectionOptions {
  transport: Transport;
  peer: Peer;
  handler: RequestHandler;
  ready?: ReadyAnswers | undefined;
  /** Told of failures that no client can be told of. */
  onError(error: unknown): void;
}

export class Connection {
  readonly reader: ByteReader;
  readonly #abort = new AbortController();
  #state: "idle" | "head" | "busy" | "lingering" | "closing" = "head";
  /** Monotonic milliseconds after which the connection is closed; undefined while no limit applies. */
  #deadline: number | undefined = performance.now() + HEAD_TIMEOUT_MS;
  /** The current response may be left unread for as long as the client likes (logs, attach, events). */
  #mayStall = false;
  #closing = false;
  /** The connection carries raw bytes; a client that ends its input there has not left. */
  #hijacked = false;

  constructor(readonly options: ConnectionOptions) {
    this.reader = new ByteReader({
      pause: () => options.transport.socket.pause(),
      resume: () => options.transport.socket.resume(),
    });
  }

  /** Nothing is under way: the connection may be closed without harm. */
  get idle(): boolean {
    return this.#state !== "busy";
  }

  /** It waits for a request: closing it costs its client no more than another connection. */
  get waiting(): boolean {
    return this.#state === "idle" || this.#state === "head";
  }

  /** Serves until the connection ends. Never rejects. */
  async serve(): Promise<void> {
    try {
      while (await this.#serveOne()) this.#await("idle", IDLE_TIMEOUT_MS);
      await this.#leave();
    } catch (error) {
      if (error instanceof ProtocolError) await this.refuse(error.status, error.message);
      else {
        if (!(error instanceof WriteFailed) && !(error instanceof ConnectionLost)) this.options.onError(error);
        this.options.transport.destroy();
      }
    }
  }

  /** Answers whatever comes with an error and closes. */
  async refuse(status: number, message: string): Promise<void> {
    try {
      await this.options.transport.write(refusal(status, message));
      await this.#leave();
    } catch (error) {
      if (!(error instanceof WriteFailed)) this.options.onError(error);
      this.options.transport.destroy();
    }
  }

  /** The client sends nothing more. */
  ended(): void {
    this.reader.end();
    if (this.#state === "busy" && !this.#hijacked) this.#abort.abort();
  }

  /** The socket is gone. */
  closed(): void {
    this.options.transport.onClosed();
    this.reader.lose();
    this.#abort.abort();
  }

  /** Ends running work at its next chance and serves no further request. */
  close(): void {
    this.#closing = true;
    this.#abort.abort();
    if (this.idle) this.options.transport.destroy();
  }

  /** Called now and then with the current monotonic time. */
  checkDeadline(now: number): void {
    const { stalledSince } = this.options.transport;
    const stalled = !this.#mayStall && stalledSince !== undefined && now - stalledSince > RESPONSE_STALL_TIMEOUT_MS;
    if (stalled) this.options.transport.destroy();
    else if (this.#deadline !== undefined && now > this.#deadline) {
      this.#deadline = undefined;
      if (this.#state === "head" && this.reader.size > 0) {
        void this.refuse(408, "the request head did not arrive in time");
      } else if (this.#state === "lingering") void this.#close();
      else this.options.transport.destroy();
    }
  }

  #await(state: "idle" | "head" | "lingering" | "closing", milliseconds: number): void {
    this.#state = state;
    this.#deadline = performance.now() + milliseconds;
  }

  /** One request and its response; false when the connection carries no other. */
  async #serveOne(): Promise<boolean> {
    const head = await this.#readHead();
    if (head === undefined) return false;
    this.#state = "busy";
    this.#deadline = undefined;

    const { transport, handler, peer } = this.options;
    const ready = head.framing.kind === "none" ? this.options.ready?.(head.method, head.target) : undefined;
    if (ready !== undefined) {
      const keepAlive = head.keepAlive && !this.#closing && !this.reader.ended;
      await transport.write(readyResponse(ready, head.method, keepAlive));
      return keepAlive;
    }
    const body = new RequestBody(this.reader, head.framing, async () => {
      if (head.expectsContinue) await transport.write(CONTINUE);
    });
    const exchange = new Exchange(peer, head.upgrade);
    if (this.reader.ended) this.#abort.abort();
    const response = await handler(this.#request(head, body), { exchange });

    if (exchange.rawHandler !== undefined) {
      if (!(await body.skip(MAX_SKIPPED_BODY_BYTES))) throw new ProtocolError(413, "the request body is too long");
      this.#hijacked = true;
      this.#mayStall = true;
      await transport.write(hijackHead(response, head.upgrade ? exchange.protocol : undefined));
      await exchange.rawHandler(rawStream(this.reader, transport, this.#abort.signal));
      return false;
    }

    const unusable = head.expectsContinue && !body.started && !body.done;
    this.#mayStall = isStreamed(response);
    const keepAlive = await writeResponse(transport, response, {
      method: head.method,
      minorVersion: head.minorVersion,
      keepAlive: head.keepAlive && !unusable && !this.#closing && !this.reader.ended,
    });
    this.#mayStall = false;
    if (!keepAlive) return false;
    return body.done || (await body.skip(MAX_SKIPPED_BODY_BYTES));
  }

  #request(head: RequestHead, body: RequestBody): Request {
    const bodyAllowed = head.method !== "GET" && head.method !== "HEAD";
    try {
      return new Request(`http://docker${head.target}`, {
        method: head.method,
        headers: head.headers,
        signal: this.#abort.signal,
        ...(body.done || !bodyAllowed ? {} : { body: body.stream(), duplex: "half" }),
      });
    } catch (cause) {
      throw new ProtocolError(400, `malformed request: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  }

  /** The next head, or undefined when the client ended between requests. */
  async #readHead(): Promise<RequestHead | undefined> {
    let scanned = 0;
    for (;;) {
      const bytes = this.reader.peek();
      if (bytes.length > 0 && this.#state === "idle") this.#await("head", HEAD_TIMEOUT_MS);
      // RFC 9112 2.2: an empty line before a request line is ignored.
      if (scanned === 0 && bytes.length >= EMPTY_LINE_BEFORE_HEAD && bytes[0] === 13 && bytes[1] === 10) {
        this.reader.skip(EMPTY_LINE_BEFORE_HEAD);
        continue;
      }
      const end = bytes.indexOf(HEAD_END, Math.max(0, scanned - HEAD_END.length));
      if (end > MAX_HEAD_BYTES || (end === -1 && bytes.length > MAX_HEAD_BYTES)) {
        throw new ProtocolError(431, `the request head is longer than ${MAX_HEAD_BYTES} bytes`);
      }
      refuseBareLineFeed(bytes, scanned, end === -1 ? bytes.length : end);
      if (end !== -1) {
        const head = parseRequestHead(bytes.subarray(0, end));
        this.reader.skip(end + HEAD_END.length);
        return head;
      }
      scanned = bytes.length;
      if (!(await this.reader.waitForMore(bytes.length))) {
        if (bytes.length === 0) return undefined;
        throw new ProtocolError(400, "the request head is not complete");
      }
    }
  }

  async #close(): Promise<void> {
    this.#await("closing", CLOSE_TIMEOUT_MS);
    await this.options.transport.close();
  }

  /**
   * Ends our side, then takes what the client still sends until it ends too: closing with unread bytes would reset the
   * connection and could destroy the answer on its way.
   */
  async #leave(): Promise<void> {
    this.#await("lingering", LINGER_TIMEOUT_MS);
    await this.options.transport.finish();
    while (!this.reader.ended) {
      const bytes = await this.reader.read(Number.MAX_SAFE_INTEGER).catch(() => undefined);
      if (bytes === undefined) break;
    }
    await this.#close();
  }
}

function refuseBareLineFeed(bytes: Buffer, from: number, to: number): void {
  for (let at = bytes.indexOf(10, from); at !== -1 && at < to; at = bytes.indexOf(10, at + 1)) {
    if (bytes[at - 1] !== 13) throw new ProtocolError(400, "a line of the request head ends without CR");
  }
}
