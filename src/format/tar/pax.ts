import { FormatError } from "../format-error";
import { decodeText } from "./fields";

const encoder = new TextEncoder();
const SPACE = 0x20;
const EQUALS = 0x3d;
const NEWLINE = 0x0a;
/** Digits of a record's length that we read at most: a record is bounded by the size of its header anyway. */
const MAX_LENGTH_DIGITS = 8;

/** One `key=value` record. Values are bytes: extended attributes hold anything. */
export interface PaxRecord {
  key: string;
  value: Uint8Array;
}

/** The records of a pax extended header (`LENGTH KEY=VALUE\n`, LENGTH counting itself), in their order. */
export function decodePaxRecords(data: Uint8Array): PaxRecord[] {
  const records: PaxRecord[] = [];
  for (let start = 0; start < data.length; ) {
    // Some writers pad the last block into the size.
    if (data[start] === 0) break;
    const space = data.indexOf(SPACE, start);
    const digits =
      space < 0 ? "" : new TextDecoder().decode(data.subarray(start, Math.min(space, start + MAX_LENGTH_DIGITS + 1)));
    const length = /^[0-9]+$/.test(digits) && digits.length <= MAX_LENGTH_DIGITS ? Number(digits) : 0;
    const end = start + length;
    const equals = data.indexOf(EQUALS, space + 1);
    if (end > data.length || equals < 0 || equals >= end - 1 || data[end - 1] !== NEWLINE || equals === space + 1) {
      throw new FormatError("tar", "a pax header is malformed");
    }
    records.push({ key: decodeText(data.subarray(space + 1, equals)).text, value: data.subarray(equals + 1, end - 1) });
    start = end;
  }
  return records;
}

/** The content of a pax extended header, records in the given order. */
export function encodePaxRecords(records: Iterable<readonly [key: string, value: string | Uint8Array]>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [key, value] of records) {
    const valueBytes = typeof value === "string" ? encoder.encode(value) : value;
    const keyBytes = encoder.encode(key);
    if (key === "" || key.includes("=")) throw new FormatError("tar", `"${key}" cannot be the name of a pax record`);
    const length = recordLength(keyBytes.length + valueBytes.length + 3);
    parts.push(encoder.encode(`${length} `), keyBytes, encoder.encode("="), valueBytes, encoder.encode("\n"));
  }
  return Buffer.concat(parts);
}

/** Length of a whole record whose parts other than the length digits (and they alone) take `rest` bytes. */
function recordLength(rest: number): number {
  let length = rest + 1;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return length;
}
