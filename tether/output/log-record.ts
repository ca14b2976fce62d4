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
