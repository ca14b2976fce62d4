import { FormatError } from "../format-error";
import type { ByteReader } from "./byte-reader";

/**
 * The container around LZMA2 data: what is needed to take a stream apart into its blocks and to put blocks into a stream
 * again, without decoding them. Facts: "The .xz File Format" 1.2.1.
 */

const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const FOOTER_MAGIC = [0x59, 0x5a];
/** Length of a stream's header, and of its footer. */
export const XZ_HEADER = 12;
const MAX_NUMBER_BYTES = 7;
/** Lengths of the checks, by their number. */
const checkLengths = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

/** Length of a check that a stream's header names. */
export const xzCheckLength = (check: number): number => checkLengths[check] ?? 0;

/** A block's sizes as the index has them: of its header, data and check without padding, and of the plain data. */
export interface XzRecord {
  stored: number;
  plain: number;
}

/** A stream's header. */
export function xzHeader(check: number): Uint8Array {
  const header = Uint8Array.from([...HEADER_MAGIC, 0, check, 0, 0, 0, 0]);
  new DataView(header.buffer).setUint32(8, Bun.hash.crc32(header.subarray(6, 8)), true);
  return header;
}

/** The number of the check that a stream's header names. @throws FormatError when it is no header */
export function xzCheckOf(header: Uint8Array): number {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const isHeader = HEADER_MAGIC.every((byte, index) => header[index] === byte);
  if (!isHeader || view.getUint32(8, true) !== Bun.hash.crc32(header.subarray(6, 8)))
    throw new FormatError("xz", "this is not an xz stream");
  const check = header[7] ?? 0;
  if (header[6] !== 0 || check > 15) throw new FormatError("xz", "the stream is of an unknown kind");
  return check;
}

/** The index and the footer of a stream with these blocks. */
export function xzEnd(check: number, records: readonly XzRecord[]): Uint8Array {
  const content = [0, ...encoded(records.length)];
  for (const { stored, plain } of records) content.push(...encoded(stored), ...encoded(plain));
  const index = Math.ceil(content.length / 4) * 4 + 4;
  const end = new Uint8Array(index + XZ_HEADER);
  end.set(content);
  const view = new DataView(end.buffer);
  view.setUint32(index - 4, Bun.hash.crc32(end.subarray(0, index - 4)), true);
  view.setUint32(index + 4, index / 4 - 1, true);
  end[index + 9] = check;
  view.setUint32(index, Bun.hash.crc32(end.subarray(index + 4, index + 10)), true);
  end.set(FOOTER_MAGIC, index + 10);
  return end;
}

/** Some bytes of a block, and how much plain data they say that they hold. */
export interface XzPiece {
  bytes: Uint8Array;
  plain: number;
}

/**
 * A block in pieces: header, LZMA2 chunks and padding, without its check, which is skipped or follows as the last piece.
 * Pieces may be views that are valid until the next is asked for.
 * @param size the first byte of the block's header
 * @returns its sizes, the check not counted
 */
export async function* xzBlock(
  reader: ByteReader,
  size: number,
  check: { length: number; keep: boolean },
): AsyncGenerator<XzPiece, XzRecord, undefined> {
  const header = new Uint8Array((size + 1) * 4);
  header[0] = size;
  header.set(await reader.require(header.length - 1), 1);
  yield { bytes: header, plain: 0 };
  const start = reader.position;
  let total = 0;
  for (;;) {
    const control = (await reader.require(1))[0] ?? 0;
    if (control === 0) {
      yield { bytes: Uint8Array.of(control), plain: 0 };
      break;
    }
    if (control > 2 && control < 0x80) throw new FormatError("xz", "a chunk is not LZMA2");
    // Plain chunks: size. Compressed ones: plain size, size, and properties when they change.
    const fields = Uint8Array.of(control, ...(await reader.require(control < 3 ? 2 : control >= 0xc0 ? 5 : 4)));
    const number = (at: number): number => ((fields[at] ?? 0) << 8) + (fields[at + 1] ?? 0) + 1;
    const plain = control < 3 ? number(1) : number(1) + ((control & 0x1f) << 16);
    total += plain;
    yield { bytes: fields, plain };
    for await (const bytes of reader.pieces(control < 3 ? number(1) : number(3))) yield { bytes, plain: 0 };
  }
  const stored = header.length + reader.position - start;
  const padding = -stored & 3;
  // Decoders take an empty chunk for an end.
  if (padding > 0) yield { bytes: new Uint8Array(await reader.require(padding)), plain: 0 };
  if (!check.keep) await reader.skip(check.length);
  else if (check.length > 0) yield { bytes: new Uint8Array(await reader.require(check.length)), plain: 0 };
  return { stored, plain: total };
}

/**
 * Reads an index, whose first byte was read, and the footer behind it.
 * @throws FormatError when they do not fit the blocks that came before
 */
export async function readXzEnd(reader: ByteReader, check: number, records: readonly XzRecord[]): Promise<void> {
  const start = reader.position - 1;
  const differs = new FormatError("xz", "the index does not fit the blocks");
  if ((await number(reader)) !== records.length) throw differs;
  for (const { stored, plain } of records) {
    if ((await number(reader)) !== stored + xzCheckLength(check) || (await number(reader)) !== plain) throw differs;
  }
  await reader.skip((-(reader.position - start) & 3) + 4);
  const footer = await reader.require(XZ_HEADER);
  const view = new DataView(footer.buffer, footer.byteOffset, XZ_HEADER);
  const isFooter =
    view.getUint32(0, true) === Bun.hash.crc32(footer.subarray(4, 10)) &&
    footer[9] === check &&
    FOOTER_MAGIC.every((byte, index) => footer[10 + index] === byte);
  if (!isFooter) throw new FormatError("xz", "the end of the stream is damaged");
}

async function number(reader: ByteReader): Promise<number> {
  let value = 0;
  for (let count = 0; count < MAX_NUMBER_BYTES; count++) {
    const byte = (await reader.require(1))[0] ?? 0;
    value += (byte & 0x7f) * 2 ** (count * 7);
    if (byte < 0x80) return value;
  }
  throw new FormatError("xz", "a number of the index is too large");
}

function encoded(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 128)) bytes.push((left % 128) + 128);
  return [...bytes, left];
}
