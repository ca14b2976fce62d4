/** A bounded queue of bytes between a download and what consumes it. */

export class ByteQueue implements AsyncIterable<Uint8Array> {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #ended = false;
  #failure: { error: unknown } | undefined;
  #waiting: (() => void)[] = [];

  constructor(private readonly limitBytes: number) {}

  /** Resolves when there is room for more. Rejects when the consumer has gone. */
  async push(chunk: Uint8Array): Promise<void> {
    this.#check();
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.#wake();
    while (this.#bytes > this.limitBytes) await this.#change();
    this.#check();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Both sides get the error; what is queued is dropped. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#chunks = [];
    this.#bytes = 0;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      this.#check();
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#bytes -= chunk.length;
        this.#wake();
        yield chunk;
      } else if (this.#ended) return;
      else await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
