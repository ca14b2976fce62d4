import { closeSync, openSync, readSync } from "node:fs";
import { ENTRY_LIMIT } from "./lines.ts";

/** A log record on disk and on the link: u8 stream, u64 nanoseconds since the epoch, u32 length (big endian), bytes. */
export const RECORD_HEADER_LENGTH = 13;

export interface LogRecord {
  stream: number;
  nanoseconds: bigint;
  bytes: Uint8Array;
}

export const encodeRecord = ({ stream, nanoseconds, bytes }: LogRecord): Uint8Array => {
  const record = new Uint8Array(RECORD_HEADER_LENGTH + bytes.length);
  const view = new DataView(record.buffer);
  view.setUint8(0, stream);
  view.setBigUint64(1, nanoseconds);
  view.setUint32(9, bytes.length);
  record.set(bytes, RECORD_HEADER_LENGTH);
  return record;
};

/** Nanoseconds since the epoch; strictly growing, so that records keep their order when sorted by time. */
export const logClock = (): (() => bigint) => {
  let last = 0n;
  return () => {
    const now = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
    last = now > last ? now : last + 1n;
    return last;
  };
};

const READ_LENGTH = 256 * 1024;

/**
 * Records of one file from `start` up to `end` (or the end of the file). Stops at a record that was cut off by a power
 * failure or is damaged: nothing behind it can be trusted.
 */
export function* readLogFile(path: string, start: number, end = Number.POSITIVE_INFINITY): Generator<LogRecord> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    // Rotated away since it was listed.
    return;
  }
  try {
    let buffer = Buffer.alloc(0);
    let offset = start;
    for (;;) {
      const chunk = Buffer.alloc(Math.min(READ_LENGTH, end - offset));
      const count = chunk.length === 0 ? 0 : readSync(fd, chunk, 0, chunk.length, offset);
      if (count === 0) return;
      offset += count;
      buffer = Buffer.concat([buffer, chunk.subarray(0, count)]);
      let at = 0;
      while (at + RECORD_HEADER_LENGTH <= buffer.length) {
        const stream = buffer[at];
        const length = buffer.readUInt32BE(at + 9);
        if ((stream !== 1 && stream !== 2) || length > ENTRY_LIMIT) return;
        const next = at + RECORD_HEADER_LENGTH + length;
        if (next > buffer.length) break;
        yield { stream, nanoseconds: buffer.readBigUInt64BE(at + 1), bytes: buffer.subarray(next - length, next) };
        at = next;
      }
      buffer = buffer.subarray(at);
    }
  } finally {
    closeSync(fd);
  }
}
