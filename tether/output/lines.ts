/** Longest log entry in bytes; a longer line is logged in pieces, as Docker does. */
export const ENTRY_LIMIT = 16 * 1024;
const NEWLINE = 10;

/** Cuts a byte stream into log entries: a line with its newline, or a piece of a longer one. */
export class LineSplitter {
  #pending: Uint8Array = new Uint8Array(0);

  /** Bytes of a line that has not ended yet. */
  get pending(): Uint8Array {
    return this.#pending;
  }

  push(bytes: Uint8Array): Uint8Array[] {
    const joined = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const entries: Uint8Array[] = [];
    let start = 0;
    while (start < joined.length) {
      const newline = joined.indexOf(NEWLINE, start);
      const end = newline === -1 ? joined.length : newline + 1;
      if (end - start > ENTRY_LIMIT) {
        entries.push(joined.subarray(start, start + ENTRY_LIMIT));
        start += ENTRY_LIMIT;
      } else if (newline === -1) {
        break;
      } else {
        entries.push(joined.subarray(start, end));
        start = end;
      }
    }
    this.#pending = joined.slice(start);
    return entries;
  }

  /** The rest at the end of the stream, if any. */
  finish(): Uint8Array | undefined {
    const rest = this.#pending;
    this.#pending = new Uint8Array(0);
    return rest.length === 0 ? undefined : rest;
  }
}
