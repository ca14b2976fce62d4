import type { Channel, ChannelMessage, ChannelRequest } from "./contract.ts";
import { DATA_FRAME_LIMIT, FRAME, type Frame, type FrameType, frameCost, ProtocolError } from "./frames.ts";
import { LinkError, linkErrorCode } from "./link-error.ts";
import type { LinkErrorCode } from "./operations.ts";

/** Cost units (see frameCost) that may be under way in one direction of a channel. */
export const CHANNEL_WINDOW = 256 * 1024;
/** Consumed cost is given back in steps of this size, not per frame. */
const CREDIT_STEP = CHANNEL_WINDOW / 4;
/** Longest control message, all its pieces together. */
export const CONTROL_LIMIT = 1024 * 1024;

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** What a channel needs of its session. */
export interface ChannelOwner {
  /** Queues a frame; resolves when the transport has room for more. */
  send(type: FrameType, channel: number, stream: number, payload: Uint8Array): Promise<void>;
  /** Queues a frame that must go out whatever the transport's fill state; small ones only. */
  sendNow(type: FrameType, channel: number, stream: number, payload: Uint8Array): void;
  /** The channel is over and its number may be forgotten. */
  forget(channel: number): void;
}

export const parseObject = (bytes: Uint8Array, what: string): Record<string, unknown> => {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch {
    throw new ProtocolError(`${what} is not JSON`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ProtocolError(`${what} is not a JSON object`);
  }
  return value as Record<string, unknown>;
};

/** One conversation of a session. The session feeds it with `receive` and ends it with `fail`. */
export class SessionChannel implements Channel {
  readonly #owner: ChannelOwner;
  readonly #number: number;
  readonly request: ChannelRequest;
  readonly closed: Promise<void>;
  #resolveClosed: () => void = () => undefined;

  /** Cost that we may still send, and those who wait for more. */
  #sendWindow = CHANNEL_WINDOW;
  #creditWaiters: (() => void)[] = [];
  /** Sends happen one after the other, so that pieces of one message stay together. */
  #sending: Promise<void> = Promise.resolve();

  #receiveWindow = CHANNEL_WINDOW;
  #consumed = 0;
  #queue: { message: ChannelMessage; cost: number }[] = [];
  #arrival: (() => void) | undefined;
  #pieces: Uint8Array[] = [];
  #piecesLength = 0;
  readonly #ended = new Set<number>();

  #open = true;
  #error: LinkError | undefined;

  constructor(owner: ChannelOwner, number: number, request: ChannelRequest) {
    this.#owner = owner;
    this.#number = number;
    this.request = request;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  send(stream: number, bytes: Uint8Array): Promise<void> {
    return this.#inOrder(async () => {
      for (let offset = 0; offset < bytes.length; offset += DATA_FRAME_LIMIT) {
        await this.#sendFrame(FRAME.data, stream, bytes.subarray(offset, offset + DATA_FRAME_LIMIT));
      }
    });
  }

  end(stream: number): Promise<void> {
    return this.#inOrder(() => this.#sendFrame(FRAME.end, stream, EMPTY));
  }

  control(message: Record<string, unknown>): Promise<void> {
    const bytes = encoder.encode(JSON.stringify(message));
    if (bytes.length > CONTROL_LIMIT) {
      return Promise.reject(new LinkError("invalid", `control message is too long: ${bytes.length} bytes`));
    }
    return this.#inOrder(async () => {
      for (let offset = 0; offset < bytes.length; offset += DATA_FRAME_LIMIT) {
        const more = offset + DATA_FRAME_LIMIT < bytes.length ? 1 : 0;
        await this.#sendFrame(FRAME.control, more, bytes.subarray(offset, offset + DATA_FRAME_LIMIT));
      }
    });
  }

  close(error?: { code: LinkErrorCode; message: string }): void {
    if (!this.#open) return;
    const payload =
      error === undefined
        ? EMPTY
        : encoder.encode(JSON.stringify({ code: error.code, message: error.message.slice(0, 2000) }));
    this.#owner.sendNow(FRAME.close, this.#number, 0, payload);
    this.#queue = [];
    this.#finish(undefined);
  }

  async *[Symbol.asyncIterator](): AsyncIterator<ChannelMessage> {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) {
        this.#consume(next.cost);
        yield next.message;
        continue;
      }
      if (!this.#open) {
        if (this.#error !== undefined) throw this.#error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#arrival = resolve;
      });
    }
  }

  /** Takes a frame of this channel from the session. Throws ProtocolError when the peer breaks the rules. */
  receive(frame: Frame): void {
    switch (frame.type) {
      case FRAME.credit: {
        const credit = new DataView(frame.payload.buffer, frame.payload.byteOffset, 4).getUint32(0);
        this.#sendWindow += credit;
        if (this.#sendWindow > CHANNEL_WINDOW) throw new ProtocolError("more credit returned than was used");
        for (const wake of this.#creditWaiters.splice(0)) wake();
        return;
      }
      case FRAME.close: {
        const details = frame.payload.length === 0 ? undefined : parseObject(frame.payload, "close frame");
        this.#finish(details && new LinkError(linkErrorCode(details.code), String(details.message ?? "failed")));
        return;
      }
      case FRAME.data:
      case FRAME.control:
      case FRAME.end:
        this.#receiveCounted(frame);
        return;
      default:
        throw new ProtocolError(`frame of type ${frame.type} inside of a channel`);
    }
  }

  /** The session is over. */
  fail(error: LinkError): void {
    this.#finish(error);
  }

  #receiveCounted(frame: Frame): void {
    const cost = frameCost(frame.payload.length);
    this.#receiveWindow -= cost;
    if (this.#receiveWindow < 0) throw new ProtocolError("sent beyond the window");
    if (frame.type === FRAME.control) {
      this.#receiveControl(frame, cost);
      return;
    }
    if (this.#ended.has(frame.stream)) throw new ProtocolError(`stream ${frame.stream} goes on after its end`);
    if (frame.type === FRAME.end) {
      this.#ended.add(frame.stream);
      this.#deliver({ kind: "end", stream: frame.stream }, cost);
    } else {
      this.#deliver({ kind: "data", stream: frame.stream, bytes: frame.payload }, cost);
    }
  }

  #receiveControl(frame: Frame, cost: number): void {
    this.#pieces.push(frame.payload);
    this.#piecesLength += frame.payload.length;
    if (this.#piecesLength > CONTROL_LIMIT) throw new ProtocolError("control message is too long");
    if (frame.stream === 1) {
      // Pieces are given back at once: the message may be longer than the window.
      this.#consume(cost);
      return;
    }
    const whole = this.#pieces.length === 1 ? frame.payload : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#piecesLength = 0;
    this.#deliver({ kind: "control", message: parseObject(whole, "control message") }, cost);
  }

  #deliver(message: ChannelMessage, cost: number): void {
    this.#queue.push({ message, cost });
    this.#wakeReader();
  }

  #consume(cost: number): void {
    this.#consumed += cost;
    if (this.#consumed < CREDIT_STEP || !this.#open) return;
    const payload = new Uint8Array(4);
    new DataView(payload.buffer).setUint32(0, this.#consumed);
    this.#receiveWindow += this.#consumed;
    this.#consumed = 0;
    this.#owner.sendNow(FRAME.credit, this.#number, 0, payload);
  }

  #inOrder(work: () => Promise<void>): Promise<void> {
    const result = this.#sending.then(work);
    // A failed send is reported to its caller; those behind it find the channel closed by themselves.
    this.#sending = result.catch(() => undefined);
    return result;
  }

  async #sendFrame(type: FrameType, stream: number, payload: Uint8Array): Promise<void> {
    const cost = frameCost(payload.length);
    while (this.#open && this.#sendWindow < cost) {
      await new Promise<void>((resolve) => {
        this.#creditWaiters.push(resolve);
      });
    }
    if (!this.#open) throw this.#error ?? new LinkError("disconnected", "the channel is closed");
    this.#sendWindow -= cost;
    await this.#owner.send(type, this.#number, stream, payload);
  }

  #finish(error: LinkError | undefined): void {
    if (!this.#open) return;
    this.#open = false;
    this.#error = error;
    this.#pieces = [];
    this.#owner.forget(this.#number);
    for (const wake of this.#creditWaiters.splice(0)) wake();
    this.#wakeReader();
    this.#resolveClosed();
  }

  #wakeReader(): void {
    const wake = this.#arrival;
    this.#arrival = undefined;
    wake?.();
  }
}
