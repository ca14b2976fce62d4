import { freeze, thaw } from "./cgroup.ts";

/** Who wants the processes to stand still: the user (docker pause), and work that reads the disk meanwhile. */
export class Freezer {
  #paused = false;
  #holds = 0;
  /** Changes one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  get paused(): boolean {
    return this.#paused;
  }

  pause(): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#paused && this.#holds === 0) await freeze();
      this.#paused = true;
    });
  }

  unpause(): Promise<void> {
    return this.#inTurn(async () => {
      this.#paused = false;
      if (this.#holds === 0) thaw();
    });
  }

  /** Freezes until the returned function is called. */
  hold(): Promise<() => void> {
    return this.#inTurn(async () => {
      if (!this.#paused && this.#holds === 0) await freeze();
      this.#holds++;
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        this.#holds--;
        if (this.#holds === 0 && !this.#paused) thaw();
      };
    });
  }

  /** What is being stopped must be able to run. */
  release(): void {
    if (!this.#paused && this.#holds === 0) return;
    this.#paused = false;
    thaw();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
