import type { LinkErrorCode } from "./operations.ts";

/** A failed call or channel. `code` decides what the engine makes of it; the message is for people. */
export class LinkError extends Error {
  override readonly name = "LinkError";
  constructor(
    readonly code: LinkErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

const CODES: ReadonlySet<string> = new Set<LinkErrorCode>([
  "not-found",
  "not-running",
  "not-executable",
  "not-a-directory",
  "permission",
  "no-space",
  "read-only",
  "invalid",
  "busy",
  "exists",
  "no-such-user",
  "bad-working-directory",
  "unsupported",
  "disconnected",
  "internal",
]);

/** The code as sent by a peer, or `internal` when it is none we know. */
export const linkErrorCode = (value: unknown): LinkErrorCode =>
  typeof value === "string" && CODES.has(value) ? (value as LinkErrorCode) : "internal";
