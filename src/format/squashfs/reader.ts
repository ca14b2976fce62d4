import { FormatError } from "../format-error";
import type { IsoSource } from "../iso9660/reader";
import { decompressBlock } from "./compress";
import {
  compressorNumber,
  DATA_PLAIN,
  inodeType,
  METADATA_BLOCK,
  METADATA_PLAIN,
  NOTHING_32,
  NOTHING_64,
  SQUASHFS_MAGIC,
  type SquashfsCompression,
  SUPERBLOCK,
} from "./layout";

/** What an image holds under one path. */
export interface SquashfsEntry {
  /** Absolute path. */
  path: string;
  type: "file" | "directory" | "symlink";
  mode: number;
  uid: number;
  gid: number;
  size: number;
  target?: string;
  /** Where a file's blocks are: length in the image, with bit 24 set for those stored plain. */
  start: number;
  blocks: number[];
}

const MAX_ENTRIES = 200_000;
const MAX_DEPTH = 64;
const MAX_DIRECTORY = 16 * 1024 ** 2;
const MAX_TARGET = 4096;
/** Metadata blocks held decompressed. */
const CACHED_BLOCKS = 64;

/** Whether an image starts with a squashfs superblock. */
export async function isSquashfs(source: IsoSource): Promise<boolean> {
  if (source.size < SUPERBLOCK) return false;
  const bytes = await source.slice(0, 4).bytes();
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === SQUASHFS_MAGIC;
}

/** A squashfs 4.0 file system, gzip or zstd, without fragments: what our writer makes. */
export class SquashfsReader {
  readonly #cache = new Map<number, { plain: Uint8Array; next: number }>();

  private constructor(
    readonly source: IsoSource,
    readonly compression: SquashfsCompression,
    readonly blockSize: number,
    readonly bytesUsed: number,
    readonly rootReference: bigint,
    readonly inodeTable: number,
    readonly directoryTable: number,
    readonly owners: number[],
  ) {}

  /** @throws FormatError when it is not such a file system */
  static async open(source: IsoSource): Promise<SquashfsReader> {
    if (!(await isSquashfs(source))) throw new FormatError("squashfs", "this is not a squashfs image");
    const view = viewOf(await source.slice(0, SUPERBLOCK).bytes());
    const number = view.getUint16(20, true);
    const compression = (["gzip", "zstd"] as const).find((name) => compressorNumber[name] === number);
    const blockSize = view.getUint32(12, true);
    if (compression === undefined) throw new FormatError("squashfs", `compression ${number} is not supported`);
    if (blockSize !== 2 ** view.getUint16(22, true) || blockSize < 4096 || blockSize > 1024 ** 2) {
      throw new FormatError("squashfs", "the block size is not valid");
    }
    if (view.getUint32(16, true) !== 0) throw new FormatError("squashfs", "fragments are not supported");
    const at = (offset: number): number => {
      const value = view.getBigUint64(offset, true);
      if (value > BigInt(source.size)) throw new FormatError("squashfs", "a table lies outside the image");
      return Number(value);
    };
    if (view.getBigUint64(56, true) !== NOTHING_64)
      throw new FormatError("squashfs", "extended attributes are not supported");
    const reader = new SquashfsReader(
      source,
      compression,
      blockSize,
      at(40),
      view.getBigUint64(32, true),
      at(64),
      at(72),
      [],
    );
    await reader.#readOwners(at(48), view.getUint16(26, true));
    return reader;
  }

  /** Every entry, parents before their children. @throws FormatError when the image is damaged or exceeds a limit */
  async *entries(): AsyncGenerator<SquashfsEntry, void, undefined> {
    let count = 0;
    const visited = new Set<string>();
    const pending = [{ path: "", reference: this.rootReference, depth: 0 }];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { path, reference, depth } = next;
      const inode = await this.#inode(reference);
      if (inode.listing === undefined) throw new FormatError("squashfs", "the root is not a directory");
      const key = reference.toString();
      if (depth > MAX_DEPTH || visited.has(key))
        throw new FormatError("squashfs", "directories are nested too deeply or in a circle");
      visited.add(key);
      for (const child of await this.#listing(inode.listing)) {
        if (++count > MAX_ENTRIES) throw new FormatError("squashfs", "the image has too many entries");
        const childPath = `${path}/${child.name}`;
        const { listing, ...entry } = await this.#inode(child.reference);
        yield { path: childPath, ...entry };
        if (listing !== undefined) pending.push({ path: childPath, reference: child.reference, depth: depth + 1 });
      }
    }
  }

  /** A file's content, block by block. */
  async *content(entry: SquashfsEntry): AsyncGenerator<Uint8Array, void, undefined> {
    let at = entry.start;
    let left = entry.size;
    for (const block of entry.blocks) {
      const expected = Math.min(left, this.blockSize);
      const stored = block & (DATA_PLAIN - 1);
      if (stored === 0) {
        yield new Uint8Array(expected);
      } else {
        const bytes = await this.#bytes(at, stored);
        const plain = block & DATA_PLAIN ? bytes : await decompressBlock(bytes, this.compression, this.blockSize);
        if (plain.length !== expected) throw new FormatError("squashfs", "a block has the wrong length");
        yield plain;
      }
      at += stored;
      left -= expected;
    }
    if (left !== 0) throw new FormatError("squashfs", "a file lacks blocks");
  }

  async #readOwners(index: number, count: number): Promise<void> {
    const first = Number(viewOf(await this.#bytes(index, 8)).getBigUint64(0, true));
    if (count > METADATA_BLOCK / 4) throw new FormatError("squashfs", "too many owners");
    const bytes = viewOf(await this.#metadata(first, 0, 0, count * 4));
    for (let id = 0; id < count; id++) this.owners.push(bytes.getUint32(id * 4, true));
  }

  async #inode(reference: bigint): Promise<Omit<SquashfsEntry, "path"> & { listing?: Listing }> {
    const block = Number(reference >> 16n);
    const offset = Number(reference & 0xffffn);
    const read = (skip: number, length: number) => this.#metadata(this.inodeTable, block, offset + skip, length);
    const common = viewOf(await read(0, 16));
    const type = common.getUint16(0, true);
    const owner = (at: number): number => this.owners[common.getUint16(at, true)] ?? 0;
    const attributes = { mode: common.getUint16(2, true) & 0o7777, uid: owner(4), gid: owner(6), start: 0, blocks: [] };
    switch (type) {
      case inodeType.directory: {
        const view = viewOf(await read(16, 16));
        const listing = {
          block: view.getUint32(0, true),
          size: view.getUint16(8, true),
          offset: view.getUint16(10, true),
        };
        return { type: "directory", size: 0, ...attributes, listing };
      }
      case inodeType.largeDirectory: {
        const view = viewOf(await read(16, 24));
        const listing = {
          block: view.getUint32(8, true),
          size: view.getUint32(4, true),
          offset: view.getUint16(18, true),
        };
        return { type: "directory", size: 0, ...attributes, listing };
      }
      case inodeType.file: {
        const view = viewOf(await read(16, 16));
        if (view.getUint32(4, true) !== NOTHING_32) throw new FormatError("squashfs", "fragments are not supported");
        const size = view.getUint32(12, true);
        return {
          type: "file",
          ...attributes,
          size,
          start: view.getUint32(0, true),
          blocks: await this.#blocks(size, 32, read),
        };
      }
      case inodeType.largeFile: {
        const view = viewOf(await read(16, 40));
        const size = Number(view.getBigUint64(8, true));
        const start = Number(view.getBigUint64(0, true));
        return { type: "file", ...attributes, size, start, blocks: await this.#blocks(size, 56, read) };
      }
      case inodeType.symlink: {
        const length = viewOf(await read(16, 8)).getUint32(4, true);
        if (length > MAX_TARGET) throw new FormatError("squashfs", "a symlink's target is too long");
        const target = Buffer.from(await read(24, length)).toString("utf8");
        return { type: "symlink", size: length, ...attributes, target };
      }
      default:
        throw new FormatError("squashfs", `inodes of type ${type} are not supported`);
    }
  }

  async #blocks(
    size: number,
    skip: number,
    read: (skip: number, length: number) => Promise<Uint8Array>,
  ): Promise<number[]> {
    const count = Math.ceil(size / this.blockSize);
    // Even empty blocks take four bytes each in the inode table.
    if (count * 4 > this.source.size * 64 || count > 2 ** 22) throw new FormatError("squashfs", "a file is too large");
    const view = viewOf(await read(skip, count * 4));
    return Array.from({ length: count }, (_, index) => view.getUint32(index * 4, true));
  }

  async #listing({ block, size, offset }: Listing): Promise<{ name: string; reference: bigint }[]> {
    const length = size - 3;
    if (length <= 0) return [];
    if (length > MAX_DIRECTORY) throw new FormatError("squashfs", "a directory is too large");
    const bytes = await this.#metadata(this.directoryTable, block, offset, length);
    const view = viewOf(bytes);
    const found: { name: string; reference: bigint }[] = [];
    for (let at = 0; at < length; ) {
      if (at + 12 > length) throw new FormatError("squashfs", "a directory is cut short");
      const count = view.getUint32(at, true) + 1;
      const inodeBlock = BigInt(view.getUint32(at + 4, true));
      at += 12;
      for (let index = 0; index < count; index++) {
        const end = at + 8 + (at + 8 <= length ? view.getUint16(at + 6, true) + 1 : 0);
        if (at + 8 > length || end > length) throw new FormatError("squashfs", "a directory is cut short");
        const name = Buffer.from(bytes.subarray(at + 8, end)).toString("utf8");
        if (name === "." || name === ".." || /[/\0]/.test(name)) {
          throw new FormatError("squashfs", `${JSON.stringify(name)} is not a valid file name`);
        }
        found.push({ name, reference: (inodeBlock << 16n) | BigInt(view.getUint16(at, true)) });
        at = end;
      }
    }
    return found;
  }

  /** Plain bytes of a table, which may cross its blocks. */
  async #metadata(table: number, block: number, offset: number, length: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let at = table + block;
    let skip = offset;
    for (let left = length; left > 0; ) {
      const { plain, next } = await this.#metadataBlock(at);
      if (skip >= METADATA_BLOCK) {
        skip -= METADATA_BLOCK;
      } else {
        const part = plain.subarray(skip, skip + left);
        if (part.length === 0) throw new FormatError("squashfs", "a table is cut short");
        parts.push(part);
        left -= part.length;
        skip = 0;
      }
      at = next;
    }
    return Buffer.concat(parts);
  }

  async #metadataBlock(at: number): Promise<{ plain: Uint8Array; next: number }> {
    const cached = this.#cache.get(at);
    if (cached !== undefined) return cached;
    const header = viewOf(await this.#bytes(at, 2)).getUint16(0, true);
    const length = header & ~METADATA_PLAIN;
    if (length === 0 || length > METADATA_BLOCK) throw new FormatError("squashfs", "a metadata block is too large");
    const bytes = await this.#bytes(at + 2, length);
    const plain = header & METADATA_PLAIN ? bytes : await decompressBlock(bytes, this.compression, METADATA_BLOCK);
    const block = { plain, next: at + 2 + length };
    if (this.#cache.size >= CACHED_BLOCKS) this.#cache.clear();
    this.#cache.set(at, block);
    return block;
  }

  async #bytes(offset: number, length: number): Promise<Uint8Array> {
    if (!Number.isSafeInteger(offset) || offset + length > this.source.size) {
      throw new FormatError("squashfs", "something lies outside the image");
    }
    return this.source.slice(offset, offset + length).bytes();
  }
}

interface Listing {
  block: number;
  size: number;
  offset: number;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
