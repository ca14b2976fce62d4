/** Log records as they cross the control link: u8 stream, u64 nanoseconds, u32 length (big endian), bytes. */
import type { Channel } from "../../link/contract.ts";
import { STREAM } from "../../link/operations.ts";
import type { LogEntry } from "../contract.ts";
import { EngineError } from "../errors.ts";

const HEADER = 13;
/** A record longer than this comes from a damaged log or a hostile guest. */
const RECORD_LIMIT = 1024 * 1024;

/** Splits a byte stream into records. */
export class LogRecordReader {
  #pending: Uint8Array = new Uint8Array(0);

  *push(bytes: Uint8Array): Generator<LogEntry> {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    let offset = 0;
    const view = new DataView(this.#pending.buffer, this.#pending.byteOffset, this.#pending.byteLength);
    while (this.#pending.length - offset >= HEADER) {
      const stream = view.getUint8(offset);
      const length = view.getUint32(offset + 9);
      if ((stream !== 1 && stream !== 2) || length > RECORD_LIMIT)
        throw new EngineError("internal", "the guest sent a damaged log record");
      if (this.#pending.length - offset < HEADER + length) break;
      yield {
        stream,
        timeNanoseconds: view.getBigUint64(offset + 1),
        bytes: this.#pending.slice(offset + HEADER, offset + HEADER + length),
      };
      offset += HEADER + length;
    }
    this.#pending = this.#pending.slice(offset);
  }
}

/** The records of a `logs` channel, until it ends. Closes the channel when the consumer stops. */
export async function* readLogRecords(channel: Channel): AsyncGenerator<LogEntry> {
  const reader = new LogRecordReader();
  try {
    for await (const message of channel)
      if (message.kind === "data" && message.stream === STREAM.stdout) yield* reader.push(message.bytes);
  } finally {
    channel.close();
  }
}
