import { FormatError } from "../format-error";
import type { IsoDirectory, IsoFile, IsoNode } from "../iso9660/tree";
import { compressBlock } from "./compress";
import {
  compressorNumber,
  DATA_PLAIN,
  ENTRIES_PER_HEADER,
  FLAGS,
  inodeType,
  METADATA_BLOCK,
  NOTHING_32,
  NOTHING_64,
  SQUASHFS_MAGIC,
  type SquashfsCompression,
  SUPERBLOCK,
} from "./layout";
import { MetadataTable } from "./metadata";

export interface SquashfsOptions {
  root: IsoDirectory;
  compression: SquashfsCompression;
  /** 1 to 9 for gzip, 1 to 22 for zstd. */
  level: number;
  /** Bytes that are compressed together, a power of two from 4 KiB to 1 MiB: what one page fault costs. */
  blockSize: number;
  /** The one time of all files, in seconds since the epoch. */
  time: number;
  /**
   * Where on the medium the first byte that `stream` gives will be. Addresses count from the start of the medium, where
   * the superblock must be; what lies between is not squashfs's.
   */
  base: number;
}

/** A file system as two parts: the superblock, and everything else. */
export interface SquashfsImage {
  /** 96 bytes for the start of the medium. Complete when the stream has ended. */
  superblock(): Uint8Array;
  /** Data and tables, as they are made. */
  stream(): AsyncGenerator<Uint8Array, void, undefined>;
}

/** Basic inodes address 4 GiB. */
const MAX_ADDRESS = 0xffff_ffff;
const MAX_NAME = 256;
const CONCURRENT_BLOCKS = 4;

interface Reference {
  block: number;
  offset: number;
}

/** Plans a squashfs 4.0 file system of a tree. Each file's content is read once, even if it has several names. */
export function planSquashfs(options: SquashfsOptions): SquashfsImage {
  const { blockSize } = options;
  if (blockSize < 4096 || blockSize > 1024 ** 2 || !Number.isInteger(Math.log2(blockSize))) {
    throw new FormatError("squashfs", "the block size must be a power of two from 4 KiB to 1 MiB");
  }
  let superblock: Uint8Array | undefined;

  async function* stream(): AsyncGenerator<Uint8Array, void, undefined> {
    let position = Math.max(options.base, SUPERBLOCK);
    if (position > options.base) yield new Uint8Array(position - options.base);
    const stored = new Map<IsoNode, StoredFile>();
    for await (const { file, bytes, isPlain } of dataBlocks(filesOf(options.root), options)) {
      let place = stored.get(file);
      if (place === undefined) {
        place = { start: position, blocks: [] };
        stored.set(file, place);
      }
      if (bytes.length === 0) continue;
      place.blocks.push(bytes.length | (isPlain ? DATA_PLAIN : 0));
      position += bytes.length;
      yield bytes;
    }
    if (position > MAX_ADDRESS) throw new FormatError("squashfs", "the image would be larger than 4 GiB");
    const tables = new TreeWriter(options, stored);
    const root = await tables.write();
    const inodes = await tables.inodes.finish();
    const directories = await tables.directories.finish();
    const owners = new MetadataTable(options.compression, options.level);
    for (const id of tables.owners) await owners.append(u32(id));
    const ownerBlocks = await owners.finish();
    const inodeTable = position;
    const directoryTable = inodeTable + inodes.length;
    const ownerTable = directoryTable + directories.length;
    const ownerIndex = ownerTable + ownerBlocks.length;
    const index = new Uint8Array(8);
    new DataView(index.buffer).setBigUint64(0, BigInt(ownerTable), true);
    yield inodes;
    yield directories;
    yield ownerBlocks;
    yield index;
    superblock = encodeSuperblock(options, {
      inodes: tables.count,
      owners: tables.owners.length,
      root,
      inodeTable,
      directoryTable,
      ownerIndex,
      end: ownerIndex + index.length,
    });
  }

  return {
    stream,
    superblock() {
      if (superblock === undefined) throw new FormatError("squashfs", "the superblock is known only after the rest");
      return superblock;
    },
  };
}

interface StoredFile {
  start: number;
  blocks: number[];
}

function* filesOf(directory: IsoDirectory): Generator<IsoFile> {
  for (const node of directory.entries.values()) {
    if (node.type === "file") yield node;
    if (node.type === "directory") yield* filesOf(node);
  }
}

/** Some of a file's content as it will be stored; an empty one stands for a file without content. */
interface DataBlock {
  file: IsoFile;
  bytes: Uint8Array;
  isPlain: boolean;
}

/** The blocks of all files in order, each file once, several blocks being compressed at a time. */
async function* dataBlocks(files: Iterable<IsoFile>, options: SquashfsOptions): AsyncGenerator<DataBlock> {
  const { compression, level } = options;
  const queue: Promise<DataBlock>[] = [];
  const start = async (file: IsoFile, plain: Uint8Array): Promise<DataBlock> => {
    if (plain.length === 0) return { file, bytes: plain, isPlain: true };
    const packed = await compressBlock(plain, compression, level);
    return packed.length < plain.length
      ? { file, bytes: packed, isPlain: false }
      : { file, bytes: plain, isPlain: true };
  };
  try {
    for (const file of new Set(files)) {
      for await (const plain of plainBlocks(file, options.blockSize)) {
        queue.push(start(file, plain));
        const first = queue.length >= CONCURRENT_BLOCKS ? queue.shift() : undefined;
        if (first !== undefined) yield await first;
      }
    }
    for (let first = queue.shift(); first !== undefined; first = queue.shift()) yield await first;
  } finally {
    await Promise.allSettled(queue);
  }
}

/** A file's content in blocks; one empty block when it has none. */
async function* plainBlocks(file: IsoFile, blockSize: number): AsyncGenerator<Uint8Array> {
  let total = 0;
  let pending = new Uint8Array(blockSize);
  let filled = 0;
  for await (const chunk of file.content.stream()) {
    total += chunk.length;
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + blockSize - filled);
      pending.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled < blockSize) continue;
      yield pending;
      pending = new Uint8Array(blockSize);
      filled = 0;
    }
  }
  if (total !== file.content.size) throw new FormatError("squashfs", "a file changed its size while it was being read");
  if (filled > 0 || total === 0) yield pending.subarray(0, filled);
}

/** Writes inodes and directories, children before their parents. */
class TreeWriter {
  readonly inodes: MetadataTable;
  readonly directories: MetadataTable;
  readonly owners: number[] = [];
  count = 0;
  readonly #numbers = new Map<IsoNode, number>();
  /** Inodes that are written already: a file with several names has one. */
  readonly #written = new Map<IsoNode, Reference>();
  readonly #names = new Map<IsoNode, number>();

  constructor(
    readonly options: SquashfsOptions,
    readonly stored: ReadonlyMap<IsoNode, StoredFile>,
  ) {
    this.inodes = new MetadataTable(options.compression, options.level);
    this.directories = new MetadataTable(options.compression, options.level);
    this.#numberAll(options.root);
  }

  async write(): Promise<Reference> {
    return this.#directory(this.options.root, this.count + 1);
  }

  #numberAll(node: IsoNode): void {
    this.#names.set(node, (this.#names.get(node) ?? 0) + 1);
    if (this.#numbers.has(node)) return;
    this.#numbers.set(node, ++this.count);
    if (node.type === "directory") for (const child of node.entries.values()) this.#numberAll(child);
  }

  #number(node: IsoNode): number {
    return this.#numbers.get(node) ?? 0;
  }

  async #node(node: IsoNode, parent: number): Promise<Reference> {
    const known = this.#written.get(node);
    if (known !== undefined) return known;
    const written =
      node.type === "directory"
        ? await this.#directory(node, parent)
        : await this.#append(node.type === "file" ? this.#file(node) : this.#symlink(node.target, node));
    this.#written.set(node, written);
    return written;
  }

  async #append(inode: Uint8Array): Promise<Reference> {
    const place = this.inodes.place;
    await this.inodes.append(inode);
    return place;
  }

  #common(type: number, mode: number, node: IsoNode, length: number): { bytes: Uint8Array; view: DataView } {
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, type, true);
    view.setUint16(2, mode, true);
    view.setUint16(4, this.#owner(node.type === "symlink" ? 0 : (node.uid ?? 0)), true);
    view.setUint16(6, this.#owner(node.type === "symlink" ? 0 : (node.gid ?? 0)), true);
    view.setUint32(8, this.options.time, true);
    view.setUint32(12, this.#number(node), true);
    return { bytes, view };
  }

  #owner(id: number): number {
    const known = this.owners.indexOf(id);
    if (known !== -1) return known;
    // One metadata block of numbers, so that the table has one index entry.
    if (this.owners.length >= METADATA_BLOCK / 4) throw new FormatError("squashfs", "too many different owners");
    return this.owners.push(id) - 1;
  }

  #file(file: IsoFile): Uint8Array {
    const stored = this.stored.get(file);
    if (stored === undefined) throw new FormatError("squashfs", "a file has no content");
    const links = this.#names.get(file) ?? 1;
    const isLarge = links > 1;
    const head = isLarge ? 56 : 32;
    const { bytes, view } = this.#common(
      isLarge ? inodeType.largeFile : inodeType.file,
      file.mode,
      file,
      head + stored.blocks.length * 4,
    );
    if (isLarge) {
      view.setBigUint64(16, BigInt(stored.start), true);
      view.setBigUint64(24, BigInt(file.content.size), true);
      view.setUint32(40, links, true);
      view.setUint32(44, NOTHING_32, true);
      view.setUint32(52, NOTHING_32, true);
    } else {
      view.setUint32(16, stored.start, true);
      view.setUint32(20, NOTHING_32, true);
      view.setUint32(28, file.content.size, true);
    }
    for (const [index, size] of stored.blocks.entries()) view.setUint32(head + index * 4, size, true);
    return bytes;
  }

  #symlink(target: string, node: IsoNode): Uint8Array {
    const text = Buffer.from(target);
    const { bytes, view } = this.#common(inodeType.symlink, 0o777, node, 24 + text.length);
    view.setUint32(16, 1, true);
    view.setUint32(20, text.length, true);
    bytes.set(text, 24);
    return bytes;
  }

  async #directory(directory: IsoDirectory, parent: number): Promise<Reference> {
    const own = this.#number(directory);
    const children = [...directory.entries].map(([name, node]) => ({ name: Buffer.from(name), node }));
    children.sort((a, b) => Buffer.compare(a.name, b.name));
    const entries: ListingEntry[] = [];
    for (const { name, node } of children) {
      if (name.length === 0 || name.length > MAX_NAME)
        throw new FormatError("squashfs", `the name ${name} is too long`);
      entries.push({ name, type: basicType[node.type], number: this.#number(node), at: await this.#node(node, own) });
    }
    const listing = encodeListing(entries);
    const place = this.directories.place;
    await this.directories.append(listing);
    const subdirectories = children.filter(({ node }) => node.type === "directory").length;
    // The length of a listing counts "." and "..", which are not in it, as three bytes.
    const size = listing.length + 3;
    const isLarge = size > 0xffff;
    const { bytes, view } = this.#common(
      isLarge ? inodeType.largeDirectory : inodeType.directory,
      directory.mode,
      directory,
      isLarge ? 40 : 32,
    );
    if (isLarge) {
      view.setUint32(16, subdirectories + 2, true);
      view.setUint32(20, size, true);
      view.setUint32(24, place.block, true);
      view.setUint32(28, parent, true);
      view.setUint16(34, place.offset, true);
      view.setUint32(36, NOTHING_32, true);
    } else {
      view.setUint32(16, place.block, true);
      view.setUint32(20, subdirectories + 2, true);
      view.setUint16(24, size, true);
      view.setUint16(26, place.offset, true);
      view.setUint32(28, parent, true);
    }
    return this.#append(bytes);
  }
}

const basicType = { directory: inodeType.directory, file: inodeType.file, symlink: inodeType.symlink } as const;

interface ListingEntry {
  name: Uint8Array;
  type: number;
  number: number;
  at: Reference;
}

/** A directory's entries in runs that share a header: those whose inodes lie in the same metadata block. */
function encodeListing(entries: readonly ListingEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < entries.length; ) {
    const first = entries[at];
    if (first === undefined) break;
    let end = at;
    for (; end < entries.length && end - at < ENTRIES_PER_HEADER; end++) {
      const entry = entries[end];
      const distance = (entry?.number ?? 0) - first.number;
      if (entry?.at.block !== first.at.block || distance > 0x7fff || distance < -0x8000) break;
    }
    const header = new DataView(new ArrayBuffer(12));
    header.setUint32(0, end - at - 1, true);
    header.setUint32(4, first.at.block, true);
    header.setUint32(8, first.number, true);
    parts.push(new Uint8Array(header.buffer));
    for (const { name, type, number, at: place } of entries.slice(at, end)) {
      const fields = new DataView(new ArrayBuffer(8));
      fields.setUint16(0, place.offset, true);
      fields.setInt16(2, number - first.number, true);
      fields.setUint16(4, type, true);
      fields.setUint16(6, name.length - 1, true);
      parts.push(new Uint8Array(fields.buffer), name);
    }
    at = end;
  }
  return Buffer.concat(parts);
}

function encodeSuperblock(
  { blockSize, compression, time }: SquashfsOptions,
  facts: {
    inodes: number;
    owners: number;
    root: Reference;
    inodeTable: number;
    directoryTable: number;
    ownerIndex: number;
    end: number;
  },
): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, SQUASHFS_MAGIC, true);
  view.setUint32(4, facts.inodes, true);
  view.setUint32(8, time, true);
  view.setUint32(12, blockSize, true);
  view.setUint32(16, 0, true);
  view.setUint16(20, compressorNumber[compression], true);
  view.setUint16(22, Math.log2(blockSize), true);
  view.setUint16(24, FLAGS, true);
  view.setUint16(26, facts.owners, true);
  view.setUint16(28, 4, true);
  view.setUint16(30, 0, true);
  view.setBigUint64(32, (BigInt(facts.root.block) << 16n) | BigInt(facts.root.offset), true);
  view.setBigUint64(40, BigInt(facts.end), true);
  view.setBigUint64(48, BigInt(facts.ownerIndex), true);
  view.setBigUint64(56, NOTHING_64, true);
  view.setBigUint64(64, BigInt(facts.inodeTable), true);
  view.setBigUint64(72, BigInt(facts.directoryTable), true);
  view.setBigUint64(80, NOTHING_64, true);
  view.setBigUint64(88, NOTHING_64, true);
  return bytes;
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
