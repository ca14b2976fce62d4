import { closeSync, openSync, readSync } from "node:fs";
import { ENTRY_LIMIT } from "./lines.ts";
import { type LogPosition, logFileNumbers, logFilePath } from "./log-file.ts";
import { type LogRecord, RECORD_HEADER_LENGTH } from "./log-record.ts";

const READ_LENGTH = 256 * 1024;

/**
 * Records of one file from `start` up to `end` (or the end of the file). Stops at a record that was cut off by a power
 * failure or is damaged: nothing behind it can be trusted.
 */
function* readFile(path: string, start: number, end = Number.POSITIVE_INFINITY): Generator<LogRecord> {
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

/** Records between two positions (default: all that there are), oldest first. */
export function* readRecords(directory: string, from?: LogPosition, to?: LogPosition): Generator<LogRecord> {
  for (const number of logFileNumbers(directory)) {
    if (from !== undefined && number < from.file) continue;
    if (to !== undefined && number > to.file) return;
    const start = number === from?.file ? from.offset : 0;
    yield* readFile(logFilePath(directory, number), start, number === to?.file ? to.offset : undefined);
  }
}

export interface LogQuery {
  since?: bigint;
  until?: bigint;
  stdout: boolean;
  stderr: boolean;
}

export const matches = (record: LogRecord, query: LogQuery): boolean =>
  (record.stream === 1 ? query.stdout : query.stderr) &&
  (query.since === undefined || record.nanoseconds >= query.since) &&
  (query.until === undefined || record.nanoseconds <= query.until);

const endsLine = (record: LogRecord): boolean => record.bytes.at(-1) === 10;

/**
 * The records of the last `tail` lines (all for a negative number). Two passes over the files, so that nothing but one
 * read buffer is in memory however long the log is.
 */
export function* tailRecords(directory: string, tail: number, query: LogQuery, to: LogPosition): Generator<LogRecord> {
  let skip = 0;
  if (tail >= 0) {
    let lines = 0;
    let open = false;
    for (const record of readRecords(directory, undefined, to)) {
      if (!matches(record, query)) continue;
      open = !endsLine(record);
      if (!open) lines++;
    }
    skip = Math.max(0, lines + (open ? 1 : 0) - tail);
  }
  if (tail === 0) return;
  for (const record of readRecords(directory, undefined, to)) {
    if (!matches(record, query)) continue;
    if (skip === 0) yield record;
    else if (endsLine(record)) skip--;
  }
}
