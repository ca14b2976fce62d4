/**
 * System calls on files by directory descriptor and name. A name is one component, so nobody can redirect the call by
 * replacing a directory above, and no symlink is followed. Calls made for every member of an archive answer with an
 * errno (0 is success) instead of throwing, because "exists already" is an everyday answer there.
 */
import { dlopen, read } from "bun:ffi";
import { ERRNO, OPEN, SystemError } from "./libc.ts";

const library = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: "ptr" },
  openat: { args: ["i32", "buffer", "i32", "u32"], returns: "i32" },
  mkdirat: { args: ["i32", "buffer", "u32"], returns: "i32" },
  symlinkat: { args: ["buffer", "i32", "buffer"], returns: "i32" },
  mknodat: { args: ["i32", "buffer", "u32", "u64"], returns: "i32" },
  linkat: { args: ["i32", "buffer", "i32", "buffer", "i32"], returns: "i32" },
  unlinkat: { args: ["i32", "buffer", "i32"], returns: "i32" },
  fchown: { args: ["i32", "u32", "u32"], returns: "i32" },
  fchmod: { args: ["i32", "u32"], returns: "i32" },
  chmod: { args: ["buffer", "u32"], returns: "i32" },
  fchownat: { args: ["i32", "buffer", "u32", "u32", "i32"], returns: "i32" },
  futimens: { args: ["i32", "buffer"], returns: "i32" },
  utimensat: { args: ["i32", "buffer", "buffer", "i32"], returns: "i32" },
  fsetxattr: { args: ["i32", "buffer", "buffer", "u64", "i32"], returns: "i32" },
  lsetxattr: { args: ["buffer", "buffer", "buffer", "u64", "i32"], returns: "i32" },
  readlinkat: { args: ["i32", "buffer", "buffer", "u64"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
}).symbols;

/** errno of the call just made on this thread. */
const errno = (): number => {
  const location = library.__errno_location();
  return location === null ? ERRNO.EIO : read.i32(location, 0);
};

const outcome = (result: number): number => (result < 0 ? errno() : 0);

/** Throws SystemError unless `code` is 0. */
export const succeed = (code: number, call: string): void => {
  if (code !== 0) throw new SystemError(call, code);
};

/** A name (one character per byte, see tether/tree/names.ts) as C wants it. */
export const cName = (name: string): Buffer => {
  if (name.includes("\0")) throw new SystemError("name with NUL", ERRNO.EINVAL);
  return Buffer.from(`${name}\0`, "latin1");
};

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const EMPTY = cName("");

/** A descriptor, or minus the errno. Never follows a symlink as the last component. */
export const openAt = (directory: number, name: Uint8Array, flags: number, mode = 0): number => {
  const fd = library.openat(directory, name, flags | OPEN.closeOnExec | OPEN.noFollow, mode);
  return fd < 0 ? -errno() : fd;
};

/** Opens the file behind a descriptor (also a path descriptor) anew, whatever its name has become. */
export const reopen = (fd: number, flags: number): number => {
  const opened = library.openat(-1, cName(`/proc/self/fd/${fd}`), flags | OPEN.closeOnExec, 0);
  if (opened < 0) throw new SystemError("open", errno());
  return opened;
};

export const closeFd = (fd: number): void => {
  library.close(fd);
};

export const makeDirectoryAt = (directory: number, name: Uint8Array, mode: number): number =>
  outcome(library.mkdirat(directory, name, mode));

export const makeSymlinkAt = (target: Uint8Array, directory: number, name: Uint8Array): number =>
  outcome(library.symlinkat(target, directory, name));

/** `mode` with the file type. Linux takes 12 bits of major and 20 bits of minor device number. */
export const makeNodeAt = (directory: number, name: Uint8Array, mode: number, major: number, minor: number): number => {
  const device = (BigInt(major) << 8n) | BigInt(minor & 0xff) | (BigInt(minor & ~0xff) << 12n);
  return outcome(library.mknodat(directory, name, mode, device));
};

/** Hard link; a symlink is linked itself. */
export const makeLinkAt = (from: number, existing: Uint8Array, directory: number, name: Uint8Array): number =>
  outcome(library.linkat(from, existing, directory, name, 0));

/** EISDIR for a directory. */
export const unlinkAt = (directory: number, name: Uint8Array): number => outcome(library.unlinkat(directory, name, 0));

export const removeDirectoryAt = (directory: number, name: Uint8Array): number =>
  outcome(library.unlinkat(directory, name, AT_REMOVEDIR));

export const changeOwner = (fd: number, uid: number, gid: number): void =>
  succeed(outcome(library.fchown(fd, uid, gid)), "chown");

export const changeOwnerAt = (directory: number, name: Uint8Array, uid: number, gid: number): void =>
  succeed(outcome(library.fchownat(directory, name, uid, gid, AT_SYMLINK_NOFOLLOW)), "chown");

export const changeMode = (fd: number, mode: number): void => succeed(outcome(library.fchmod(fd, mode)), "chmod");

/** For a path descriptor, which fchmod does not take. */
export const changeModeOfPath = (fd: number, mode: number): void =>
  succeed(outcome(library.chmod(cName(`/proc/self/fd/${fd}`), mode)), "chmod");

const NANOSECONDS = 1_000_000_000n;
const times = new BigInt64Array(4);
const timesBytes = new Uint8Array(times.buffer);
/** Access and modification time from nanoseconds since 1970, which may be negative. */
const fillTimes = (mtime: bigint): Uint8Array => {
  const seconds = mtime / NANOSECONDS - (mtime % NANOSECONDS < 0n ? 1n : 0n);
  times[0] = seconds;
  times[1] = mtime - seconds * NANOSECONDS;
  times[2] = seconds;
  times[3] = times[1];
  return timesBytes;
};

export const changeTimes = (fd: number, mtime: bigint): void =>
  succeed(outcome(library.futimens(fd, fillTimes(mtime))), "utimens");

export const changeTimesAt = (directory: number, name: Uint8Array, mtime: bigint): void =>
  succeed(outcome(library.utimensat(directory, name, fillTimes(mtime), AT_SYMLINK_NOFOLLOW)), "utimens");

const ONE_BYTE = new Uint8Array(1);
export const changeAttribute = (fd: number, name: string, value: Uint8Array): number =>
  outcome(library.fsetxattr(fd, textName(name), value.length > 0 ? value : ONE_BYTE, value.length, 0));

/** For what cannot be opened: symlinks, devices, fifos. */
export const changeAttributeAt = (
  directory: number,
  name: Uint8Array,
  attribute: string,
  value: Uint8Array,
): number => {
  const path = Buffer.concat([Buffer.from(`/proc/self/fd/${directory}/`), name]);
  const bytes = value.length > 0 ? value : ONE_BYTE;
  return outcome(library.lsetxattr(path, textName(attribute), bytes, value.length, 0));
};

const textName = (name: string): Buffer => cName(Buffer.from(name, "utf8").toString("latin1"));

/** PATH_MAX: Linux has no longer symlink. */
const LINK_LIMIT = 4096;
const linkBuffer = Buffer.alloc(LINK_LIMIT);
/** Target of a symlink that is open as a path descriptor. */
export const readLinkOf = (fd: number): Buffer => {
  const length = Number(library.readlinkat(fd, EMPTY, linkBuffer, LINK_LIMIT));
  if (length < 0) throw new SystemError("readlink", errno());
  return Buffer.from(linkBuffer.subarray(0, length));
};
