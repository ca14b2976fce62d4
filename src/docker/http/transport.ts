import type { Socket } from "bun";

/** The connection is gone; what was to be written is lost. */
export class WriteFailed extends Error {
  override readonly name = "WriteFailed";
  constructor() {
    super("the client closed the connection");
  }
}

const ACCEPTED: Promise<void> = Promise.resolve();

/** The sending half of one socket, TLS or not: ordered writes that resolve when the kernel took the bytes. */
export class Transport {
  #rest: Uint8Array | undefined;
  #tail: Promise<void> = ACCEPTED;
  #drained: { resolve(): void; reject(error: unknown): void } | undefined;
  #closed = false;
  #finished = false;
  /** When the current stalled write began (milliseconds, monotonic); undefined while nothing waits. */
  stalledSince: number | undefined;

  constructor(readonly socket: Socket<unknown>) {}

  get closed(): boolean {
    return this.#closed;
  }

  /** Writes all of `bytes`. Resolves when they are accepted; rejects with WriteFailed when the connection goes first. */
  write(bytes: Uint8Array): Promise<void> {
    if (this.#closed || this.#finished) return Promise.reject(new WriteFailed());
    if (this.#drained === undefined && this.#tail === ACCEPTED) {
      const rest = this.#push(bytes);
      if (rest === undefined) return ACCEPTED;
      return this.#enqueue(() => this.#wait(rest));
    }
    return this.#enqueue(() => {
      if (this.#closed) throw new WriteFailed();
      const rest = this.#push(bytes);
      return rest === undefined ? ACCEPTED : this.#wait(rest);
    });
  }

  /** Ends our direction after everything written (FIN, and close_notify under TLS); the other direction stays open. */
  async finish(): Promise<void> {
    if (this.#closed || this.#finished) return;
    await this.#tail;
    if (this.#closed || this.#finished) return;
    this.#finished = true;
    this.socket.shutdown();
  }

  /**
   * Closes both directions after everything written. Unlike `destroy`, what the kernel and the TLS layer hold is still
   * delivered.
   */
  async close(): Promise<void> {
    await this.finish();
    if (!this.#closed) this.socket.end();
  }

  /** Closes both directions now; what is on its way is lost. */
  destroy(): void {
    if (this.#closed) return;
    this.socket.terminate();
    this.onClosed();
  }

  /** Called by the listener when the socket can take more. */
  onDrain(): void {
    const waiting = this.#drained;
    if (waiting === undefined || this.#rest === undefined) return;
    const rest = this.#push(this.#rest);
    if (rest === undefined) {
      this.#rest = undefined;
      this.#drained = undefined;
      this.stalledSince = undefined;
      waiting.resolve();
    } else {
      if (rest.length < this.#rest.length) this.stalledSince = performance.now();
      this.#rest = rest;
    }
  }

  /** Called by the listener when the socket is gone. */
  onClosed(): void {
    this.#closed = true;
    const waiting = this.#drained;
    this.#rest = undefined;
    this.#drained = undefined;
    this.stalledSince = undefined;
    waiting?.reject(new WriteFailed());
  }

  /** Hands bytes to the socket; returns what it did not take. */
  #push(bytes: Uint8Array): Uint8Array | undefined {
    const taken = this.socket.write(bytes);
    if (taken < 0) throw new WriteFailed();
    return taken >= bytes.length ? undefined : bytes.subarray(taken);
  }

  #wait(rest: Uint8Array): Promise<void> {
    this.#rest = rest;
    this.stalledSince = performance.now();
    return new Promise((resolve, reject) => {
      this.#drained = { resolve, reject };
    });
  }

  /** Runs `step` after the writes before it; while a chain exists, every write joins it, so the order holds. */
  #enqueue(step: () => Promise<void>): Promise<void> {
    const run = this.#tail === ACCEPTED ? attempt(step) : this.#tail.then(step);
    const settled: Promise<void> = run.then(
      () => this.#settle(settled),
      () => this.#settle(settled),
    );
    this.#tail = settled;
    return run;
  }

  #settle(settled: Promise<void>): void {
    if (this.#tail === settled) this.#tail = ACCEPTED;
  }
}

function attempt(step: () => Promise<void>): Promise<void> {
  try {
    return step();
  } catch (error) {
    return Promise.reject(error);
  }
}
