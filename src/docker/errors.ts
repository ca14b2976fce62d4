/** The one place where an error becomes an HTTP status and Docker's error body. */
import { EngineError, type EngineErrorKind } from "../engine/errors.ts";
import { ConnectionLost } from "./http/byte-reader.ts";
import { ProtocolError } from "./http/protocol-error.ts";

const STATUS: Record<EngineErrorKind, number> = {
  "not-found": 404,
  conflict: 409,
  invalid: 400,
  "not-modified": 304,
  unauthorized: 401,
  forbidden: 403,
  "not-implemented": 501,
  unavailable: 503,
  internal: 500,
};

export function statusOf(error: unknown): number {
  if (error instanceof EngineError) return STATUS[error.kind];
  if (error instanceof ProtocolError) return error.status;
  if (error instanceof ConnectionLost) return 400;
  return 500;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function errorResponse(error: unknown): Response {
  const status = statusOf(error);
  if (status === 304) return new Response(null, { status });
  return new Response(`${JSON.stringify({ message: messageOf(error) })}\n`, {
    status,
    headers: { "content-type": "application/json" },
  });
}
