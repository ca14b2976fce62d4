import type { ByteTransport } from "./byte-transport.ts";
import { type ChannelOwner, parseObject, SessionChannel } from "./channel.ts";
import type { Channel, ChannelRequest, LinkSession } from "./contract.ts";
import {
  encodeFrame,
  FRAME,
  FRAME_OVERHEAD,
  type Frame,
  FrameDecoder,
  type FrameType,
  ProtocolError,
  REQUEST_LIMIT,
} from "./frames.ts";
import { LinkError } from "./link-error.ts";
import { Outbox, RESUME_WINDOW } from "./outbox.ts";
import type { Calls, Streams } from "./operations.ts";

export interface SessionLimits {
  /** Channels open at a time, counted per opening side. More are refused with code `busy`. */
  channels: number;
  /** Milliseconds without any byte from the peer after which it is asked for a sign of life. */
  pingAfter: number;
  /** Milliseconds without any byte from the peer after which the transport counts as lost. */
  deadAfter: number;
  /** Milliseconds that a session without a transport waits for another one. */
  resumeWithin: number;
}

export const SESSION_LIMITS: SessionLimits = {
  channels: 256,
  pingAfter: 15_000,
  deadAfter: 45_000,
  resumeWithin: 60_000,
};

/** Bytes to be sent above which the peer is taken for one that sends but does not read. */
const OUTPUT_LIMIT = 8 * 1024 * 1024;
/** Received cost that is acknowledged at once; less than that with the next heartbeat. */
const ACKNOWLEDGE_STEP = RESUME_WINDOW / 8;

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();

/** Frames that are sent again when the transport they went to was lost; the others speak of the transport itself. */
const isCounted = (type: FrameType): boolean => type <= FRAME.close;

/**
 * A LinkSession over a byte transport. The owner of the transport calls `received`, `drained` and `ended`.
 * Channels opened by the engine have odd numbers, those opened by the tether even ones.
 *
 * A session with an id outlives its transport: for a while it waits for another one (`resume`), and neither channels nor
 * calls notice. Frames are counted on both sides, kept until they are acknowledged, and sent again.
 */
export class Session implements LinkSession, ChannelOwner {
  readonly closed: Promise<{ reason: string }>;
  #resolveClosed: (end: { reason: string }) => void = () => undefined;
  /** Names the session to the peer when it is to go on over another transport. */
  readonly id: string | undefined;
  readonly #outbox: Outbox;
  readonly #limits: SessionLimits;
  #decoder = new FrameDecoder();
  readonly #channels = new Map<number, SessionChannel>();
  #nextOwn: number;
  /** Highest number that the peer has opened so far; numbers only grow. */
  #lastOfPeer = 0;
  #peerChannels = 0;
  #handler: ((channel: Channel) => void) | undefined;
  #waitingForHandler: Channel[] = [];

  #roomWaiters: (() => void)[] = [];
  /** Counted frames of the peer so far, and the cost of those that were not acknowledged yet. */
  #receivedFrames = 0;
  #unacknowledged = 0;
  #giveUp: ReturnType<typeof setTimeout> | undefined;
  #carriedSince = performance.now();
  #resumed = false;

  #over = false;
  #heard = performance.now();
  #checked = performance.now();
  readonly #heartbeat: ReturnType<typeof setInterval>;

  constructor(
    transport: ByteTransport,
    role: "engine" | "tether",
    limits: SessionLimits = SESSION_LIMITS,
    /** Given when the peer can resume, too. */
    id?: string,
  ) {
    this.id = id;
    this.#outbox = new Outbox(transport, id !== undefined);
    this.#limits = limits;
    this.#nextOwn = role === "engine" ? 1 : 2;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#heartbeat = setInterval(() => this.#checkPeer(), limits.pingAfter / 2);
    this.#heartbeat.unref();
  }

  async call<K extends keyof Calls>(op: K, request: Calls[K]["request"]): Promise<Calls[K]["response"]> {
    const channel = this.#openChannel(op, request);
    let answer: Record<string, unknown> | undefined;
    for await (const message of channel) {
      if (message.kind === "control") answer = message.message;
    }
    if (answer === undefined) throw new LinkError("internal", `${op}: the channel ended without an answer`);
    return answer.result as Calls[K]["response"];
  }

  open<K extends keyof Streams>(op: K, request: Streams[K]["request"]): Channel {
    return this.#openChannel(op, request);
  }

  /** Opens the channel on which the tether reports GuestEvents. */
  openEvents(): Channel {
    return this.#openChannel("event", {});
  }

  onChannel(handler: (channel: Channel) => void): void {
    this.#handler = handler;
    for (const channel of this.#waitingForHandler.splice(0)) handler(channel);
  }

  close(reason = "closed"): void {
    this.#end(reason, reason);
  }

  /** Counted frames that have arrived: where the peer has to go on. */
  get receivedFrames(): number {
    return this.#receivedFrames;
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** Its present connection is not its first. */
  get resumed(): boolean {
    return this.#resumed;
  }

  /** Milliseconds since the session got its present transport; undefined while it has none. */
  get carriedFor(): number | undefined {
    return this.#outbox.transport === undefined ? undefined : performance.now() - this.#carriedSince;
  }

  /** Bytes from the peer, in order. */
  received(bytes: Uint8Array): void {
    if (this.#outbox.transport === undefined) return;
    this.#heard = performance.now();
    const decoder = this.#decoder;
    try {
      decoder.push(bytes, (frame) => {
        // A frame may have ended the session, or its transport.
        if (this.#decoder === decoder) this.#receive(frame);
      });
    } catch (error) {
      const text = error instanceof ProtocolError ? `protocol error: ${error.message}` : `internal error: ${error}`;
      this.#end(text, text);
    }
  }

  /** The transport has room again. */
  drained(): void {
    this.#outbox.flush();
    this.#wakeSenders();
  }

  /** The transport is closed. */
  ended(reason: string): void {
    if (this.id === undefined) this.#end(reason, undefined);
    else this.#interrupt(reason);
  }

  /**
   * Goes on over another transport, whose peer has `peerReceived` of our counted frames. Throws ProtocolError for a
   * number that cannot be; the session is to be abandoned then.
   */
  resume(transport: ByteTransport, peerReceived: number): void {
    if (this.#over || this.id === undefined) throw new ProtocolError("the session cannot be resumed");
    this.#interrupt("replaced by another connection");
    this.#outbox.resume(transport, peerReceived);
    clearTimeout(this.#giveUp);
    this.#heard = performance.now();
    this.#carriedSince = this.#heard;
    this.#resumed = true;
    // What arrived was told to the peer when it was asked to go on.
    this.#unacknowledged = 0;
    this.#wakeSenders();
  }

  /** Ends the session without a word to the peer, which has ended it already. */
  abandon(reason: string): void {
    this.#end(reason, undefined);
  }

  async send(type: FrameType, channel: number, stream: number, payload: Uint8Array): Promise<void> {
    this.sendNow(type, channel, stream, payload);
    if (!this.#outbox.isFull) return;
    await new Promise<void>((resolve) => {
      this.#roomWaiters.push(resolve);
    });
  }

  sendNow(type: FrameType, channel: number, stream: number, payload: Uint8Array): void {
    if (this.#over) return;
    this.#outbox.push(encodeFrame(type, channel, stream, payload), isCounted(type));
    if (this.#outbox.length > OUTPUT_LIMIT) this.#end("the peer does not read", undefined);
  }

  forget(channel: number): void {
    if (this.#channels.delete(channel) && this.#isOfPeer(channel)) this.#peerChannels--;
  }

  #openChannel(op: string, request: object): SessionChannel {
    const number = this.#nextOwn;
    this.#nextOwn += 2;
    const channel = new SessionChannel(this, number, { ...request, op });
    const payload = encoder.encode(JSON.stringify(channel.request));
    if (this.#over) {
      channel.fail(new LinkError("disconnected", "the control link is closed"));
    } else if (payload.length > REQUEST_LIMIT) {
      channel.fail(new LinkError("invalid", `request is too long: ${payload.length} bytes, at most ${REQUEST_LIMIT}`));
    } else if (this.#ownChannels() >= this.#limits.channels) {
      channel.fail(new LinkError("busy", `more than ${this.#limits.channels} operations at a time`));
    } else {
      this.#channels.set(number, channel);
      this.sendNow(FRAME.open, number, 0, payload);
    }
    return channel;
  }

  #ownChannels(): number {
    return this.#channels.size - this.#peerChannels;
  }

  #isOfPeer(channel: number): boolean {
    return channel % 2 !== this.#nextOwn % 2;
  }

  /** One at a time, each appending at the back again: busy channels share the transport evenly. */
  #wakeSenders(): void {
    while (!this.#outbox.isFull && this.#roomWaiters.length > 0) this.#roomWaiters.shift()?.();
  }

  #acknowledge(): void {
    const payload = new Uint8Array(8);
    new DataView(payload.buffer).setBigUint64(0, BigInt(this.#receivedFrames));
    this.#unacknowledged = 0;
    this.sendNow(FRAME.acknowledge, 0, 0, payload);
  }

  #receive(frame: Frame): void {
    if (this.#over) return;
    if (this.id !== undefined && isCounted(frame.type)) {
      this.#receivedFrames++;
      this.#unacknowledged += frame.payload.length + FRAME_OVERHEAD;
      if (this.#unacknowledged >= ACKNOWLEDGE_STEP) this.#acknowledge();
    }
    switch (frame.type) {
      case FRAME.ping:
        this.sendNow(FRAME.pong, 0, 0, EMPTY);
        return;
      case FRAME.pong:
        return;
      case FRAME.goodbye:
        this.#end(`closed by the peer: ${new TextDecoder().decode(frame.payload)}`, undefined);
        return;
      case FRAME.acknowledge:
        if (this.id === undefined) throw new ProtocolError("acknowledged in a session without an id");
        this.#outbox.acknowledge(Number(new DataView(frame.payload.buffer, frame.payload.byteOffset).getBigUint64(0)));
        this.#wakeSenders();
        return;
      case FRAME.open:
        this.#accept(frame);
        return;
      default: {
        const channel = this.#channels.get(frame.channel);
        if (channel !== undefined) channel.receive(frame);
        else if (!this.#wasOpened(frame.channel)) throw new ProtocolError(`channel ${frame.channel} was never opened`);
      }
    }
  }

  /** Frames of a channel that was closed here may still be under way: they are dropped. */
  #wasOpened(number: number): boolean {
    return this.#isOfPeer(number) ? number <= this.#lastOfPeer : number < this.#nextOwn;
  }

  #accept(frame: Frame): void {
    const number = frame.channel;
    if (!this.#isOfPeer(number) || number <= this.#lastOfPeer) throw new ProtocolError(`bad channel number ${number}`);
    this.#lastOfPeer = number;
    const request = parseObject(frame.payload, "request");
    if (typeof request.op !== "string") throw new ProtocolError("request without op");
    const channel = new SessionChannel(this, number, request as ChannelRequest);
    this.#channels.set(number, channel);
    this.#peerChannels++;
    if (this.#peerChannels > this.#limits.channels) {
      channel.close({ code: "busy", message: `more than ${this.#limits.channels} operations at a time` });
    } else if (this.#handler === undefined) {
      this.#waitingForHandler.push(channel);
    } else {
      this.#handler(channel);
    }
  }

  #checkPeer(): void {
    const now = performance.now();
    // This program itself stood still (a suspended VM, an overloaded host): what the peer sent meanwhile is not read yet.
    if (now - this.#checked > this.#limits.pingAfter) this.#heard = now;
    this.#checked = now;
    if (this.#outbox.transport === undefined) return;
    if (this.#unacknowledged > 0) this.#acknowledge();
    const silence = now - this.#heard;
    if (silence >= this.#limits.deadAfter) {
      this.ended(`no sign of life from the peer for ${Math.round(silence / 1000)} s`);
    } else if (silence >= this.#limits.pingAfter / 2 || silence === 0) {
      this.sendNow(FRAME.ping, 0, 0, EMPTY);
    }
  }

  #interrupt(reason: string): void {
    const { transport } = this.#outbox;
    if (this.#over || transport === undefined) return;
    this.#outbox.interrupt();
    this.#decoder = new FrameDecoder();
    transport.end();
    const { resumeWithin } = this.#limits;
    const late = `${reason}; it was not resumed within ${Math.round(resumeWithin / 1000)} s`;
    this.#giveUp = setTimeout(() => this.#end(late, undefined), resumeWithin);
    this.#giveUp.unref();
  }

  #end(reason: string, tellPeer: string | undefined): void {
    if (this.#over) return;
    if (tellPeer !== undefined) this.sendNow(FRAME.goodbye, 0, 0, encoder.encode(tellPeer).subarray(0, 1024));
    this.#over = true;
    clearInterval(this.#heartbeat);
    clearTimeout(this.#giveUp);
    const error = new LinkError("disconnected", `the control link was lost: ${reason}`);
    for (const channel of [...this.#channels.values()]) channel.fail(error);
    for (const wake of this.#roomWaiters.splice(0)) wake();
    this.#waitingForHandler = [];
    this.#outbox.end();
    this.#resolveClosed({ reason });
  }
}

/** Answers a call on the side that serves it: one control message, then the close. */
export const answerCall = async (channel: Channel, result: unknown): Promise<void> => {
  await channel.control(result === undefined ? {} : { result });
  channel.close();
};

/** Closes a channel with what went wrong. */
export const closeWithError = (channel: Channel, error: unknown): void => {
  const code = error instanceof LinkError ? error.code : "internal";
  channel.close({ code, message: error instanceof Error ? error.message : String(error) });
};
