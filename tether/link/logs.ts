import type { Channel } from "../../src/link/contract.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { Streams } from "../../src/link/operations.ts";
import type { OutputHub } from "../output/hub.ts";
import { logFileNumbers } from "../output/log-file.ts";
import { type LogQuery, matches, tailRecords } from "../output/log-reader.ts";
import { encodeRecord, type LogRecord } from "../output/log-record.ts";

const STDOUT = 1;
/** Records are sent in batches of about this many bytes. */
const BATCH = 64 * 1024;
/** Bytes of records that a follower may lag behind before its stream is ended. */
const FOLLOW_LIMIT = 16 * 1024 * 1024;

const nanoseconds = (text: string | undefined): bigint | undefined => {
  if (text === undefined) return undefined;
  if (!/^\d{1,20}$/.test(text)) throw new LinkError("invalid", "since and until are nanoseconds in decimal");
  return BigInt(text);
};

/** Sends the records that the request asks for. `hub` is there when the container is running here, for `follow`. */
export const sendLogs = async (
  directory: string,
  hub: OutputHub | undefined,
  request: Streams["logs"]["request"],
  channel: Channel,
): Promise<void> => {
  const { stdout, stderr } = request;
  const query: LogQuery = { stdout, stderr, since: nanoseconds(request.since), until: nanoseconds(request.until) };
  const queue: LogRecord[] = [];
  let queued = 0;
  let overrun = false;
  let wake: () => void = () => undefined;
  // From here on nothing is missed: what is written later goes to the follower, what was before is below `end`.
  const end = hub?.log.position ?? { file: logFileNumbers(directory).at(-1) ?? 0, offset: Number.MAX_SAFE_INTEGER };
  const unfollow = request.follow
    ? hub?.follow((records) => {
        for (const record of records) {
          if (!matches(record, query)) continue;
          queue.push({ ...record, bytes: record.bytes.slice() });
          queued += record.bytes.length;
        }
        if (queued > FOLLOW_LIMIT) overrun = true;
        wake();
      })
    : undefined;
  let closed = false;
  void channel.closed.then(() => {
    closed = true;
    wake();
  });
  try {
    await sendBatches(tailRecords(directory, request.tail, query, end), channel);
    while (unfollow !== undefined && !closed) {
      if (overrun) throw new LinkError("busy", "the reader of the log is too slow to follow it");
      const records = queue.splice(0);
      queued = 0;
      if (records.length > 0) {
        await sendBatches(records, channel);
      } else {
        if (query.until !== undefined && BigInt(Date.now()) * 1_000_000n > query.until) break;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    if (!closed) await channel.end(STDOUT);
  } finally {
    unfollow?.();
  }
};

const sendBatches = async (records: Iterable<LogRecord>, channel: Channel): Promise<void> => {
  let batch: Uint8Array[] = [];
  let length = 0;
  for (const record of records) {
    const bytes = encodeRecord(record);
    batch.push(bytes);
    length += bytes.length;
    if (length < BATCH) continue;
    await channel.send(STDOUT, Buffer.concat(batch));
    batch = [];
    length = 0;
  }
  if (length > 0) await channel.send(STDOUT, Buffer.concat(batch));
};
