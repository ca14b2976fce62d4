import type { RestartPolicy } from "../../src/link/guest-configuration.ts";

const FIRST_DELAY = 100;
const LONGEST_DELAY = 60_000;
/** A run that lasted this long (milliseconds) makes the next delay short again. */
const STABLE_AFTER = 10_000;

/** Docker's restart manager: when to start again, and after what time. */
export class RestartManager {
  /** May change while the container runs (docker update --restart). */
  policy: RestartPolicy;
  #count = 0;
  #delay = 0;

  constructor(policy: RestartPolicy) {
    this.policy = policy;
  }

  get count(): number {
    return this.#count;
  }

  /** Milliseconds to wait before the next start, or undefined when there is none. */
  next(exitCode: number, ranMilliseconds: number): number | undefined {
    const { name, maximumRetryCount } = this.policy;
    if (name === "no") return undefined;
    if (name === "on-failure") {
      if (exitCode === 0) return undefined;
      if (maximumRetryCount > 0 && this.#count >= maximumRetryCount) return undefined;
    }
    this.#delay = this.#delay === 0 || ranMilliseconds >= STABLE_AFTER ? FIRST_DELAY : this.#delay * 2;
    this.#delay = Math.min(this.#delay, LONGEST_DELAY);
    this.#count++;
    return this.#delay;
  }
}
