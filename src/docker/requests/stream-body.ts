import type { ApiContext } from "../environment.ts";

/** The request body as it arrives; an empty stream when there is none. */
export function requestStream(c: ApiContext): ReadableStream<Uint8Array> {
  return c.req.raw.body ?? new Blob([]).stream();
}
