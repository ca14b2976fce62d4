import { bothEndian16, bothEndian32, shortTime } from "./fields";
import { CONTINUATION_ENTRY, continuation } from "./rock-ridge";
import { ISO_BLOCK } from "./tree";

/** A directory record's length is one byte and even. */
const MAX_RECORD = 254;

/** Blocks that hold what does not fit into directory records. Addresses are relative to its first block. */
export class ContinuationArea {
  readonly #pieces: Uint8Array[] = [];
  #length = 0;

  /** Length in whole blocks. */
  get blocks(): number {
    return Math.ceil(this.#length / ISO_BLOCK);
  }

  /** Room for `length` bytes inside one block; the content is set when the area's own address is known. */
  reserve(length: number): { block: number; offset: number; fill(content: Uint8Array): void } {
    const left = ISO_BLOCK - (this.#length % ISO_BLOCK);
    if (left < length) this.#append(left);
    const at = this.#length;
    const piece = this.#append(length);
    return { block: Math.floor(at / ISO_BLOCK), offset: at % ISO_BLOCK, fill: (content) => piece.set(content) };
  }

  content(): Uint8Array {
    return Buffer.concat([...this.#pieces, new Uint8Array(this.blocks * ISO_BLOCK - this.#length)]);
  }

  #append(length: number): Uint8Array {
    const piece = new Uint8Array(length);
    this.#pieces.push(piece);
    this.#length += length;
    return piece;
  }
}

/** A directory record whose length is fixed, and whose addresses are filled in later. */
export interface PlannedRecord {
  length: number;
  /** @param continuationBase first block of the continuation area */
  encode(extent: { block: number; size: number }, continuationBase: number): Uint8Array;
}

/**
 * Plans a directory record (ECMA-119 §9.1) with its system use entries, of which those that do not fit go to the
 * continuation area, in a chain of places if they need more than a block.
 */
export function planRecord(
  identifier: Uint8Array,
  isDirectory: boolean,
  seconds: number,
  systemUse: readonly Uint8Array[],
  area: ContinuationArea,
): PlannedRecord {
  const base = 33 + identifier.length + (identifier.length % 2 === 0 ? 1 : 0);
  const plan = planEntries(systemUse, MAX_RECORD - base, area);
  const length = base + plan.length + (plan.length % 2);
  return {
    length,
    encode({ block, size }, continuationBase) {
      const record = new Uint8Array(length);
      record[0] = length;
      record.set(bothEndian32(block), 2);
      record.set(bothEndian32(size), 10);
      record.set(shortTime(seconds), 18);
      record[25] = isDirectory ? 2 : 0;
      record.set(bothEndian16(1), 28);
      record[32] = identifier.length;
      record.set(identifier, 33);
      record.set(plan.encode(continuationBase), base);
      return record;
    },
  };
}

interface PlannedEntries {
  length: number;
  encode(continuationBase: number): Uint8Array;
}

function planEntries(entries: readonly Uint8Array[], room: number, area: ContinuationArea): PlannedEntries {
  const total = entries.reduce((sum, { length }) => sum + length, 0);
  if (total <= room) return { length: total, encode: () => Buffer.concat(entries) };
  let used = 0;
  let count = 0;
  for (const { length } of entries) {
    if (used + length > room - CONTINUATION_ENTRY) break;
    used += length;
    count++;
  }
  const here = entries.slice(0, count);
  const rest = planEntries(entries.slice(count), ISO_BLOCK, area);
  const place = area.reserve(rest.length);
  return {
    length: used + CONTINUATION_ENTRY,
    encode(continuationBase) {
      place.fill(rest.encode(continuationBase));
      return Buffer.concat([...here, continuation(continuationBase + place.block, place.offset, rest.length)]);
    },
  };
}
