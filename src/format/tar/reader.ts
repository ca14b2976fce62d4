import { FormatError } from "../format-error";
import { ByteReader } from "../stream/byte-reader";
import { decodeMember, hasValidChecksum, type Member, type Overrides, storedSizeOf } from "./member";
import { decodePaxRecords, type PaxRecord } from "./pax";
import { mapFromNumbers, readOldGnuMap, readPaxDataMap, type SparseLayout } from "./sparse";
import { type SparseExtent, TAR_BLOCK, type TarEntry, type TarPiece } from "./types";

/** A pax header or long name larger than this is an attack, not a file name. */
const MAX_SPECIAL_SIZE = 1024 * 1024;
/** Special members that may precede one real member; real archives have at most four. */
const MAX_SPECIAL_RUN = 16;
/** Zeros are handed out in pieces of this size. */
const ZEROS = new Uint8Array(64 * 1024);

/**
 * The members of a tar archive (ustar, pax, GNU, V7; sparse files in all four encodings), in their order.
 *
 * Streaming: nothing is buffered but headers, and the source is read only as fast as members and their bodies are. A
 * body left unread is skipped when the next member is asked for. After the archive's end the source is read to its own
 * end and the rest dropped, so that a digest or a decompressor in front of it completes. Leaving the loop early closes
 * the source.
 *
 * @throws FormatError when the archive is malformed, cut short, or exceeds a limit
 */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry, void, undefined> {
  const reader = new ByteReader(source, "tar");
  try {
    const globals = new Map<string, Uint8Array>();
    for (;;) {
      const member = await readMember(reader, globals);
      if (member === undefined) break;
      const content = await openContent(reader, member);
      yield content.entry;
      await content.skip();
    }
    await reader.drain();
  } finally {
    await reader.close();
  }
}

/** The next real member, after the special ones that describe it. `undefined` at the end of the archive. */
async function readMember(
  reader: ByteReader,
  globals: Map<string, Uint8Array>,
): Promise<(Member & { block: Uint8Array }) | undefined> {
  const overrides: Overrides = { pax: [] };
  for (let special = 0; special <= MAX_SPECIAL_RUN; special++) {
    const block = await readHeaderBlock(reader);
    if (block === undefined) return undefined;
    switch (String.fromCharCode(block[156] ?? 0)) {
      case "x":
      case "X":
        overrides.pax.push(...decodePaxRecords(await readSpecial(reader, block)));
        break;
      case "g":
        for (const { key, value } of decodePaxRecords(await readSpecial(reader, block)))
          globals.set(key, value.slice());
        if (globals.size > MAX_SPECIAL_SIZE / 64) throw new FormatError("tar", "too many global pax records");
        break;
      case "L":
        overrides.longName = withoutTrailingNul(await readSpecial(reader, block));
        break;
      case "K":
        overrides.longLink = withoutTrailingNul(await readSpecial(reader, block));
        break;
      case "V":
        await reader.skip(padded(storedSizeOf(block)));
        break;
      case "M":
        throw new FormatError("tar", "archives of several volumes are not supported");
      default: {
        const inherited: PaxRecord[] = Array.from(globals, ([key, value]) => ({ key, value }));
        return { ...decodeMember(block, { ...overrides, pax: [...inherited, ...overrides.pax] }), block };
      }
    }
  }
  throw new FormatError("tar", `more than ${MAX_SPECIAL_RUN} extended headers in a row`);
}

/** A checked header block, or `undefined` at the end marker or the end of the data. */
async function readHeaderBlock(reader: ByteReader): Promise<Uint8Array | undefined> {
  const block = reader.readBuffered(TAR_BLOCK) ?? (await reader.read(TAR_BLOCK));
  if (block === undefined || block.every((byte) => byte === 0)) return undefined;
  if (!hasValidChecksum(block))
    throw new FormatError("tar", "a header has a wrong checksum; this is not a tar archive");
  return block;
}

async function readSpecial(reader: ByteReader, block: Uint8Array): Promise<Uint8Array> {
  const size = storedSizeOf(block);
  if (size > MAX_SPECIAL_SIZE)
    throw new FormatError("tar", `an extended header is larger than ${MAX_SPECIAL_SIZE} bytes`);
  // A copy: the source may reuse its chunk while the following blocks are read.
  const content = (await reader.require(size)).slice();
  await reader.skip(padded(size) - size);
  return content;
}

function withoutTrailingNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

function padded(size: number): number {
  return Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
}

interface OpenContent {
  entry: TarEntry;
  skip(): Promise<void>;
}

async function openContent(reader: ByteReader, member: Member & { block: Uint8Array }): Promise<OpenContent> {
  const { header, storedSize } = member;
  const layout = await readLayout(reader, member);
  if (layout === undefined) {
    const content = new Content(reader, storedSize, [{ offset: 0, length: storedSize }], storedSize);
    return { entry: { header, body: content.pieceData(), pieces: content.pieces() }, skip: () => content.skip() };
  }
  header.size = layout.realSize;
  const content = new Content(reader, layout.storedSize, layout.extents, layout.realSize);
  const entry = { header, sparse: layout.extents, body: content.filled(), pieces: content.pieces() };
  return { entry, skip: () => content.skip() };
}

async function readLayout(
  reader: ByteReader,
  member: Member & { block: Uint8Array },
): Promise<SparseLayout | undefined> {
  if (member.oldGnuSparse) return readOldGnuMap(member.block.slice(), reader, member.storedSize);
  const sparse = member.paxSparse;
  if (sparse === undefined || member.header.type !== "file") return undefined;
  if (sparse.realSize === undefined) throw new FormatError("tar", "a sparse file does not say its size");
  if (sparse.mapInData) return readPaxDataMap(reader, sparse.realSize, member.storedSize);
  return mapFromNumbers(sparse.numbers, sparse.realSize, member.storedSize);
}

/** The content of the current member: knows how much of it was read, so that the rest can be skipped. */
class Content {
  #left: number;
  #padding: number;

  constructor(
    readonly reader: ByteReader,
    storedSize: number,
    readonly extents: readonly SparseExtent[],
    readonly realSize: number,
  ) {
    this.#left = storedSize;
    this.#padding = padded(storedSize) - storedSize;
  }

  async *pieces(): AsyncGenerator<TarPiece> {
    for (const extent of this.extents) {
      for (let done = 0; done < extent.length; ) {
        const data = await this.#take(extent.length - done);
        yield { offset: extent.offset + done, data };
        done += data.length;
      }
    }
  }

  async *pieceData(): AsyncGenerator<Uint8Array> {
    while (this.#left > 0) yield await this.#take(this.#left);
  }

  async *filled(): AsyncGenerator<Uint8Array> {
    let position = 0;
    for await (const { offset, data } of this.pieces()) {
      yield* zeros(offset - position);
      yield data;
      position = offset + data.length;
    }
    yield* zeros(this.realSize - position);
  }

  /** Moves the reader to the next header. Iterators of this content that are still around find nothing more. */
  async skip(): Promise<void> {
    const rest = this.#left + this.#padding;
    this.#left = 0;
    this.#padding = 0;
    if (rest > 0) await this.reader.skip(rest);
  }

  async #take(limit: number): Promise<Uint8Array> {
    const wanted = Math.min(limit, this.#left);
    if (wanted === 0) throw new Error("a tar member's content was read after the next member was asked for, or twice");
    const data = await this.reader.readSome(wanted);
    if (data === undefined) await this.reader.require(wanted);
    const taken = data ?? new Uint8Array(0);
    this.#left -= taken.length;
    return taken;
  }
}

function* zeros(length: number): Generator<Uint8Array> {
  for (let left = length; left > 0; left -= ZEROS.length) yield left >= ZEROS.length ? ZEROS : ZEROS.subarray(0, left);
}
