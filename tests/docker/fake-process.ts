/** A "container" for API tests: a process of this machine with its stdio kept as Docker would. */
import type { LogEntry, StdioStream } from "../../src/engine/contract.ts";

type Output = { stream: 1 | 2; bytes: Uint8Array };

const QUEUE_BYTES = 1024 * 1024;
const LOG_BYTES = 8 * 1024 * 1024;

/** An async queue whose `push` waits while the reader is behind. */
export class Queue<Item> implements AsyncIterable<Item> {
  #items: { item: Item; size: number }[] = [];
  #size = 0;
  #closed = false;
  #changed: (() => void)[] = [];

  async push(item: Item, size = 0): Promise<void> {
    if (this.#closed) return;
    this.#items.push({ item, size });
    this.#size += size;
    this.#notify();
    while (this.#size > QUEUE_BYTES && !this.#closed) await this.#change();
  }

  close(): void {
    this.#closed = true;
    this.#notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item> {
    try {
      for (;;) {
        const next = this.#items.shift();
        if (next !== undefined) {
          this.#size -= next.size;
          this.#notify();
          yield next.item;
        } else if (this.#closed) return;
        else await this.#change();
      }
    } finally {
      this.close();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#changed.push(resolve));
  }

  #notify(): void {
    const changed = this.#changed;
    this.#changed = [];
    for (const wake of changed) wake();
  }
}

export class FakeProcess {
  readonly log: LogEntry[] = [];
  readonly exited: Promise<number>;
  exitCode: number | undefined;
  /** How often a client left while the process ran. */
  detached = 0;
  #logBytes = 0;
  #readers = new Set<Queue<Output>>();
  #settle: (code: number) => void = () => undefined;
  #child: Bun.Subprocess | undefined;
  #terminal: Bun.Terminal | undefined;
  #size = { rows: 24, columns: 80 };
  #started: () => void = () => undefined;
  #running = new Promise<void>((resolve) => {
    this.#started = resolve;
  });

  constructor(
    readonly command: string[],
    readonly terminal: boolean,
    readonly openStdin: boolean,
  ) {
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get running(): boolean {
    return this.#child !== undefined && this.exitCode === undefined;
  }

  get pid(): number {
    return this.running ? (this.#child?.pid ?? 0) : 0;
  }

  start(): void {
    if (this.terminal) {
      const { rows, columns } = this.#size;
      this.#terminal = new Bun.Terminal({
        rows,
        cols: columns,
        data: (_terminal, bytes) => void this.#output(1, Uint8Array.from(bytes)),
      });
      this.#child = Bun.spawn(this.command, { terminal: this.#terminal });
      void this.#child.exited.then((code) => setTimeout(() => this.#ended(code), 50));
    } else {
      const child = Bun.spawn(this.command, {
        stdin: this.openStdin ? "pipe" : "ignore",
        stdout: "pipe",
        stderr: "pipe",
      });
      this.#child = child;
      void Promise.all([this.#pump(1, child.stdout), this.#pump(2, child.stderr), child.exited]).then(([, , code]) =>
        this.#ended(child.signalCode === null ? code : 137),
      );
    }
    this.#started();
  }

  kill(signal: string): void {
    this.#child?.kill(signal as NodeJS.Signals);
  }

  resize(rows: number, columns: number): void {
    this.#size = { rows, columns };
    if (this.#terminal !== undefined && !this.#terminal.closed) this.#terminal.resize(columns, rows);
  }

  attach(options: { input: boolean; replay: boolean }): StdioStream {
    const queue = new Queue<Output>();
    if (options.replay) for (const { stream, bytes } of this.log) void queue.push({ stream, bytes });
    if (this.exitCode === undefined) this.#readers.add(queue);
    else queue.close();
    return {
      terminal: this.terminal,
      output: queue,
      write: async (bytes) => {
        if (!options.input) return;
        await this.#running;
        if (this.#terminal !== undefined) {
          if (!this.#terminal.closed) this.#terminal.write(bytes);
          return;
        }
        const stdin = this.#child?.stdin;
        if (typeof stdin !== "object") return;
        stdin.write(bytes);
        await stdin.flush();
      },
      endInput: async () => {
        if (!options.input || this.terminal) return;
        await this.#running;
        const stdin = this.#child?.stdin;
        if (typeof stdin === "object") await stdin.end();
      },
      detach: () => {
        if (this.exitCode === undefined) this.detached++;
        this.#readers.delete(queue);
        queue.close();
      },
    };
  }

  async #pump(stream: 1 | 2, source: ReadableStream<Uint8Array>): Promise<void> {
    for await (const bytes of source) await this.#output(stream, bytes);
  }

  async #output(stream: 1 | 2, bytes: Uint8Array): Promise<void> {
    if (this.#logBytes < LOG_BYTES) {
      this.#logBytes += bytes.length;
      this.log.push({ stream, bytes, timeNanoseconds: BigInt(Date.now()) * 1_000_000n });
    }
    await Promise.all([...this.#readers].map((reader) => reader.push({ stream, bytes }, bytes.length)));
  }

  #ended(code: number): void {
    this.exitCode = code;
    for (const reader of this.#readers) reader.close();
    this.#readers.clear();
    if (this.#terminal !== undefined && !this.#terminal.closed) this.#terminal.close();
    this.#settle(code);
  }
}
