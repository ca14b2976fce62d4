/** One piece of work for everybody who asks for the same at the same time: later ones join and see the progress so far. */
import type { ProgressMessage, ProgressSink } from "../contract.ts";

/** Progress lines kept for those who join: the latest of each layer and status, so their number is bounded by the layers. */
const REPLAY_LIMIT = 4096;

interface Work {
  sinks: Set<ProgressSink>;
  replay: Map<string, ProgressMessage>;
  controller: AbortController;
  result: Promise<void>;
}

export class SharedWork {
  readonly #running = new Map<string, Work>();

  /** Rejects with the signal's reason at once when this caller leaves; the work stops when all callers have left. */
  async run(
    key: string,
    progress: ProgressSink,
    signal: AbortSignal,
    work: (progress: ProgressSink, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    signal.throwIfAborted();
    let shared = this.#running.get(key);
    if (shared === undefined) {
      shared = this.#start(key, progress, work);
    } else {
      for (const message of shared.replay.values()) progress(message);
      shared.sinks.add(progress);
    }
    const mine = shared;
    const left = Promise.withResolvers<never>();
    const leave = (): void => {
      mine.sinks.delete(progress);
      if (mine.sinks.size === 0) {
        // Nobody may join work that is being cancelled.
        if (this.#running.get(key) === mine) this.#running.delete(key);
        mine.controller.abort(signal.reason);
      }
      left.reject(signal.reason);
    };
    signal.addEventListener("abort", leave, { once: true });
    try {
      await Promise.race([mine.result, left.promise]);
    } finally {
      signal.removeEventListener("abort", leave);
      mine.sinks.delete(progress);
    }
  }

  #start(
    key: string,
    progress: ProgressSink,
    work: (progress: ProgressSink, signal: AbortSignal) => Promise<void>,
  ): Work {
    const controller = new AbortController();
    const sinks = new Set([progress]);
    const replay = new Map<string, ProgressMessage>();
    const publish: ProgressSink = (message) => {
      const slot = message.id === undefined ? `line ${replay.size}` : `id ${message.id}`;
      if (replay.size < REPLAY_LIMIT || replay.has(slot)) replay.set(slot, message);
      for (const sink of sinks) sink(message);
    };
    const result = work(publish, controller.signal).finally(() => {
      if (this.#running.get(key) === shared) this.#running.delete(key);
    });
    result.catch(() => undefined); // Told to every caller by run(); all of them may have left.
    const shared: Work = { sinks, replay, controller, result };
    this.#running.set(key, shared);
    return shared;
  }
}
