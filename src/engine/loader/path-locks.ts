/** Who works on which disk: a loader (readers may share), or a container that is being started or removed. */
import type { DatastorePath } from "../../vsphere/contract.ts";

export interface DiskClaim {
  path: DatastorePath;
  /** Several readers may have a disk at a time. */
  shared: boolean;
}

interface Lock {
  readers: number;
  writer: boolean;
}

interface Waiter {
  claims: readonly DiskClaim[];
  grant: () => void;
}

/** All of a caller's disks at once, so that two callers cannot wait for each other; first come first served per disk. */
export class PathLocks {
  readonly #locks = new Map<DatastorePath, Lock>();
  #waiting: Waiter[] = [];

  /** Resolves with the function that lets go. */
  async acquire(claims: readonly DiskClaim[]): Promise<() => void> {
    if (!this.#free(claims, this.#waiting)) {
      await new Promise<void>((resolve) => this.#waiting.push({ claims, grant: resolve }));
    } else this.#take(claims);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#release(claims);
    };
  }

  #free(claims: readonly DiskClaim[], ahead: readonly Waiter[]): boolean {
    return claims.every((claim) => {
      const lock = this.#locks.get(claim.path);
      const held = lock !== undefined && (lock.writer || (!claim.shared && lock.readers > 0));
      const queued = ahead.some((waiter) =>
        waiter.claims.some((other) => other.path === claim.path && !(other.shared && claim.shared)),
      );
      return !held && !queued;
    });
  }

  #take(claims: readonly DiskClaim[]): void {
    for (const { path, shared } of claims) {
      const lock = this.#locks.get(path) ?? { readers: 0, writer: false };
      if (shared) lock.readers++;
      else lock.writer = true;
      this.#locks.set(path, lock);
    }
  }

  #release(claims: readonly DiskClaim[]): void {
    for (const { path, shared } of claims) {
      const lock = this.#locks.get(path);
      if (!lock) continue;
      if (shared) lock.readers--;
      else lock.writer = false;
      if (lock.readers === 0 && !lock.writer) this.#locks.delete(path);
    }
    const still: Waiter[] = [];
    for (const waiter of this.#waiting) {
      if (this.#free(waiter.claims, still)) {
        this.#take(waiter.claims);
        waiter.grant();
      } else still.push(waiter);
    }
    this.#waiting = still;
  }
}
