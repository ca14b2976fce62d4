import { LineSplitter } from "./lines.ts";
import type { LogPosition, LogWriter } from "./log-file.ts";
import { readRecords } from "./log-reader.ts";
import { type LogRecord, logClock } from "./log-record.ts";

/** Replayed records go out in pieces of at least about this many bytes. */
const REPLAY_PIECE = 32 * 1024;

/** Records have one line each: those of one stream that follow each other are put together. */
function* joined(records: Iterable<LogRecord>): Generator<{ stream: number; bytes: Uint8Array }> {
  let parts: Uint8Array[] = [];
  let length = 0;
  let stream = 0;
  for (const record of records) {
    if (length > 0 && (record.stream !== stream || length >= REPLAY_PIECE)) {
      yield { stream, bytes: Buffer.concat(parts) };
      parts = [];
      length = 0;
    }
    stream = record.stream;
    parts.push(record.bytes);
    length += record.bytes.length;
  }
  if (length > 0) yield { stream, bytes: Buffer.concat(parts) };
}

/** Takes output. The promise is the back-pressure; a rejection ends the subscription. */
export interface Subscriber {
  deliver(stream: number, bytes: Uint8Array): Promise<void>;
}

/** Takes log entries; never rejects. The promise is the back-pressure. */
export type Sink = (records: readonly LogRecord[]) => Promise<void>;

interface Subscription {
  subscriber: Subscriber;
  /** Resolves when everything so far was delivered. */
  ready: Promise<void>;
}

/**
 * Output of the main process: to the log, and to everyone attached. As with Docker, a client that is attached but slow
 * slows the process down; one that is gone does not.
 */
export class OutputHub {
  readonly #log: LogWriter;
  readonly #clock = logClock();
  readonly #splitters = new Map<number, LineSplitter>();
  readonly #subscriptions = new Set<Subscription>();
  readonly #followers = new Set<(records: LogRecord[]) => void>();
  #sink: Sink | undefined;
  /** Resolves when the sink has taken everything so far. */
  #sunk: Promise<void> = Promise.resolve();
  #runStart: LogPosition;
  #logBroken = false;
  #deliveries = 0;

  constructor(log: LogWriter) {
    this.#log = log;
    this.#runStart = log.position;
  }

  get log(): LogWriter {
    return this.#log;
  }

  /** A new run of the process begins: what `fromStart` replays starts here. */
  beginRun(): void {
    this.#runStart = this.#log.position;
    this.#splitters.clear();
  }

  async deliver(stream: number, bytes: Uint8Array): Promise<void> {
    const splitter = this.#splitters.get(stream) ?? new LineSplitter();
    this.#splitters.set(stream, splitter);
    this.#append(stream, splitter.push(bytes));
    const deliveries = [...this.#subscriptions].map((subscription) => this.#send(subscription, stream, bytes));
    if (deliveries.length > 0) await Promise.all(deliveries);
    if (this.#sink !== undefined) await this.#sunk;
  }

  /** Gives every entry from now on to `sink`, which slows the process down when it is slow. */
  sendTo(sink: Sink): void {
    this.#sink = sink;
  }

  /** The run's output has ended: unfinished lines are logged too. */
  endRun(): void {
    for (const [stream, splitter] of this.#splitters) {
      const rest = splitter.finish();
      if (rest !== undefined) this.#append(stream, [rest]);
    }
  }

  /** Grows with every piece of output that a subscriber has taken. */
  get deliveries(): number {
    return this.#deliveries;
  }

  /** Resolves when all subscribers have everything, or are gone. */
  async drained(): Promise<void> {
    await Promise.all([this.#sunk, ...[...this.#subscriptions].map(({ ready }) => ready)]);
  }

  /** Returns the function that ends the subscription. */
  subscribe(subscriber: Subscriber, fromStart: boolean): () => void {
    const subscription: Subscription = { subscriber, ready: Promise.resolve() };
    this.#subscriptions.add(subscription);
    const leave = (): void => void this.#subscriptions.delete(subscription);
    if (fromStart) subscription.ready = this.#replay(subscriber).catch(leave);
    return leave;
  }

  /** Calls `follower` with every record from now on. */
  follow(follower: (records: LogRecord[]) => void): () => void {
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }

  async #send(subscription: Subscription, stream: number, bytes: Uint8Array): Promise<void> {
    subscription.ready = subscription.ready.then(() => subscription.subscriber.deliver(stream, bytes));
    try {
      await subscription.ready;
      this.#deliveries++;
    } catch {
      // The client is gone.
      this.#subscriptions.delete(subscription);
      subscription.ready = Promise.resolve();
    }
  }

  async #replay(subscriber: Subscriber): Promise<void> {
    const end = this.#log.position;
    const unfinished = [...this.#splitters].map(([stream, splitter]) => ({ stream, bytes: splitter.pending.slice() }));
    for (const { stream, bytes } of joined(readRecords(this.#log.directory, this.#runStart, end))) {
      await subscriber.deliver(stream, bytes);
      this.#deliveries++;
    }
    for (const { stream, bytes } of unfinished) if (bytes.length > 0) await subscriber.deliver(stream, bytes);
  }

  #append(stream: number, entries: Uint8Array[]): void {
    if (entries.length === 0) return;
    const records = entries.map((bytes) => ({ stream, nanoseconds: this.#clock(), bytes }));
    try {
      this.#log.append(records);
      this.#logBroken = false;
    } catch (error) {
      // A full disk must not stop the container; attached clients still get everything.
      if (!this.#logBroken) console.error(`writing the log: ${error}`);
      this.#logBroken = true;
    }
    for (const follower of this.#followers) follower(records);
    const sink = this.#sink;
    if (sink === undefined) return;
    const kept = records.map((record) => ({ ...record, bytes: record.bytes.slice() }));
    this.#sunk = this.#sunk.then(() => sink(kept));
  }
}
