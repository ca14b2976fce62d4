/**
 * The kernel's FUSE interface (include/uapi/linux/fuse.h, version 7), as far as a share needs it. Everything is in the byte
 * order of the machine; both architectures are little endian.
 */
import { FUSE_ATTRIBUTES_LENGTH } from "../file-share/attributes.ts";
import { FormatError } from "../format-error.ts";

export const FUSE_MAJOR = 7;
/** Newest minor version whose structures are known here. */
export const FUSE_MINOR = 38;

export const OPCODE = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  setxattr: 21,
  getxattr: 22,
  listxattr: 23,
  removexattr: 24,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  create: 35,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  fallocate: 43,
  readdirplus: 44,
  rename2: 45,
  lseek: 46,
} as const;

export const INIT_FLAG = {
  asyncRead: 1 << 0,
  bigWrites: 1 << 5,
  autoInvalidate: 1 << 12,
  readdirPlus: 1 << 13,
  readdirPlusAuto: 1 << 14,
  parallelDirectoryOperations: 1 << 18,
  maxPages: 1 << 22,
  /** The file system takes set-ID bits away itself where the kernel says so, instead of being asked before every write. */
  handleKillPrivileges: 1 << 28,
} as const;

export const ATTRIBUTE_FLAG = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  accessed: 16,
  modified: 32,
  handle: 64,
  accessedNow: 128,
  modifiedNow: 256,
  dropSetId: 2048,
} as const;

/** Of getattr: `handle` is valid. */
export const GETATTR_HANDLE = 1;
export const WRITE_DROP_SET_ID = 4;
export const OPEN_DROP_SET_ID = 1;
/** Of an open file: what is in the page cache may stay there. */
export const KEEP_CACHE = 2;

/** A request: its header, and a reader of what follows. */
export interface FuseRequest {
  opcode: number;
  unique: bigint;
  node: number;
  uid: number;
  gid: number;
  body: FuseBody;
}

/** Length of fuse_in_header without its own length field, which whoever splits the stream has taken away. */
const HEADER = 36;

/** Reads the fields of a request in order. Throws FormatError beyond its end. */
export class FuseBody {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  u32(): number {
    return this.#take(4).readUInt32LE(0);
  }

  u64(): bigint {
    return this.#take(8).readBigUInt64LE(0);
  }

  /** A u64 that counts bytes or names a node or handle of ours. */
  number(): number {
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new FormatError("fuse", `number ${value} is out of range`);
    return Number(value);
  }

  skip(length: number): void {
    this.#take(length);
  }

  /** A name up to its NUL. */
  name(): Buffer {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw new FormatError("fuse", "a name has no end");
    const name = this.#bytes.subarray(this.#at, end);
    this.#at = end + 1;
    return name;
  }

  bytes(length: number): Buffer {
    return this.#take(length);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  #take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new FormatError("fuse", "a request is too short");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

/** `message` is without the length in front. */
export const decodeFuseRequest = (message: Buffer): FuseRequest => {
  const header = new FuseBody(message, 0);
  return {
    opcode: header.u32(),
    unique: header.u64(),
    node: header.number(),
    uid: header.u32(),
    gid: header.u32(),
    body: new FuseBody(message, HEADER),
  };
};

const REPLY_HEADER = 16;

/** A whole reply with its header. */
export const fuseReply = (unique: bigint, body: Uint8Array = new Uint8Array(0)): Buffer => {
  const bytes = Buffer.allocUnsafeSlow(REPLY_HEADER + body.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeInt32LE(0, 4);
  bytes.writeBigUInt64LE(unique, 8);
  bytes.set(body, REPLY_HEADER);
  return bytes;
};

export const fuseFailure = (unique: bigint, errno: number): Buffer => {
  const bytes = Buffer.alloc(REPLY_HEADER);
  bytes.writeUInt32LE(REPLY_HEADER, 0);
  bytes.writeInt32LE(-errno, 4);
  bytes.writeBigUInt64LE(unique, 8);
  return bytes;
};

/** What the kernel may remember of a file, in milliseconds. */
export interface Validity {
  entry: number;
  attributes: number;
}

export const ENTRY_LENGTH = 40 + FUSE_ATTRIBUTES_LENGTH;

const writeTime = (into: Buffer, at: number, milliseconds: number): void => {
  into.writeBigUInt64LE(BigInt(Math.floor(milliseconds / 1000)), at);
};
const nanoseconds = (milliseconds: number): number => (milliseconds % 1000) * 1_000_000;

/** fuse_entry_out. `attributes` is a struct fuse_attr. */
export const entryOut = (node: number, attributes: Uint8Array, validity: Validity): Buffer => {
  const bytes = Buffer.alloc(ENTRY_LENGTH);
  bytes.writeBigUInt64LE(BigInt(node), 0);
  writeTime(bytes, 16, validity.entry);
  writeTime(bytes, 24, validity.attributes);
  bytes.writeUInt32LE(nanoseconds(validity.entry), 32);
  bytes.writeUInt32LE(nanoseconds(validity.attributes), 36);
  bytes.set(attributes, 40);
  return bytes;
};

/** fuse_attr_out */
export const attributesOut = (attributes: Uint8Array, validity: Validity): Buffer => {
  const bytes = Buffer.alloc(16 + FUSE_ATTRIBUTES_LENGTH);
  writeTime(bytes, 0, validity.attributes);
  bytes.writeUInt32LE(nanoseconds(validity.attributes), 8);
  bytes.set(attributes, 16);
  return bytes;
};

/** fuse_open_out */
export const openOut = (handle: number, flags: number): Buffer => {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(handle), 0);
  bytes.writeUInt32LE(flags, 8);
  return bytes;
};

/** A count as fuse_write_out and fuse_getxattr_out have it. */
export const countOut = (count: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(count, 0);
  return bytes;
};

export const offsetOut = (offset: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(offset), 0);
  return bytes;
};

export interface InitReply {
  minor: number;
  readAhead: number;
  flags: number;
  maxBackground: number;
  maxWrite: number;
  maxPages: number;
}

/** fuse_init_out */
export const initOut = (init: InitReply): Buffer => {
  const bytes = Buffer.alloc(64);
  bytes.writeUInt32LE(FUSE_MAJOR, 0);
  bytes.writeUInt32LE(init.minor, 4);
  bytes.writeUInt32LE(init.readAhead, 8);
  bytes.writeUInt32LE(init.flags >>> 0, 12);
  bytes.writeUInt16LE(init.maxBackground, 16);
  bytes.writeUInt16LE(Math.floor((init.maxBackground * 3) / 4), 18);
  bytes.writeUInt32LE(init.maxWrite, 20);
  bytes.writeUInt32LE(1, 24);
  bytes.writeUInt16LE(init.maxPages, 28);
  return bytes;
};

export interface FileSystemFacts {
  blockSize: number;
  fragmentSize: number;
  blocks: number;
  free: number;
  available: number;
  files: number;
  freeFiles: number;
  nameLength: number;
}

/** fuse_statfs_out */
export const fileSystemOut = (facts: FileSystemFacts): Buffer => {
  const bytes = Buffer.alloc(80);
  const { blocks, free, available, files, freeFiles, blockSize, nameLength, fragmentSize } = facts;
  for (const [index, value] of [blocks, free, available, files, freeFiles].entries())
    bytes.writeBigUInt64LE(BigInt(value), index * 8);
  for (const [index, value] of [blockSize, nameLength, fragmentSize].entries())
    bytes.writeUInt32LE(value, 40 + index * 4);
  return bytes;
};

/** fuse_dirent, padded to eight bytes. */
export const directoryEntryOut = (entry: { inode: bigint; next: bigint; type: number; name: Uint8Array }): Buffer => {
  const bytes = Buffer.alloc(Math.ceil((24 + entry.name.length) / 8) * 8);
  bytes.writeBigUInt64LE(entry.inode, 0);
  bytes.writeBigUInt64LE(entry.next, 8);
  bytes.writeUInt32LE(entry.name.length, 16);
  bytes.writeUInt32LE(entry.type, 20);
  bytes.set(entry.name, 24);
  return bytes;
};
