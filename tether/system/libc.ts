/**
 * The system calls that Bun has no function for. glibc's functions by FFI; a failure throws SystemError.
 */
import { dlopen, ptr, read } from "bun:ffi";

const library = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: "ptr" },
  mount: { args: ["buffer", "buffer", "buffer", "u64", "buffer"], returns: "i32" },
  umount2: { args: ["buffer", "i32"], returns: "i32" },
  pipe2: { args: ["buffer", "i32"], returns: "i32" },
  open: { args: ["buffer", "i32", "u32"], returns: "i32" },
  memfd_create: { args: ["buffer", "u32"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "buffer"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i64"], returns: "i32" },
  poll: { args: ["buffer", "u64", "i32"], returns: "i32" },
  read: { args: ["i32", "buffer", "u64"], returns: "i64" },
  write: { args: ["i32", "buffer", "u64"], returns: "i64" },
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "buffer", "u32"], returns: "i32" },
  connect: { args: ["i32", "buffer", "u32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "buffer", "u32"], returns: "i32" },
  sethostname: { args: ["buffer", "u64"], returns: "i32" },
  setdomainname: { args: ["buffer", "u64"], returns: "i32" },
  reboot: { args: ["i32"], returns: "i32" },
  sync: { args: [], returns: "void" },
  syncfs: { args: ["i32"], returns: "i32" },
  waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" },
  chroot: { args: ["buffer"], returns: "i32" },
  mknod: { args: ["buffer", "u32", "u64"], returns: "i32" },
  lsetxattr: { args: ["buffer", "buffer", "buffer", "u64", "i32"], returns: "i32" },
  getxattr: { args: ["buffer", "buffer", "buffer", "u64"], returns: "i64" },
  listxattr: { args: ["buffer", "buffer", "u64"], returns: "i64" },
  utimensat: { args: ["i32", "buffer", "buffer", "i32"], returns: "i32" },
  linkat: { args: ["i32", "buffer", "i32", "buffer", "i32"], returns: "i32" },
  syscall: { args: ["i64", "i64", "buffer", "buffer", "i64"], returns: "i64" },
}).symbols;

export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EIO: 5,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ELOOP: 40,
  ENODATA: 61,
  EOPNOTSUPP: 95,
} as const;

const TEXTS: Record<number, string> = {
  1: "operation not permitted",
  2: "no such file or directory",
  3: "no such process",
  5: "input/output error",
  7: "argument list too long",
  8: "exec format error",
  12: "cannot allocate memory",
  13: "permission denied",
  16: "device or resource busy",
  17: "file exists",
  19: "no such device",
  20: "not a directory",
  21: "is a directory",
  22: "invalid argument",
  26: "text file busy",
  28: "no space left on device",
  30: "read-only file system",
  36: "file name too long",
  40: "too many levels of symbolic links",
  95: "operation not supported",
};

/** The text that Go, and so Docker, prints for an errno. */
export const errnoText = (errno: number): string => TEXTS[errno] ?? `errno ${errno}`;

export class SystemError extends Error {
  override readonly name = "SystemError";
  constructor(
    readonly call: string,
    readonly errno: number,
  ) {
    super(`${call}: ${errnoText(errno)}`);
  }
}

/** errno of the call just made on this thread. */
const errno = (): number => {
  const location = library.__errno_location();
  return location === null ? 0 : read.i32(location, 0);
};

const checked = <T extends number | bigint>(result: T, call: string): number => {
  const value = Number(result);
  if (value < 0) throw new SystemError(call, errno());
  return value;
};

/** Path or string as C wants it. A NUL inside would cut it silently, so it is refused. */
const text = (value: string | Uint8Array): Uint8Array => {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  if (bytes.includes(0)) throw new SystemError("path with NUL", ERRNO.EINVAL);
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
};

export const MOUNT = {
  readOnly: 1,
  noSuid: 2,
  noDev: 4,
  noExec: 8,
  remount: 32,
  noAtime: 1024,
  bind: 4096,
  recursive: 16384,
  private: 1 << 18,
  relAtime: 1 << 21,
} as const;

export const mount = (source: string, target: string, type: string, flags: number, data = ""): void => {
  checked(library.mount(text(source), text(target), text(type), flags, text(data)), `mount ${target}`);
};

const MNT_DETACH = 2;
export const unmount = (target: string, detach = false): void => {
  checked(library.umount2(text(target), detach ? MNT_DETACH : 0), `unmount ${target}`);
};

export const OPEN = {
  readOnly: 0,
  writeOnly: 1,
  readWrite: 2,
  create: 0o100,
  exclusive: 0o200,
  noControllingTerminal: 0o400,
  truncate: 0o1000,
  nonBlocking: 0o4000,
  closeOnExec: 0o2000000,
  noFollow: process.arch === "arm64" ? 0o100000 : 0o400000,
  directory: process.arch === "arm64" ? 0o40000 : 0o200000,
  path: 0o10000000,
} as const;

export const open = (path: string, flags: number, mode = 0): number =>
  checked(library.open(text(path), flags | OPEN.closeOnExec, mode), `open ${path}`);

/** Both ends close on exec. `readNonBlocking` makes only our reading end non-blocking. */
export const makePipe = (nonBlocking: "read" | "write" | "none"): { read: number; write: number } => {
  const ends = new Int32Array(2);
  checked(library.pipe2(new Uint8Array(ends.buffer), OPEN.closeOnExec), "pipe");
  const [readEnd = -1, writeEnd = -1] = ends;
  if (nonBlocking === "read") setNonBlocking(readEnd);
  if (nonBlocking === "write") setNonBlocking(writeEnd);
  return { read: readEnd, write: writeEnd };
};

const F_SETFL = 4;
export const setNonBlocking = (fd: number): void => {
  checked(library.fcntl(fd, F_SETFL, OPEN.nonBlocking), "fcntl");
};

/** An anonymous file with this content. */
export const memoryFile = (name: string, content: Uint8Array): number => {
  const fd = checked(library.memfd_create(text(name), 1), "memfd_create");
  for (let offset = 0; offset < content.length; ) offset += writeFd(fd, content.subarray(offset));
  return fd;
};

export const ioctl = (fd: number, request: number, argument: Uint8Array): void => {
  checked(library.ioctl(fd, request, argument), "ioctl");
};

const POLLIN = 1;
/** Waits until the descriptor can be read, at most `milliseconds`. Blocks the whole program. */
export const waitReadable = (fd: number, milliseconds: number): boolean => {
  const entry = new Uint8Array(8);
  const view = new DataView(entry.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, POLLIN, true);
  return checked(library.poll(entry, 1, Math.max(0, Math.ceil(milliseconds))), "poll") > 0;
};

/** Bytes read, 0 at the end, undefined when a non-blocking descriptor has nothing now. */
export const readFd = (fd: number, into: Uint8Array): number | undefined => {
  const count = Number(library.read(fd, into, into.length));
  if (count >= 0) return count;
  const error = errno();
  if (error === ERRNO.EAGAIN) return undefined;
  throw new SystemError("read", error);
};

/** Bytes taken; 0 when a non-blocking descriptor has no room now. */
export const writeFd = (fd: number, bytes: Uint8Array): number => {
  const count = Number(library.write(fd, bytes, bytes.length));
  if (count >= 0) return count;
  const error = errno();
  if (error === ERRNO.EAGAIN) return 0;
  throw new SystemError("write", error);
};

export const socket = (family: number, type: number, protocol: number): number =>
  checked(library.socket(family, type | OPEN.closeOnExec, protocol), "socket");
export const connect = (fd: number, address: Uint8Array): void => {
  checked(library.connect(fd, address, address.length), "connect");
};
export const bind = (fd: number, address: Uint8Array): void => {
  checked(library.bind(fd, address, address.length), "bind");
};

const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
/** A program of struct sock_filter (8 bytes each): the socket takes only what it lets through. */
export const attachFilter = (fd: number, program: Uint8Array): void => {
  // struct sock_fprog: the number of instructions, and where they are.
  const description = new Uint8Array(16);
  const view = new DataView(description.buffer);
  view.setUint16(0, program.length / 8, true);
  view.setBigUint64(8, BigInt(ptr(program)), true);
  checked(library.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, description, description.length), "setsockopt");
};

export const setHostname = (name: string): void => {
  const bytes = Buffer.from(name);
  checked(library.sethostname(bytes.length > 0 ? bytes : new Uint8Array(1), bytes.length), "sethostname");
};
export const setDomainname = (name: string): void => {
  const bytes = Buffer.from(name);
  checked(library.setdomainname(bytes.length > 0 ? bytes : new Uint8Array(1), bytes.length), "setdomainname");
};

const POWER_OFF = 0x4321fedc;
/** Powers the machine off at once, without writing anything back. */
export const powerOff = (): void => {
  checked(library.reboot(POWER_OFF), "reboot");
};
export const syncAll = (): void => library.sync();

const WNOHANG = 1;
/** Reaps the child if it has ended; its status is dropped. */
export const waitNoHang = (pid: number): void => void library.waitpid(pid, null, WNOHANG);

export const chroot = (path: string): void => {
  checked(library.chroot(text(path)), "chroot");
};

export const NODE_TYPE = { fifo: 0o010000, character: 0o020000, block: 0o060000 } as const;
export const makeNode = (path: string | Uint8Array, mode: number, major = 0, minor = 0): void => {
  const device =
    (BigInt(major & 0xfff) << 8n) |
    BigInt(minor & 0xff) |
    (BigInt(minor & ~0xff) << 12n) |
    (BigInt(major & ~0xfff) << 32n);
  checked(library.mknod(text(path), mode, device), "mknod");
};

export const setAttribute = (path: string | Uint8Array, name: string, value: Uint8Array): void => {
  const bytes = value.length > 0 ? value : new Uint8Array(1);
  checked(library.lsetxattr(text(path), text(name), bytes, value.length, 0), "setxattr");
};

/** Longest list of names, and longest value, of extended attributes that Linux has. */
const ATTRIBUTE_LIMIT = 64 * 1024;
const attributeBuffer = new Uint8Array(ATTRIBUTE_LIMIT);
/** All extended attributes of a file (of a descriptor's file by /proc/self/fd/N); empty where the filesystem has none. */
export const attributes = (path: string): Map<string, Uint8Array> => {
  const found = new Map<string, Uint8Array>();
  const length = Number(library.listxattr(text(path), attributeBuffer, ATTRIBUTE_LIMIT));
  if (length <= 0) return found;
  for (const name of Buffer.from(attributeBuffer.subarray(0, length)).toString().split("\0")) {
    if (name === "") continue;
    const size = Number(library.getxattr(text(path), text(name), attributeBuffer, ATTRIBUTE_LIMIT));
    if (size >= 0) found.set(name, attributeBuffer.slice(0, size));
  }
  return found;
};

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
/** Sets the modification and access time of the file itself, not of what a symlink points to. */
export const setTimes = (path: string | Uint8Array, mtime: bigint): void => {
  const seconds = mtime / 1_000_000_000n - (mtime % 1_000_000_000n < 0n ? 1n : 0n);
  const nanoseconds = mtime - seconds * 1_000_000_000n;
  const times = new BigInt64Array([seconds, nanoseconds, seconds, nanoseconds]);
  checked(library.utimensat(AT_FDCWD, text(path), new Uint8Array(times.buffer), AT_SYMLINK_NOFOLLOW), "utimensat");
};

/** Hard link; a symlink is linked itself. */
export const hardLink = (existing: string | Uint8Array, path: string | Uint8Array): void => {
  checked(library.linkat(AT_FDCWD, text(existing), AT_FDCWD, text(path), 0), "link");
};

const SYS_OPENAT2 = 437;
export const RESOLVE = { noCrossing: 0x01, noMagicLinks: 0x02, noSymlinks: 0x04, beneath: 0x08, inRoot: 0x10 } as const;
/** Opens a path that cannot lead out of the directory `root` (a descriptor). */
export const openInRoot = (
  root: number,
  path: string | Uint8Array,
  flags: number,
  mode: number,
  resolve: number,
): number => {
  const how = new BigUint64Array([BigInt(flags | OPEN.closeOnExec), BigInt(mode), BigInt(resolve)]);
  const result = library.syscall(SYS_OPENAT2, root, text(path), new Uint8Array(how.buffer), how.byteLength);
  return checked(result, `open ${typeof path === "string" ? path : Buffer.from(path)}`);
};
