import { MessageSplitter } from "../../src/format/file-share/framing.ts";
import {
  decodeReply,
  decodeReplyHeader,
  encodeRequest,
  MESSAGE_LIMIT,
  type OperationName,
  type ReplyFields,
  type RequestFields,
} from "../../src/format/file-share/messages.ts";
import type { Channel, LinkSession } from "../../src/link/contract.ts";
import { STREAM } from "../../src/link/operations.ts";

/** Milliseconds that a request waits for an endpoint that is away; from then on requests fail until it is back. */
const AWAY_LIMIT = 300_000;
/** Milliseconds until a channel that ended although the session goes on is opened again; doubles up to the second. */
const FIRST_RETRY = 100;
/** Milliseconds from a signal to a process that waits for an answer until it is let go: the link may be cut, and resumed later. */
const INTERRUPT_GRACE = 10_000;
const LONGEST_RETRY = 5_000;

export const EINTR = 4;
export const EIO = 5;

/** What the endpoint answered, or why it could not be asked. */
export class ShareError extends Error {
  override readonly name = "ShareError";
  constructor(
    readonly errno: number,
    /** The request was sent before, and its answer lost: it may have been done then. */
    readonly repeated = false,
  ) {
    super(`errno ${errno}`);
  }
}

interface Waiting {
  message(bytes: Buffer): void;
  lost(): void;
}

/** A request under way that the guest's kernel may give up. */
export class Interruption {
  #giveUp: (() => void) | undefined;
  #given = false;

  /** Ends the wait for an endpoint that is away, now and later. */
  interrupt(): void {
    this.#given = true;
    this.#giveUp?.();
  }

  get interrupted(): boolean {
    return this.#given;
  }

  onInterrupt(giveUp: (() => void) | undefined): void {
    this.#giveUp = giveUp;
    if (this.#given) giveUp?.();
  }
}

/**
 * The file server at the endpoint, over whichever session there is. A request that finds no endpoint waits for it; one whose
 * answer was lost is sent again.
 */
export class ShareClient {
  #session: LinkSession | undefined;
  #channel: Channel | undefined;
  #generation = 0;
  #nextId = 1;
  #waiting = new Map<number, Waiting>();
  readonly #parked = new Set<() => void>();
  #givenUp = false;
  #awayTimer: ReturnType<typeof setTimeout> | undefined;
  #retry = FIRST_RETRY;
  readonly #awayLimit: number;

  constructor(awayLimit = AWAY_LIMIT) {
    this.#awayLimit = awayLimit;
    this.#away();
  }

  /** Grows with every new file server: open files of earlier ones are closed. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether there is an endpoint to ask. */
  get available(): boolean {
    return this.#channel !== undefined;
  }

  useSession(session: LinkSession): void {
    this.#session = session;
    this.#retry = FIRST_RETRY;
    void session.closed.then(() => {
      if (this.#session === session) this.#session = undefined;
    });
    this.#open(session);
  }

  /**
   * Asks the file server. `fields` is called for each attempt, since open files have other numbers at another file server.
   * Throws ShareError.
   */
  async call<K extends OperationName>(
    operation: K,
    share: number,
    fields: () => RequestFields<K> | Promise<RequestFields<K>>,
    interruption = new Interruption(),
  ): Promise<ReplyFields<K>> {
    let repeated = false;
    for (;;) {
      await this.#available(interruption, repeated);
      const generation = this.#generation;
      const content = await fields();
      if (generation !== this.#generation) continue;
      const answer = await this.#ask(operation, share, content, interruption);
      if (answer === undefined) {
        repeated = true;
        continue;
      }
      const { errno } = decodeReplyHeader(answer);
      if (errno !== 0) throw new ShareError(errno, repeated);
      return decodeReply(operation, answer);
    }
  }

  /** The reply, or undefined when the file server was lost. */
  #ask<K extends OperationName>(
    operation: K,
    share: number,
    fields: RequestFields<K>,
    interruption: Interruption,
  ): Promise<Buffer | undefined> {
    const channel = this.#channel;
    if (channel === undefined) return Promise.resolve(undefined);
    const id = this.#nextId;
    this.#nextId = (this.#nextId % 0xffff_ffff) + 1;
    return new Promise((resolve, reject) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const over = (): void => {
        clearTimeout(timer);
        interruption.onInterrupt(undefined);
      };
      const giveUp = (): void => {
        this.#waiting.delete(id);
        over();
        reject(new ShareError(EINTR));
      };
      interruption.onInterrupt(() => {
        timer ??= setTimeout(giveUp, INTERRUPT_GRACE);
        timer.unref();
      });
      const answered = (answer: Buffer | undefined): void => {
        over();
        resolve(answer);
      };
      this.#waiting.set(id, { message: answered, lost: () => answered(undefined) });
      channel.send(STREAM.stdout, encodeRequest(id, operation, share, fields)).catch(() => this.#lost(channel));
    });
  }

  #available(interruption: Interruption, repeated: boolean): Promise<void> {
    if (this.#channel !== undefined) return Promise.resolve();
    if (this.#givenUp) throw new ShareError(EIO, repeated);
    if (interruption.interrupted) throw new ShareError(EINTR, repeated);
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        this.#parked.delete(wake);
        interruption.onInterrupt(undefined);
        if (this.#channel !== undefined) resolve();
        else reject(new ShareError(this.#givenUp ? EIO : EINTR, repeated));
      };
      interruption.onInterrupt(wake);
      this.#parked.add(wake);
    });
  }

  #open(session: LinkSession): void {
    if (this.#session !== session) return;
    void this.#receive(session, session.open("share", {}));
  }

  async #receive(session: LinkSession, channel: Channel): Promise<void> {
    const splitter = new MessageSplitter(MESSAGE_LIMIT);
    try {
      for await (const message of channel) {
        // The endpoint says that it serves before anything is asked.
        if (message.kind === "control") this.#opened(channel);
        if (message.kind !== "data") continue;
        for (const reply of splitter.push(message.bytes)) this.#reply(reply);
      }
    } catch (error) {
      console.error(`shares: ${error instanceof Error ? error.message : error}`);
      channel.close();
    }
    this.#lost(channel);
    setTimeout(() => this.#open(session), this.#retry).unref();
    this.#retry = Math.min(this.#retry * 2, LONGEST_RETRY);
  }

  #opened(channel: Channel): void {
    if (this.#channel !== undefined) this.#lost(this.#channel);
    this.#channel = channel;
    this.#generation++;
    this.#givenUp = false;
    this.#retry = FIRST_RETRY;
    clearTimeout(this.#awayTimer);
    for (const wake of [...this.#parked]) wake();
  }

  #reply(bytes: Buffer): void {
    const { id } = decodeReplyHeader(bytes);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.message(bytes);
  }

  #lost(channel: Channel): void {
    if (this.#channel !== channel) return;
    this.#channel = undefined;
    this.#away();
    const lost = [...this.#waiting.values()];
    this.#waiting = new Map();
    for (const waiting of lost) waiting.lost();
  }

  #away(): void {
    clearTimeout(this.#awayTimer);
    this.#awayTimer = setTimeout(() => {
      this.#givenUp = true;
      console.error("shares: the endpoint is away for too long: files of the host fail with an input/output error");
      for (const wake of [...this.#parked]) wake();
    }, this.#awayLimit);
    this.#awayTimer.unref();
  }
}
