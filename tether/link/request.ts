import type { Channel } from "../../src/link/contract.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { Calls, LinkErrorCode, Streams } from "../../src/link/operations.ts";
import { answerCall } from "../../src/link/session.ts";
import { ProcessStartError } from "../process/start-error.ts";
import { ERRNO, SystemError } from "../system/libc.ts";

/** A call without an answer is served by a function that returns nothing. */
type Answer<T> = [T] extends [undefined] ? Promise<void> | void : Promise<T> | T;
export type CallHandlers = {
  [K in keyof Calls]?: (request: Calls[K]["request"]) => Answer<Calls[K]["response"]>;
};
/** A stream's handler sends and receives on the channel; it is closed for it when the handler returns or throws. */
export type StreamHandlers = {
  [K in keyof Streams]?: (request: Streams[K]["request"], channel: Channel) => Promise<void>;
};

const ERRNO_CODES: Record<number, LinkErrorCode> = {
  [ERRNO.ENOENT]: "not-found",
  [ERRNO.ENOTDIR]: "not-a-directory",
  [ERRNO.EACCES]: "permission",
  [ERRNO.EPERM]: "permission",
  [ERRNO.ENOSPC]: "no-space",
  [ERRNO.EROFS]: "read-only",
  [ERRNO.EBUSY]: "busy",
  [ERRNO.EEXIST]: "exists",
  [ERRNO.EINVAL]: "invalid",
  [ERRNO.EOPNOTSUPP]: "unsupported",
};
const START_CODES: Partial<Record<ProcessStartError["failure"], LinkErrorCode>> = {
  "not-found": "not-found",
  "not-executable": "not-executable",
  "bad-working-directory": "bad-working-directory",
  "no-such-user": "no-such-user",
  "no-such-group": "no-such-user",
  "not-running": "not-running",
};

/** What went wrong, as code and text for the engine. */
export const linkFailure = (error: unknown): { code: LinkErrorCode; message: string } => {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof LinkError) return { code: error.code, message };
  if (error instanceof ProcessStartError) return { code: START_CODES[error.failure] ?? "internal", message };
  if (error instanceof SystemError) return { code: ERRNO_CODES[error.errno] ?? "internal", message };
  if (error instanceof Error && error.name === "FormatError") return { code: "invalid", message };
  const errno = error instanceof Error && "errno" in error ? Math.abs(Number(error.errno)) : 0;
  return { code: ERRNO_CODES[errno] ?? "internal", message };
};

/** Serves one channel that the engine opened. Never rejects. */
export const serveChannel = async (channel: Channel, calls: CallHandlers, streams: StreamHandlers): Promise<void> => {
  const { op } = channel.request;
  try {
    if (Object.hasOwn(calls, op)) {
      const handler = calls[op as keyof Calls] as (request: unknown) => unknown;
      await answerCall(channel, await handler(channel.request));
    } else if (Object.hasOwn(streams, op)) {
      const handler = streams[op as keyof Streams] as (request: unknown, channel: Channel) => Promise<void>;
      await handler(channel.request, channel);
      channel.close();
    } else {
      throw new LinkError("unsupported", `this VM does not serve "${op}"`);
    }
  } catch (error) {
    channel.close(linkFailure(error));
  }
};

/** The bytes of the stdin stream, up to its end. Throws when the channel ends before. */
export async function* inputBytes(channel: Channel): AsyncGenerator<Uint8Array> {
  for await (const message of channel) {
    if (message.kind === "data" && message.stream === 0) yield message.bytes;
    if (message.kind === "end" && message.stream === 0) return;
  }
  throw new LinkError("disconnected", "the input ended early");
}
