/**
 * Work that must be done in the end although vSphere may be out of reach when its time comes: removing what a failed or
 * cut-off operation made. It is tried again until it succeeds; whoever is about to use the same thing waits for that.
 * A killed engine needs none of this: the next one finds such things when it starts.
 */
import { RETRY_ATTEMPTS, RETRY_FIRST_PAUSE, RETRY_LONGEST_PAUSE } from "./limits.ts";
import { deferred } from "./waiting.ts";

export class UntilDone {
  readonly #log: (message: string) => void;
  readonly #firstPause: number;
  readonly #pending = new Map<string, Promise<void>>();
  readonly #closing = deferred<void>();
  #closed = false;

  constructor(log: (message: string) => void, firstPauseMilliseconds = RETRY_FIRST_PAUSE) {
    this.#log = log;
    this.#firstPause = firstPauseMilliseconds;
  }

  /**
   * Does it now and, when that fails, again and again in the background. Resolves, and never rejects, after the first time
   * with whether it succeeded. `what` names the thing, for the log and for `settled`; `work` must stand being repeated.
   */
  async run(what: string, work: () => Promise<void>): Promise<boolean> {
    for (let other = this.#pending.get(what); other; other = this.#pending.get(what)) await other;
    if (this.#closed) return false;
    const first = deferred<boolean>();
    const done = this.#repeat(what, work, first.resolve).finally(() => {
      if (this.#pending.get(what) === done) this.#pending.delete(what);
    });
    this.#pending.set(what, done);
    return first.promise;
  }

  /** Resolves when nothing is left to do about it, or nothing more is tried. */
  async settled(what: string): Promise<void> {
    await this.#pending.get(what);
  }

  isPending(what: string): boolean {
    return this.#pending.has(what);
  }

  /** Tries nothing more; resolves when what is under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.resolve();
    await Promise.all(this.#pending.values());
  }

  async #repeat(what: string, work: () => Promise<void>, first: (succeeded: boolean) => void): Promise<void> {
    let pause = this.#firstPause;
    for (let attempt = 1; ; attempt++) {
      try {
        await work();
        if (attempt > 1) this.#log(`${what}: done at attempt ${attempt}`);
        first(true);
        return;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        const last = attempt === RETRY_ATTEMPTS || this.#closed;
        if (attempt === 1 || last)
          this.#log(`${what}: ${reason}${last ? "; the next start of the endpoint tries again" : ""}`);
        first(false);
        if (last) return;
      }
      await this.#wait(pause);
      pause = Math.min(2 * pause, RETRY_LONGEST_PAUSE);
    }
  }

  async #wait(milliseconds: number): Promise<void> {
    const over = deferred<void>();
    const timer = setTimeout(over.resolve, milliseconds);
    await Promise.race([over.promise, this.#closing.promise]);
    clearTimeout(timer);
  }
}
