import { type LogPosition, logFileNumbers, logFilePath } from "./log-file.ts";
import { type LogRecord, readLogFile } from "./log-record.ts";

/** Records between two positions (default: all that there are), oldest first. */
export function* readRecords(directory: string, from?: LogPosition, to?: LogPosition): Generator<LogRecord> {
  for (const number of logFileNumbers(directory)) {
    if (from !== undefined && number < from.file) continue;
    if (to !== undefined && number > to.file) return;
    const start = number === from?.file ? from.offset : 0;
    yield* readLogFile(logFilePath(directory, number), start, number === to?.file ? to.offset : undefined);
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
