import { FormatError } from "../format-error";
import { ByteReader } from "./byte-reader";

const HEADER = 12;
const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const CHECK_SHA256 = 10;
const CHECK_LENGTH = 32;
/** Each block of a multi-threaded xz is at least as large as its dictionary, so that even 4 GiB have few. */
const MAX_BLOCKS = 1_000_000;

/**
 * Takes the SHA-256 checks out of an xz stream, because the decoder in use knows CRCs only. RPM writes such streams; it has
 * digests of its own over the compressed bytes. Streams with other checks pass unchanged.
 * Facts: "The .xz File Format" 1.2.1.
 * @throws FormatError when the container is malformed
 */
export async function* withoutXzSha256(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(source, "xz");
  try {
    const header = new Uint8Array(await reader.require(HEADER));
    if (HEADER_MAGIC.some((byte, index) => header[index] !== byte))
      throw new FormatError("xz", "this is not an xz stream");
    if (header[7] !== CHECK_SHA256) {
      yield header;
      yield* rest(reader);
      return;
    }
    header[7] = 0;
    new DataView(header.buffer).setUint32(8, Bun.hash.crc32(header.subarray(6, 8)), true);
    yield header;
    let blocks = 0;
    for (;;) {
      const size = (await reader.require(1))[0] ?? 0;
      if (size === 0) break;
      if (++blocks > MAX_BLOCKS) throw new FormatError("xz", "the stream has too many blocks");
      yield* block(reader, size);
    }
    yield* index(reader, blocks);
    // Nothing may follow but padding, which carries no data.
    await reader.drain();
  } finally {
    await reader.close();
  }
}

async function* rest(reader: ByteReader): AsyncGenerator<Uint8Array> {
  const someBytes = 256 * 1024;
  for (let piece = await reader.readSome(someBytes); piece !== undefined; piece = await reader.readSome(someBytes)) {
    yield piece;
  }
}

/** A block: header, LZMA2 chunks, padding, and its check, which is left out. */
async function* block(reader: ByteReader, size: number): AsyncGenerator<Uint8Array> {
  const header = new Uint8Array((size + 1) * 4);
  header[0] = size;
  header.set(await reader.require(header.length - 1), 1);
  yield header;
  const start = reader.position;
  for (;;) {
    const control = (await reader.require(1))[0] ?? 0;
    yield Uint8Array.of(control);
    if (control === 0) break;
    if (control > 2 && control < 0x80) throw new FormatError("xz", "a chunk is not LZMA2");
    // Plain chunks: size. Compressed ones: plain size, size, and properties when they change.
    const fields = new Uint8Array(await reader.require(control < 3 ? 2 : control >= 0xc0 ? 5 : 4));
    yield fields;
    const at = control < 3 ? 0 : 2;
    for await (const piece of reader.pieces(((fields[at] ?? 0) << 8) + (fields[at + 1] ?? 0) + 1)) yield piece;
  }
  const padding = -(reader.position - start) & 3;
  // The decoder takes an empty chunk for an end.
  if (padding > 0) yield new Uint8Array(await reader.require(padding));
  await reader.skip(CHECK_LENGTH);
}

/** The index and the footer, with the sizes that the blocks have without their checks. */
async function* index(reader: ByteReader, blocks: number): AsyncGenerator<Uint8Array> {
  const start = reader.position - 1;
  if ((await number(reader)) !== blocks) throw new FormatError("xz", "the index does not fit the blocks");
  const content = [0, ...encoded(blocks)];
  for (let count = 0; count < blocks; count++) {
    const stored = await number(reader);
    const plain = await number(reader);
    content.push(...encoded(Math.max(stored - CHECK_LENGTH, 0)), ...encoded(plain));
  }
  await reader.skip((-(reader.position - start) & 3) + 4);
  const index = new Uint8Array(Math.ceil(content.length / 4) * 4 + 4);
  index.set(content);
  const view = new DataView(index.buffer);
  view.setUint32(index.length - 4, Bun.hash.crc32(index.subarray(0, -4)), true);
  yield index;
  const footer = new Uint8Array(await reader.require(HEADER));
  const fields = new DataView(footer.buffer);
  fields.setUint32(4, index.length / 4 - 1, true);
  footer[9] = 0;
  fields.setUint32(0, Bun.hash.crc32(footer.subarray(4, 10)), true);
  yield footer;
}

async function number(reader: ByteReader): Promise<number> {
  let value = 0;
  for (let count = 0; count < 7; count++) {
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
