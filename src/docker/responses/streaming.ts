/** Responses whose body is produced bit by bit, at the reader's pace. */

const encoder = new TextEncoder();

/**
 * A 200 answer from chunks. The generator advances only when the client takes more; it is returned (its `finally` runs)
 * when the client leaves.
 */
export function streamed(chunks: AsyncIterable<Uint8Array>, headers: Record<string, string>): Response {
  const iterator = chunks[Symbol.asyncIterator]();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await iterator.next();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
  return streamedBody(body, headers);
}

export function streamedBody(body: ReadableStream<Uint8Array>, headers: Record<string, string>): Response {
  return new Response(body, { status: 200, headers: { ...headers, "transfer-encoding": "chunked" } });
}

export function jsonLine(value: unknown): Uint8Array {
  return encoder.encode(`${JSON.stringify(value)}\n`);
}
