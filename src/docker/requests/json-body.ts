/** JSON request bodies: bounded in size and time, and checked against the shape the API document gives them. */
import { invalid } from "../../engine/errors.ts";
import type { ApiContext } from "../environment.ts";
import { ProtocolError } from "../http/protocol-error.ts";
import { conform } from "./conform.ts";
import { type RequestSchemaName, requestSchemas } from "./request-schemas.generated.ts";

/** Far above the largest create body a real client sends; configs and environment included. */
export const MAX_JSON_BODY_BYTES = 4 * 1024 * 1024;
/** Milliseconds from the first read to the last byte. */
export const JSON_BODY_TIMEOUT_MS = 30_000;

/** The body as `T`, which the named schema describes. Throws `invalid` naming the field that is wrong. */
export async function jsonBody<T>(c: ApiContext, schema: RequestSchemaName, absent?: T): Promise<T> {
  const bytes = await boundedBody(c);
  if (bytes.length === 0) {
    if (absent !== undefined) return absent;
    throw invalid("invalid JSON: got EOF while reading request body");
  }
  const type = (c.req.header("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw invalid(`unsupported Content-Type header (${type ?? ""}): must be 'application/json'`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalid(`invalid JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  // The API document is the source of both T and the schema that was just enforced.
  return conform(value, requestSchemas[schema], "") as T;
}

/** The whole body. Throws ProtocolError 413 when it is longer than a JSON document may be, 408 when it takes too long. */
async function boundedBody(c: ApiContext): Promise<Uint8Array> {
  const stream = c.req.raw.body;
  if (stream === null) return new Uint8Array(0);
  const tooLong = new ProtocolError(413, `request body too large: the limit is ${MAX_JSON_BODY_BYTES} bytes`);
  if (Number(c.req.header("content-length") ?? 0) > MAX_JSON_BODY_BYTES) throw tooLong;
  const reader = stream.getReader();
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new ProtocolError(408, "the request body did not arrive in time")),
      JSON_BODY_TIMEOUT_MS,
    );
  });
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) return Buffer.concat(chunks, size);
      size += value.length;
      if (size > MAX_JSON_BODY_BYTES) throw tooLong;
      chunks.push(value);
    }
  } finally {
    clearTimeout(timer);
  }
}
