/** Requests to the endpoint's own Docker API over its unix socket, for commands such as `vch status`. */
import type { StatePaths } from "./paths.ts";

/** How long the endpoint may take to answer a small request. */
const REQUEST_TIMEOUT_MILLISECONDS = 30_000;

/** A JSON answer of the endpoint; throws with the endpoint's message when it is not a success. */
export async function dockerGet<T>(paths: StatePaths, path: string): Promise<T> {
  const response = await fetch(`http://localhost${path}`, {
    unix: paths.socket,
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MILLISECONDS),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`The endpoint answered ${response.status} to GET ${path}: ${text.slice(0, 500)}`);
  return JSON.parse(text) as T;
}

/** POST with a streamed body; resolves with the whole (bounded) answer text. */
export async function dockerPost(paths: StatePaths, path: string, body: AsyncIterable<Uint8Array>): Promise<string> {
  const response = await fetch(`http://localhost${path}`, { method: "POST", unix: paths.socket, body: streamOf(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`The endpoint answered ${response.status} to POST ${path}: ${text.slice(0, 500)}`);
  return text;
}

/** A back-pressured stream over any chunks. */
function streamOf(chunks: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: async () => {
      await iterator.return?.();
    },
  });
}
