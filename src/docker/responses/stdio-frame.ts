/**
 * Docker's multiplexed stream: each piece of output behind an 8-byte header of stream (1 stdout, 2 stderr), three zero
 * bytes and the big-endian length.
 */
export const FRAME_HEADER_BYTES = 8;

export const RAW_STREAM = "application/vnd.docker.raw-stream";
export const MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream";

/** First API version that names multiplexed output as such. */
const NAMED_MULTIPLEXED_SINCE = 42;

export function stdioFrame(stream: 1 | 2, ...parts: Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
  frame.writeUInt32BE(stream << 24, 0);
  frame.writeUInt32BE(length, 4);
  let at = FRAME_HEADER_BYTES;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

export function stdioContentType(terminal: boolean, apiVersion: number): string {
  return !terminal && apiVersion >= NAMED_MULTIPLEXED_SINCE ? MULTIPLEXED_STREAM : RAW_STREAM;
}
