import type { ByteTransport } from "./byte-transport.ts";
import { FRAME_OVERHEAD, ProtocolError } from "./frames.ts";

/** Bytes waiting for the transport above which channels have to wait. */
const HIGH_WATER = 256 * 1024;
/** Cost of frames that the peer has not acknowledged above which channels have to wait. */
export const RESUME_WINDOW = 1024 * 1024;

/**
 * What a session has to send. Frames that count are kept until the peer has acknowledged them, when the session can be
 * resumed: they are sent again over the next transport. Frames that do not count speak of the present transport alone.
 */
export class Outbox {
  #transport: ByteTransport | undefined;
  readonly #keeps: boolean;
  /** Waiting for room in the transport; the first may be the rest of a frame. */
  #queue: Uint8Array[] = [];
  #queued = 0;
  /** Counted frames that the peer has not acknowledged, whole. */
  #kept: Uint8Array[] = [];
  #keptCost = 0;
  /** Number of counted frames that the peer is known to have. */
  #acknowledged = 0;

  constructor(transport: ByteTransport, keeps: boolean) {
    this.#transport = transport;
    this.#keeps = keeps;
  }

  /** Undefined between two transports. */
  get transport(): ByteTransport | undefined {
    return this.#transport;
  }

  /** Those who can wait have to. */
  get isFull(): boolean {
    return this.#queued >= HIGH_WATER || this.#keptCost >= RESUME_WINDOW;
  }

  /** Bytes held, by the larger of both measures. */
  get length(): number {
    return Math.max(this.#queued, this.#keptCost);
  }

  push(frame: Uint8Array, counted: boolean): void {
    if (this.#keeps && counted) {
      this.#kept.push(frame);
      this.#keptCost += frame.length + FRAME_OVERHEAD;
    }
    if (this.#transport === undefined) return;
    const taken = this.#queue.length === 0 ? this.#transport.write(frame) : 0;
    if (taken < frame.length) this.#enqueue(frame.subarray(taken));
  }

  /** The transport has room. */
  flush(): void {
    const transport = this.#transport;
    if (transport === undefined) return;
    let gone = 0;
    for (const first of this.#queue) {
      const taken = transport.write(first);
      this.#queued -= taken;
      if (taken < first.length) {
        this.#queue[gone] = first.subarray(taken);
        break;
      }
      gone++;
    }
    this.#queue.splice(0, gone);
  }

  /** The peer has `count` counted frames. Throws ProtocolError for a number that cannot be. */
  acknowledge(count: number): void {
    const news = count - this.#acknowledged;
    if (!Number.isSafeInteger(count) || news < 0 || news > this.#kept.length)
      throw new ProtocolError("acknowledged what was not sent");
    for (const frame of this.#kept.splice(0, news)) this.#keptCost -= frame.length + FRAME_OVERHEAD;
    this.#acknowledged = count;
  }

  /** The transport is lost. */
  interrupt(): void {
    this.#transport = undefined;
    this.#queue = [];
    this.#queued = 0;
  }

  /** Another transport, whose peer has `count` counted frames: sends the others again. Throws as `acknowledge`. */
  resume(transport: ByteTransport, count: number): void {
    this.interrupt();
    this.acknowledge(count);
    this.#transport = transport;
    for (const frame of this.#kept) this.#enqueue(frame);
    this.flush();
  }

  /** Sends what the transport takes, and closes it. */
  end(): void {
    this.flush();
    const transport = this.#transport;
    this.interrupt();
    this.#kept = [];
    this.#keptCost = 0;
    transport?.end();
  }

  #enqueue(frame: Uint8Array): void {
    this.#queue.push(frame);
    this.#queued += frame.length;
  }
}
