import { FormatError } from "../format-error";
import type { ByteReader } from "../stream/byte-reader";
import { decodeDecimal, decodeNumber } from "./fields";
import { type SparseExtent, TAR_BLOCK } from "./types";

/** Stretches that one sparse file may have: far above what GNU tar produces for real files. */
const MAX_EXTENTS = 65_536;

/** A sparse file: its map, its full length, and how many bytes of the archive its data takes. */
export interface SparseLayout {
  extents: SparseExtent[];
  realSize: number;
  storedSize: number;
}

const ENTRY = 24;
const EXTENSION_ENTRIES = 21;

/** Old GNU format (type `S`): four entries in the header, further ones in blocks that follow it. */
export async function readOldGnuMap(header: Uint8Array, reader: ByteReader, storedSize: number): Promise<SparseLayout> {
  const extents: SparseExtent[] = [];
  takeEntries(header.subarray(386, 386 + 4 * ENTRY), extents);
  const realSize = decodeNumber(header.subarray(483, 495), "sparse size");
  let more = header[482] !== 0;
  while (more) {
    const block = await reader.require(TAR_BLOCK);
    takeEntries(block.subarray(0, EXTENSION_ENTRIES * ENTRY), extents);
    more = block[EXTENSION_ENTRIES * ENTRY] !== 0;
  }
  return checked({ extents, realSize, storedSize });
}

function takeEntries(area: Uint8Array, extents: SparseExtent[]): void {
  for (let at = 0; at < area.length; at += ENTRY) {
    if (area[at] === 0) return;
    addExtent(extents, {
      offset: decodeNumber(area.subarray(at, at + 12), "sparse offset"),
      length: decodeNumber(area.subarray(at + 12, at + 24), "sparse length"),
    });
  }
}

/** Pax formats 0.0 and 0.1: a list of alternating offsets and lengths. */
export function mapFromNumbers(numbers: readonly string[], realSize: number, storedSize: number): SparseLayout {
  if (numbers.length % 2 !== 0) throw new FormatError("tar", "a sparse map has an odd number of values");
  const extents: SparseExtent[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    addExtent(extents, {
      offset: decodeDecimal(numbers[index] ?? "", "sparse offset"),
      length: decodeDecimal(numbers[index + 1] ?? "", "sparse length"),
    });
  }
  return checked({ extents, realSize, storedSize });
}

/** Pax format 1.0: the map is decimal lines at the start of the data, padded to whole blocks. */
export async function readPaxDataMap(reader: ByteReader, realSize: number, storedSize: number): Promise<SparseLayout> {
  const lines = new DecimalLines(reader, storedSize);
  const count = await lines.next();
  if (count > MAX_EXTENTS) throw tooManyExtents();
  const extents: SparseExtent[] = [];
  for (let index = 0; index < count; index++) {
    extents.push({ offset: await lines.next(), length: await lines.next() });
  }
  return checked({ extents, realSize, storedSize: storedSize - lines.consumed });
}

/** Takes decimal lines off a reader, block by block. */
class DecimalLines {
  consumed = 0;
  #text = "";

  constructor(
    readonly reader: ByteReader,
    readonly limit: number,
  ) {}

  async next(): Promise<number> {
    let end = this.#text.indexOf("\n");
    while (end < 0) {
      if (this.consumed + TAR_BLOCK > this.limit) throw new FormatError("tar", "a sparse map is cut short");
      this.#text += new TextDecoder("latin1").decode(await this.reader.require(TAR_BLOCK));
      this.consumed += TAR_BLOCK;
      end = this.#text.indexOf("\n");
    }
    const value = decodeDecimal(this.#text.slice(0, end), "value in a sparse map");
    this.#text = this.#text.slice(end + 1);
    return value;
  }
}

function addExtent(extents: SparseExtent[], extent: SparseExtent): void {
  if (extents.length >= MAX_EXTENTS) throw tooManyExtents();
  extents.push(extent);
}

function tooManyExtents(): FormatError {
  return new FormatError("tar", `a sparse file has more than ${MAX_EXTENTS} extents`);
}

/** A map must ascend without overlap, stay inside the file, and account for exactly the stored bytes. */
function checked(layout: SparseLayout): SparseLayout {
  let end = 0;
  let stored = 0;
  for (const { offset, length } of layout.extents) {
    if (offset < end || offset + length > layout.realSize) throw new FormatError("tar", "a sparse map is inconsistent");
    end = offset + length;
    stored += length;
  }
  if (stored !== layout.storedSize) throw new FormatError("tar", "a sparse map does not match the size of its data");
  return { ...layout, extents: layout.extents.filter(({ length }) => length > 0) };
}
