/**
 * The system calls of the file server, by FFI: Bun has no function for those that work on a directory descriptor and a name.
 * A failure throws ShareFailure with the errno.
 */
import { dlopen, read } from "bun:ffi";
import { encodeAttributes } from "../format/file-share/attributes.ts";

const library = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: "ptr" },
  open: { args: ["buffer", "i32", "u32"], returns: "i32" },
  openat: { args: ["i32", "buffer", "i32", "u32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  statx: { args: ["i32", "buffer", "i32", "u32", "buffer"], returns: "i32" },
  mkdirat: { args: ["i32", "buffer", "u32"], returns: "i32" },
  mknodat: { args: ["i32", "buffer", "u32", "u64"], returns: "i32" },
  symlinkat: { args: ["buffer", "i32", "buffer"], returns: "i32" },
  linkat: { args: ["i32", "buffer", "i32", "buffer", "i32"], returns: "i32" },
  unlinkat: { args: ["i32", "buffer", "i32"], returns: "i32" },
  renameat2: { args: ["i32", "buffer", "i32", "buffer", "u32"], returns: "i32" },
  readlinkat: { args: ["i32", "buffer", "buffer", "u64"], returns: "i64" },
  fchownat: { args: ["i32", "buffer", "u32", "u32", "i32"], returns: "i32" },
  chmod: { args: ["buffer", "u32"], returns: "i32" },
  ftruncate: { args: ["i32", "i64"], returns: "i32" },
  utimensat: { args: ["i32", "buffer", "buffer", "i32"], returns: "i32" },
  getdents64: { args: ["i32", "buffer", "u64"], returns: "i64" },
  lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
  fstatfs: { args: ["i32", "buffer"], returns: "i32" },
  fallocate: { args: ["i32", "i32", "i64", "i64"], returns: "i32" },
  getxattr: { args: ["buffer", "buffer", "buffer", "u64"], returns: "i64" },
  setxattr: { args: ["buffer", "buffer", "buffer", "u64", "i32"], returns: "i32" },
  listxattr: { args: ["buffer", "buffer", "u64"], returns: "i64" },
  removexattr: { args: ["buffer", "buffer"], returns: "i32" },
  umask: { args: ["u32"], returns: "u32" },
  syscall: { args: ["i64", "i64", "buffer", "buffer", "i64"], returns: "i64" },
}).symbols;

export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EACCES: 13,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EROFS: 30,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ELOOP: 40,
  EOPNOTSUPP: 95,
  ESTALE: 116,
} as const;

/** An operation that failed as the kernel, or a rule of the share, has it. */
export class ShareFailure extends Error {
  override readonly name = "ShareFailure";
  constructor(readonly errno: number) {
    super(`errno ${errno}`);
  }
}

const errno = (): number => {
  const location = library.__errno_location();
  return location === null ? ERRNO.EIO : read.i32(location, 0);
};

const checked = (result: number | bigint): number => {
  const value = Number(result);
  if (value < 0) throw new ShareFailure(errno());
  return value;
};

const arm = process.arch === "arm64";
export const O = {
  readOnly: 0,
  writeOnly: 1,
  readWrite: 2,
  create: 0o100,
  exclusive: 0o200,
  truncate: 0o1000,
  append: 0o2000,
  nonBlocking: 0o4000,
  directory: arm ? 0o40000 : 0o200000,
  noFollow: arm ? 0o100000 : 0o400000,
  closeOnExec: 0o2000000,
  path: 0o10000000,
} as const;

const AT = { symlinkNoFollow: 0x100, removeDirectory: 0x200, emptyPath: 0x1000 } as const;
const RESOLVE_NO_CROSSING = 0x01;
const RESOLVE_NO_MAGIC_LINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;
const SYS_OPENAT2 = 437n;

/** C's form of a name or path. A NUL inside would cut it silently, so it is refused. */
export const cString = (text: Uint8Array | string): Buffer => {
  const bytes = Buffer.from(text as Uint8Array);
  if (bytes.includes(0)) throw new ShareFailure(ERRNO.EINVAL);
  return Buffer.concat([bytes, Buffer.alloc(1)]);
};
const EMPTY = cString("");

export const openPath = (path: string, flags: number): number =>
  checked(library.open(cString(path), flags | O.closeOnExec, 0));

const how = Buffer.alloc(24);
/**
 * Opens `path` below a directory and nowhere else, whatever is renamed meanwhile (openat2(2)). No symlink on the way is
 * followed unless `symlinks`; as the last component one is opened itself with O_PATH and O_NOFOLLOW.
 */
export const openBelow = (
  directory: number,
  path: Uint8Array | string,
  flags: number,
  rules: { symlinks?: boolean; oneFileSystem?: boolean } = {},
): number => {
  const resolve =
    RESOLVE_BENEATH |
    RESOLVE_NO_MAGIC_LINKS |
    (rules.symlinks ? 0 : RESOLVE_NO_SYMLINKS) |
    (rules.oneFileSystem ? RESOLVE_NO_CROSSING : 0);
  how.writeBigUInt64LE(BigInt(flags | O.closeOnExec), 0);
  how.writeBigUInt64LE(0n, 8);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  const text = path.length === 0 ? cString(".") : cString(path);
  return checked(library.syscall(SYS_OPENAT2, BigInt(directory), text, how, BigInt(how.length)));
};

const descriptorPath = (fd: number): Buffer => cString(`/proc/self/fd/${fd}`);

/** Opens what a path descriptor stands for, whatever its name has become. */
export const reopen = (fd: number, flags: number): number =>
  checked(library.openat(-1, descriptorPath(fd), flags | O.closeOnExec, 0));

/** Makes a regular file that was not there: EEXIST otherwise. */
export const createAt = (directory: number, name: Uint8Array, flags: number, mode: number): number =>
  checked(
    library.openat(
      directory,
      cString(name),
      flags | O.create | O.exclusive | O.noFollow | O.closeOnExec,
      mode & 0o7777,
    ),
  );

export const closeFd = (fd: number): void => {
  library.close(fd);
};

/** STATX_BASIC_STATS */
const BASIC = 0x7ff;
const statBuffer = Buffer.alloc(256);
/** AT_NO_AUTOMOUNT with the rest: a look must not mount anything. */
const NO_AUTOMOUNT = 0x800;

const statInto = (directory: number, name: Buffer): Buffer => {
  const flags = AT.symlinkNoFollow | NO_AUTOMOUNT | (name === EMPTY ? AT.emptyPath : 0);
  checked(library.statx(directory, name, flags, BASIC, statBuffer));
  return statBuffer;
};

/** struct statx (linux/stat.h), the same on every architecture, as attributes of the wire. */
const attributesFromStat = (stat: Buffer): Buffer => {
  const major = (at: number): number => stat.readUInt32LE(at);
  const minor = (at: number): number => stat.readUInt32LE(at + 4);
  const time = (at: number): bigint => stat.readBigUInt64LE(at);
  return encodeAttributes({
    device: (BigInt(major(136)) << 32n) | BigInt(minor(136)),
    inode: stat.readBigUInt64LE(32),
    size: stat.readBigUInt64LE(40),
    blocks: stat.readBigUInt64LE(48),
    accessed: time(64),
    modified: time(112),
    changed: time(96),
    accessedNanoseconds: stat.readUInt32LE(72),
    modifiedNanoseconds: stat.readUInt32LE(120),
    changedNanoseconds: stat.readUInt32LE(104),
    mode: stat.readUInt16LE(28),
    links: stat.readUInt32LE(16),
    uid: stat.readUInt32LE(20),
    gid: stat.readUInt32LE(24),
    deviceNumber: ((minor(128) & 0xff) | ((major(128) & 0xfff) << 8) | ((minor(128) & ~0xff) << 12)) >>> 0,
    blockSize: stat.readUInt32LE(4),
  });
};

export const attributesOf = (fd: number): Buffer => attributesFromStat(statInto(fd, EMPTY));
export const attributesAt = (directory: number, name: Uint8Array): Buffer =>
  attributesFromStat(statInto(directory, cString(name)));

export const KIND = { mask: 0xf000, fifo: 0x1000, directory: 0x4000, file: 0x8000, symlink: 0xa000, socket: 0xc000 };

/** Mode with the file's type. */
export const modeOf = (fd: number): number => statInto(fd, EMPTY).readUInt16LE(28);
/** Mode, owner and group. */
export const ownershipOf = (fd: number): { mode: number; uid: number; gid: number } => {
  const stat = statInto(fd, EMPTY);
  return { mode: stat.readUInt16LE(28), uid: stat.readUInt32LE(20), gid: stat.readUInt32LE(24) };
};

export const makeDirectoryAt = (directory: number, name: Uint8Array, mode: number): void => {
  checked(library.mkdirat(directory, cString(name), mode));
};
export const makeNodeAt = (directory: number, name: Uint8Array, mode: number): void => {
  checked(library.mknodat(directory, cString(name), mode, 0n));
};
export const makeSymlinkAt = (target: Uint8Array, directory: number, name: Uint8Array): void => {
  checked(library.symlinkat(cString(target), directory, cString(name)));
};
export const linkAt = (from: number, name: Uint8Array, to: number, toName: Uint8Array): void => {
  checked(library.linkat(from, cString(name), to, cString(toName), 0));
};
export const unlinkAt = (directory: number, name: Uint8Array): void => {
  checked(library.unlinkat(directory, cString(name), 0));
};
export const removeDirectoryAt = (directory: number, name: Uint8Array): void => {
  checked(library.unlinkat(directory, cString(name), AT.removeDirectory));
};
export const renameAt = (from: number, name: Uint8Array, to: number, toName: Uint8Array, flags: number): void => {
  checked(library.renameat2(from, cString(name), to, cString(toName), flags));
};

/** PATH_MAX: Linux has no longer symlink. */
const linkBuffer = Buffer.alloc(4096);
export const readLink = (fd: number): Buffer => {
  const length = checked(library.readlinkat(fd, EMPTY, linkBuffer, BigInt(linkBuffer.length)));
  return Buffer.from(linkBuffer.subarray(0, length));
};

const UNCHANGED = 0xffff_ffff;
export const changeOwner = (fd: number, uid: number | undefined, gid: number | undefined): void => {
  checked(library.fchownat(fd, EMPTY, uid ?? UNCHANGED, gid ?? UNCHANGED, AT.emptyPath));
};
export const changeMode = (fd: number, mode: number): void => {
  checked(library.chmod(descriptorPath(fd), mode & 0o7777));
};
export const truncate = (fd: number, size: number): void => {
  checked(library.ftruncate(fd, BigInt(size)));
};

/** UTIME_NOW and UTIME_OMIT */
const NOW = 0x3fffffffn;
const OMIT = 0x3ffffffen;
export type Time = { seconds: bigint; nanoseconds: number } | "now" | undefined;
const times = new BigInt64Array(4);
export const changeTimes = (fd: number, accessed: Time, modified: Time): void => {
  for (const [index, time] of [accessed, modified].entries()) {
    times[index * 2] = typeof time === "object" ? BigInt.asIntN(64, time.seconds) : 0n;
    times[index * 2 + 1] = time === undefined ? OMIT : time === "now" ? NOW : BigInt(time.nanoseconds);
  }
  checked(library.utimensat(-1, descriptorPath(fd), new Uint8Array(times.buffer), 0));
};

/** Entries of an open directory from where it stands; a view that the next call overwrites. */
const entryBuffer = Buffer.alloc(64 * 1024);
export const readEntries = (fd: number): Buffer =>
  entryBuffer.subarray(0, checked(library.getdents64(fd, entryBuffer, BigInt(entryBuffer.length))));

export const seek = (fd: number, offset: bigint, whence: number): number => checked(library.lseek(fd, offset, whence));

export const allocate = (fd: number, mode: number, offset: number, length: number): void => {
  checked(library.fallocate(fd, mode, BigInt(offset), BigInt(length)));
};

const fileSystemBuffer = Buffer.alloc(256);
export const fileSystemTypeOf = (fd: number): number => {
  checked(library.fstatfs(fd, fileSystemBuffer));
  return fileSystemBuffer.readUInt32LE(0);
};

/** struct statfs of 64-bit Linux: eight-byte fields. */
export const fileSystemOf = (fd: number) => {
  checked(library.fstatfs(fd, fileSystemBuffer));
  const field = (index: number): number => {
    const value = fileSystemBuffer.readBigUInt64LE(index * 8);
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
  };
  return {
    blockSize: field(1),
    blocks: field(2),
    free: field(3),
    available: field(4),
    files: field(5),
    freeFiles: field(6),
    nameLength: field(8),
    fragmentSize: field(9) || field(1),
  };
};

export const getAttribute = (fd: number, name: Uint8Array, limit: number): Buffer => {
  const value = Buffer.alloc(limit);
  return value.subarray(0, checked(library.getxattr(descriptorPath(fd), cString(name), value, BigInt(limit))));
};
export const setAttribute = (fd: number, name: Uint8Array, value: Uint8Array, flags: number): void => {
  const bytes = value.length > 0 ? value : EMPTY;
  checked(library.setxattr(descriptorPath(fd), cString(name), bytes, BigInt(value.length), flags));
};
export const listAttributes = (fd: number, limit: number): Buffer => {
  const names = Buffer.alloc(limit);
  return names.subarray(0, checked(library.listxattr(descriptorPath(fd), names, BigInt(limit))));
};
export const removeAttribute = (fd: number, name: Uint8Array): void => {
  checked(library.removexattr(descriptorPath(fd), cString(name)));
};

/** Modes of new files are what the client says: its kernel has applied the umask already. */
export const dropUmask = (): void => {
  library.umask(0);
};
