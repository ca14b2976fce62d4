import { availableParallelism } from "node:os";
import { FormatError } from "../src/format/format-error";
import { type Compression, type Decompress, decompress } from "../src/format/stream/decompress";
import type { XzRecord } from "../src/format/stream/xz-container";
import { xzParts } from "../src/format/stream/xz-parts";

/** What a thread is given first: the compiled `lzma2.c`, where there is one. */
export interface InflateStart {
  decoder: Uint8Array<ArrayBuffer> | undefined;
}
/** What a thread is given then: an xz stream, and what it says that it holds. */
export interface InflateJob {
  packed: Uint8Array<ArrayBuffer>;
  plainSize: number;
  blocks: readonly XzRecord[];
}
export type InflateAnswer = { plain: Uint8Array<ArrayBuffer> } | { failure: string };

/** More threads do not help: the kernel package, the largest by far, has about five blocks. */
const MAX_THREADS = 4;
/** xz writes blocks of 24 MiB plain unless told otherwise. */
const MAX_PART = 32 * 1024 ** 2;

interface Waiting {
  job: InflateJob;
  done(plain: Uint8Array): void;
  failed(error: Error): void;
}

/**
 * Decompresses with all processors: xz, which Bun does not decode by itself and which takes most of a build's time, in
 * threads of its own, as far as a stream has several blocks.
 */
export class Inflater implements Disposable {
  readonly #size = Math.min(availableParallelism(), MAX_THREADS);
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Waiting>();
  readonly #waiting: Waiting[] = [];
  readonly #decoder: Uint8Array<ArrayBuffer> | undefined;
  readonly #maxPart: number;
  #isEnded = false;

  /**
   * @param decoder the compiled `lzma2.c`; without it, decoding takes longer
   * @param maxPart bytes, plain or packed, that one thread may hold; what is larger is decoded as a stream
   */
  constructor(decoder?: Uint8Array<ArrayBuffer>, maxPart = MAX_PART) {
    this.#decoder = decoder;
    this.#maxPart = maxPart;
  }

  /** As `decompress` of one thread, with the same answers. */
  readonly decompress: Decompress = (source: AsyncIterable<Uint8Array>, compression: Compression, limit: number) =>
    compression === "xz" ? this.#xz(source, limit) : decompress(source, compression, limit);

  /** Ends the threads. */
  [Symbol.dispose](): void {
    this.#isEnded = true;
    for (const worker of [...this.#idle, ...this.#busy.keys()]) worker.terminate();
    for (const { failed } of [...this.#busy.values(), ...this.#waiting]) failed(ended());
    this.#idle.length = 0;
    this.#busy.clear();
    this.#waiting.length = 0;
  }

  async *#xz(source: AsyncIterable<Uint8Array>, limit: number): AsyncGenerator<Uint8Array, void, undefined> {
    // They start while the first block is read.
    while (!this.#isEnded && this.#idle.length + this.#busy.size < this.#size) this.#idle.push(this.#start());
    const ahead: Promise<Uint8Array>[] = [];
    let total = 0;
    const counted = (length: number): void => {
      total += length;
      if (total > limit) throw new FormatError("xz", `the data inflates to more than ${limit} bytes`);
    };
    for await (const part of xzParts(source, this.#maxPart)) {
      if (part.kind === "whole") {
        counted(part.plainSize);
        const plain = this.#run({ packed: part.bytes, plainSize: part.plainSize, blocks: part.blocks });
        // Whoever waits for it hears of a failure; until then it is not one that nobody handles.
        plain.catch(() => undefined);
        ahead.push(plain);
        const first = ahead.length > this.#size ? ahead.shift() : undefined;
        if (first !== undefined) yield await first;
        continue;
      }
      for (let first = ahead.shift(); first !== undefined; first = ahead.shift()) yield await first;
      for await (const chunk of decompress(part.pieces, "xz", limit - total)) {
        counted(chunk.length);
        yield chunk;
      }
    }
    for (let first = ahead.shift(); first !== undefined; first = ahead.shift()) yield await first;
  }

  #run(job: InflateJob): Promise<Uint8Array> {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    if (this.#isEnded) reject(ended());
    else this.#waiting.push({ job, done: resolve, failed: reject });
    this.#next();
    return promise;
  }

  #next(): void {
    const waiting = this.#waiting[0];
    if (waiting === undefined) return;
    const worker = this.#idle.pop() ?? (this.#busy.size < this.#size ? this.#start() : undefined);
    if (worker === undefined) return;
    this.#waiting.shift();
    this.#busy.set(worker, waiting);
    worker.postMessage(waiting.job, [waiting.job.packed.buffer]);
  }

  #start(): Worker {
    const worker = new Worker(workerLocation());
    worker.onmessage = ({ data }: MessageEvent<InflateAnswer>) => {
      const waiting = this.#busy.get(worker);
      this.#busy.delete(worker);
      this.#idle.push(worker);
      if ("plain" in data) waiting?.done(data.plain);
      else waiting?.failed(new FormatError("xz", data.failure));
      this.#next();
    };
    worker.onerror = ({ message }) => {
      const waiting = this.#busy.get(worker);
      this.#busy.delete(worker);
      worker.terminate();
      waiting?.failed(new Error(`a thread that decompresses ended: ${message}`));
      this.#next();
    };
    worker.postMessage({ decoder: this.#decoder } satisfies InflateStart);
    return worker;
  }
}

const ended = (): Error => new Error("decompressing was ended");

/** In the compiled program, entry points lie below its root as they do in the source tree. */
function workerLocation(): string {
  const isCompiled = import.meta.url.startsWith("file:///$bunfs/");
  return new URL(isCompiled ? "/$bunfs/root/iso-builder/inflate-worker.js" : "./inflate-worker.ts", import.meta.url)
    .href;
}
