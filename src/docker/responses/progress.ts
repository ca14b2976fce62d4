/** Pull, load and import: progress as one JSON document per line, and an error after the first line as a line too. */
import type { ProgressMessage, ProgressSink } from "../../engine/contract.ts";
import { messageOf, statusOf } from "../errors.ts";
import { jsonLine, streamed } from "./streaming.ts";

/**
 * Progress lines that wait for a slow client. Past it the oldest counter update of a layer gives way; other lines are
 * never dropped, and the engine sends a bounded number of those.
 */
const MAX_WAITING_LINES = 1024;

/**
 * Runs `work` and answers with its progress. When it fails before its first line, the error is thrown, so that the
 * client gets a proper status.
 */
export async function progressResponse(
  work: (progress: ProgressSink, signal: AbortSignal) => Promise<void>,
  clientGone: AbortSignal,
): Promise<Response> {
  const waiting: ProgressMessage[] = [];
  const left = new AbortController();
  let wake: () => void = () => undefined;
  let ended = false;
  let begun = false;
  let begin: () => void = () => undefined;
  const first = new Promise<void>((resolve) => {
    begin = resolve;
  });

  const progress: ProgressSink = (message) => {
    if (waiting.length >= MAX_WAITING_LINES) {
      const counter = waiting.findIndex((line) => line.progressDetail?.current !== undefined);
      if (counter !== -1) waiting.splice(counter, 1);
    }
    waiting.push(message);
    begun = true;
    begin();
    wake();
  };
  const running = work(progress, AbortSignal.any([clientGone, left.signal])).then(
    () => {
      ended = true;
      wake();
    },
    (error: unknown) => {
      ended = true;
      if (!begun) throw error;
      progress(errorLine(error));
    },
  );
  await Promise.race([running, first]);
  // From here on a failure is already turned into a line.
  running.catch(() => undefined);

  async function* lines(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        for (let message = waiting.shift(); message !== undefined; message = waiting.shift()) yield jsonLine(message);
        if (ended) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      left.abort();
    }
  }
  return streamed(lines(), { "content-type": "application/json" });
}

export function errorLine(error: unknown): ProgressMessage & { errorDetail: { code?: number; message: string } } {
  const message = messageOf(error);
  const status = statusOf(error);
  return { errorDetail: status === 401 ? { code: status, message } : { message }, error: message };
}
