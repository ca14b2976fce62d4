/** Small waiting tools: a promise to be settled from outside, a bound on a wait, ordered and bounded work. */

export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

export function deferred<T>(): Deferred<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  return { promise, resolve, reject };
}

/** The promise's result, or what `late` makes (a value, or an exception) when it takes longer. The promise itself goes on. */
export async function within<T, L>(promise: Promise<T>, milliseconds: number, late: () => L): Promise<T | L> {
  const expired = Symbol("expired");
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<typeof expired>((resolve) => {
    timer = setTimeout(() => resolve(expired), milliseconds);
  });
  try {
    const result = await Promise.race([promise, timeout]);
    return result === expired ? late() : (result as T);
  } finally {
    clearTimeout(timer);
  }
}

/** Rejects with the signal's reason when it is aborted; never resolves. `stop` lets go of the signal. */
export function aborted(signal: AbortSignal): { promise: Promise<never>; stop(): void } {
  const { promise, reject } = deferred<never>();
  const listener = (): void => reject(signal.reason);
  if (signal.aborted) listener();
  else signal.addEventListener("abort", listener, { once: true });
  // A rejection nobody races against any more is no error.
  promise.catch(() => undefined);
  return { promise, stop: () => signal.removeEventListener("abort", listener) };
}

/** At most `limit` pieces of work at a time, first come first served. */
export class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

/** One piece of work at a time, in order; a bounded number may wait. */
export class OperationQueue {
  #last: Promise<unknown> = Promise.resolve();
  #length = 0;

  constructor(
    readonly limit: number,
    readonly refuse: () => Error,
  ) {}

  /** Work that runs or waits. */
  get length(): number {
    return this.#length;
  }

  run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#length >= this.limit) return Promise.reject(this.refuse());
    this.#length++;
    const result = this.#last.then(work);
    this.#last = result.then(
      () => this.#length--,
      () => this.#length--,
    );
    return result;
  }
}
