/**
 * streamOptimized VMDKs ("Virtual Disk Format 5.0", stream-optimized compressed sparse extents): the form in which disks travel.
 * Grains follow one another in the order of the disk, each deflated behind a marker; tables come behind their grains.
 */
import { deflateSync, inflateSync } from "node:zlib";
import { NO_PARENT_CID, printDescriptor, VmdkError } from "./descriptor.ts";
import { diskDatabase, ENTRIES_PER_GRAIN_TABLE, encodeEntries, GRAIN_SECTORS, SECTOR } from "./sparse-extent.ts";

const MAGIC = 0x564d444b;
const VERSION = 3;
/** Newline test, compressed grains, markers. */
const FLAGS = 0x3_0001;
const FLAG_COMPRESSED = 0x1_0000;
const FLAG_MARKERS = 0x2_0000;
const DEFLATE = 1;
const DESCRIPTOR_SECTORS = 20;
/** First sector of grains: header and descriptor, rounded up to a grain. */
const OVERHEAD_SECTORS = GRAIN_SECTORS;
const DIRECTORY_AT_END = 0xffff_ffff_ffff_ffffn;
const GRAIN_BYTES = GRAIN_SECTORS * SECTOR;
/** Deflated data can be a little larger than what it holds. */
const COMPRESSED_LIMIT = 2 * GRAIN_BYTES;
/** Largest capacity that is accepted: 62 TB, VMFS's limit. */
const CAPACITY_SECTORS_LIMIT = (62 * 2 ** 40) / SECTOR;
const MARKER = { endOfStream: 0, grainTable: 1, grainDirectory: 2, footer: 3 } as const;

function header(capacitySectors: number, directoryOffset: bigint): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, VERSION, true);
  view.setUint32(8, FLAGS, true);
  view.setBigUint64(12, BigInt(capacitySectors), true);
  view.setBigUint64(20, BigInt(GRAIN_SECTORS), true);
  view.setBigUint64(28, 1n, true);
  view.setBigUint64(36, BigInt(DESCRIPTOR_SECTORS), true);
  view.setUint32(44, ENTRIES_PER_GRAIN_TABLE, true);
  view.setBigUint64(56, directoryOffset, true);
  view.setBigUint64(64, BigInt(OVERHEAD_SECTORS), true);
  bytes.set([0x0a, 0x20, 0x0d, 0x0a], 73);
  view.setUint16(77, DEFLATE, true);
  return bytes;
}

function marker(type: number, sectors: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sectors), true);
  view.setUint32(12, type, true);
  return bytes;
}

const sectorsOf = (bytes: number): number => Math.ceil(bytes / SECTOR);

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(sectorsOf(bytes.length) * SECTOR);
  whole.set(bytes);
  return whole;
}

/**
 * The bytes of a streamOptimized disk. `grains`: 64 KiB pieces in rising order; pieces that are left out read as zeros.
 * @param name the file's own name, which its descriptor mentions
 */
export async function* encodeStreamOptimized(
  disk: { capacitySectors: number; name: string },
  grains: AsyncIterable<{ sector: number; bytes: Uint8Array }>,
): AsyncGenerator<Uint8Array> {
  const { capacitySectors, name } = disk;
  const head = new Uint8Array(OVERHEAD_SECTORS * SECTOR);
  head.set(header(capacitySectors, DIRECTORY_AT_END));
  const descriptor = printDescriptor({
    cid: (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % 0xffff_fffe,
    parentCid: NO_PARENT_CID,
    createType: "streamOptimized",
    extents: [{ access: "RW", sectors: capacitySectors, type: "SPARSE", file: name, offset: 0 }],
    database: diskDatabase(capacitySectors),
  });
  head.set(new TextEncoder().encode(descriptor), SECTOR);
  yield head;
  let position = OVERHEAD_SECTORS;
  const tables = Math.ceil(capacitySectors / GRAIN_SECTORS / ENTRIES_PER_GRAIN_TABLE);
  const directory = new Uint32Array(tables);
  let table: { index: number; entries: Uint32Array } | undefined;
  const finishTable = (): Uint8Array[] => {
    if (!table) return [];
    const bytes = padded(encodeEntries(table.entries));
    directory[table.index] = position + 1;
    position += 1 + sectorsOf(bytes.length);
    return [marker(MARKER.grainTable, sectorsOf(bytes.length)), bytes];
  };
  for await (const { sector, bytes } of grains) {
    const grain = Math.floor(sector / GRAIN_SECTORS);
    const index = Math.floor(grain / ENTRIES_PER_GRAIN_TABLE);
    if (table?.index !== index) {
      yield* finishTable();
      table = { index, entries: new Uint32Array(ENTRIES_PER_GRAIN_TABLE) };
    }
    const data = deflateSync(bytes, { level: 1 });
    const whole = new Uint8Array(sectorsOf(12 + data.length) * SECTOR);
    const view = new DataView(whole.buffer);
    view.setBigUint64(0, BigInt(sector), true);
    view.setUint32(8, data.length, true);
    whole.set(data, 12);
    table.entries[grain % ENTRIES_PER_GRAIN_TABLE] = position;
    position += whole.length / SECTOR;
    yield whole;
  }
  yield* finishTable();
  const bytes = padded(encodeEntries(directory));
  yield marker(MARKER.grainDirectory, bytes.length / SECTOR);
  yield bytes;
  yield marker(MARKER.footer, 1);
  yield header(capacitySectors, BigInt(position + 1));
  yield marker(MARKER.endOfStream, 0);
}

/** Hands out exact numbers of bytes of a stream. */
class ByteSource {
  #chunks: Uint8Array[] = [];
  #length = 0;
  readonly #stream: AsyncIterator<Uint8Array>;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#stream = stream[Symbol.asyncIterator]();
  }

  async take(length: number): Promise<Uint8Array> {
    while (this.#length < length) {
      const { value, done } = await this.#stream.next();
      if (done) throw new VmdkError("the disk ends in the middle");
      this.#chunks.push(value);
      this.#length += value.length;
    }
    const whole = this.#chunks.length === 1 && this.#chunks[0] ? this.#chunks[0] : Buffer.concat(this.#chunks);
    this.#chunks = [whole.subarray(length)];
    this.#length -= length;
    return whole.subarray(0, length);
  }

  /** Is there nothing more? */
  async ended(): Promise<boolean> {
    while (this.#length === 0) {
      const { value, done } = await this.#stream.next();
      if (done) return true;
      this.#chunks.push(value);
      this.#length += value.length;
    }
    return false;
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; left -= GRAIN_BYTES) await this.take(Math.min(left, GRAIN_BYTES));
  }

  /** Reads to the end of the stream and forgets what is there. */
  async drain(): Promise<void> {
    for (let next = await this.#stream.next(); !next.done; next = await this.#stream.next());
  }
}

export interface StreamedDisk {
  capacitySectors: number;
  /** 64 KiB pieces in rising order; the last one may be shorter. */
  grains: AsyncIterable<{ sector: number; bytes: Uint8Array }>;
}

/** Reads a streamOptimized disk. Throws VmdkError when the stream is anything else, or is damaged. */
export async function decodeStreamOptimized(stream: AsyncIterable<Uint8Array>): Promise<StreamedDisk> {
  const source = new ByteSource(stream);
  const head = await source.take(SECTOR);
  const view = new DataView(head.buffer, head.byteOffset, SECTOR);
  if (view.getUint32(0, true) !== MAGIC) throw new VmdkError("it is no streamOptimized VMDK");
  const flags = view.getUint32(8, true);
  if ((flags & FLAG_COMPRESSED) === 0 || (flags & FLAG_MARKERS) === 0 || view.getUint16(77, true) !== DEFLATE) {
    throw new VmdkError(
      "it is no streamOptimized VMDK; convert it with qemu-img convert -O vmdk -o subformat=streamOptimized",
    );
  }
  const capacity = view.getBigUint64(12, true);
  if (capacity < 1n || capacity > BigInt(CAPACITY_SECTORS_LIMIT)) throw new VmdkError("its capacity is out of range");
  if (view.getBigUint64(20, true) !== BigInt(GRAIN_SECTORS)) throw new VmdkError("its grains do not have 64 KiB");
  const overhead = view.getBigUint64(64, true);
  if (overhead < 1n || overhead > 65_536n) throw new VmdkError("its overhead is out of range");
  await source.skip((Number(overhead) - 1) * SECTOR);
  const capacitySectors = Number(capacity);
  // qemu-img ends a disk without any data here, without a marker; its directory is in the overhead then, not in a footer.
  const directoryFollows = view.getBigUint64(56, true) === DIRECTORY_AT_END;
  if (!directoryFollows && (await source.ended())) return { capacitySectors, grains: nothing() };
  return { capacitySectors, grains: readGrains(source, capacitySectors) };
}

async function* nothing(): AsyncGenerator<never> {
  // A disk without content.
}

async function* readGrains(source: ByteSource, capacitySectors: number) {
  let last = -1;
  for (;;) {
    const first = await source.take(SECTOR);
    const view = new DataView(first.buffer, first.byteOffset, SECTOR);
    const value = view.getBigUint64(0, true);
    const size = view.getUint32(8, true);
    if (size === 0) {
      const type = view.getUint32(12, true);
      if (type === MARKER.endOfStream) return source.drain();
      if (type > MARKER.footer || value > BigInt(CAPACITY_SECTORS_LIMIT))
        throw new VmdkError("it has an unknown marker");
      await source.skip(Number(value) * SECTOR);
      continue;
    }
    const sector = Number(value);
    if (size > COMPRESSED_LIMIT) throw new VmdkError("a compressed grain is too large");
    if (sector % GRAIN_SECTORS !== 0 || sector <= last || sector >= capacitySectors) {
      throw new VmdkError(`grain ${sector} is out of order or out of range`);
    }
    last = sector;
    const head = Buffer.from(first.subarray(12, Math.min(12 + size, SECTOR)));
    const rest = sectorsOf(12 + size) - 1;
    const data = rest === 0 ? head : Buffer.concat([head, await source.take(rest * SECTOR)]).subarray(0, size);
    yield { sector, bytes: inflate(data, Math.min(GRAIN_SECTORS, capacitySectors - sector) * SECTOR) };
  }
}

function inflate(data: Uint8Array, length: number): Uint8Array {
  try {
    const bytes = inflateSync(data, { maxOutputLength: GRAIN_BYTES });
    if (bytes.length < length) throw new VmdkError("a grain is too short");
    return bytes.subarray(0, length);
  } catch (error) {
    if (error instanceof VmdkError) throw error;
    throw new VmdkError(`a grain cannot be inflated: ${error instanceof Error ? error.message : error}`);
  }
}
