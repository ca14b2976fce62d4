/** A build's output: JSON lines at the pace of the client, and an error as the last line once there was a first one. */
import type { ProgressMessage } from "../../engine/contract.ts";
import { CommandFailed } from "../../engine/errors.ts";
import { errorLine } from "./progress.ts";
import { jsonLine, streamed } from "./streaming.ts";

/** Lines that wait for the client; what a command writes beyond them waits in its container. */
const MAX_WAITING_LINES = 256;

type Work = (progress: (message: ProgressMessage) => Promise<void>, signal: AbortSignal) => Promise<void>;

/** When the work fails before its first line, the error is thrown, so that the client gets a proper status. */
export async function buildResponse(work: Work, clientGone: AbortSignal): Promise<Response> {
  const lines = new LineQueue();
  const left = new AbortController();
  const running = work((message) => lines.add(message), AbortSignal.any([clientGone, left.signal])).then(
    () => lines.end(),
    (error: unknown) => {
      if (!lines.begun) throw error;
      void lines.add(lastLine(error));
      lines.end();
    },
  );
  await Promise.race([running, lines.first]);
  // From here on a failure is already turned into a line.
  running.catch(() => undefined);
  async function* read(): AsyncGenerator<Uint8Array> {
    try {
      for await (const message of lines.read()) yield jsonLine(message);
    } finally {
      left.abort();
      lines.end();
    }
  }
  return streamed(read(), { "content-type": "application/json" });
}

/** The CLI ends with the code of the command that failed. */
function lastLine(error: unknown): ProgressMessage {
  const line = errorLine(error);
  if (!(error instanceof CommandFailed)) return line;
  return { ...line, errorDetail: { code: error.exitCode, message: error.message } } as ProgressMessage;
}

class LineQueue {
  readonly first: Promise<void>;
  begun = false;
  readonly #waiting: ProgressMessage[] = [];
  #begin: () => void = () => undefined;
  #ended = false;
  #wakeReader: () => void = () => undefined;
  #writers: (() => void)[] = [];

  constructor() {
    this.first = new Promise((resolve) => {
      this.#begin = resolve;
    });
  }

  /** Resolves when there is room for more, or nobody reads any longer. */
  async add(message: ProgressMessage): Promise<void> {
    if (!this.#ended) this.#waiting.push(message);
    this.begun = true;
    this.#begin();
    this.#wakeReader();
    if (this.#waiting.length >= MAX_WAITING_LINES && !this.#ended)
      await new Promise<void>((resolve) => this.#writers.push(resolve));
  }

  end(): void {
    this.#ended = true;
    this.#wakeReader();
    this.#wakeWriters();
  }

  async *read(): AsyncGenerator<ProgressMessage> {
    for (;;) {
      for (let message = this.#waiting.shift(); message !== undefined; message = this.#waiting.shift()) {
        this.#wakeWriters();
        yield message;
      }
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
    }
  }

  #wakeWriters(): void {
    if (this.#waiting.length >= MAX_WAITING_LINES && !this.#ended) return;
    for (const wake of this.#writers.splice(0)) wake();
  }
}
