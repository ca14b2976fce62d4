/** What the file server holds to beyond the kernel's own rules. */
import { OPEN } from "../format/file-share/messages.ts";
import {
  attributesAt,
  changeMode,
  changeOwner,
  ERRNO,
  fileSystemTypeOf,
  KIND,
  modeOf,
  O,
  ownershipOf,
  ShareFailure,
} from "./system-calls.ts";

const SET_GROUP_ID = 0o2000;

/**
 * Types (linux/magic.h) of file systems whose files are the kernel's own: to open or write one acts on this machine. proc,
 * sysfs, debugfs, tracefs, securityfs, configfs, efivarfs, cgroup, cgroup2, bpf.
 */
const KERNEL_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0x9fa0, 0x62656572, 0x64626720, 0x74726163, 0x73636673, 0x62656570, 0xde5e81e4, 0x27e0eb, 0x63677270, 0xcafe4a11,
]);

/** Throws EACCES for a file of the kernel's. */
export const refuseKernelFile = (fd: number): void => {
  if (KERNEL_FILE_SYSTEMS.has(fileSystemTypeOf(fd))) throw new ShareFailure(ERRNO.EACCES);
};

/** Attributes of users, and the capabilities of programs; the others mean something to this machine alone. */
export const checkAttribute = (name: Uint8Array): void => {
  const text = Buffer.from(name).toString("latin1");
  if (!text.startsWith("user.") && text !== "security.capability") throw new ShareFailure(ERRNO.EOPNOTSUPP);
};

export const isDots = (name: Uint8Array): boolean =>
  (name.length === 1 && name[0] === 0x2e) || (name.length === 2 && name[0] === 0x2e && name[1] === 0x2e);

/** A name may vanish while its directory is listed. */
export const attributesIfThere = (directory: number, name: Uint8Array): { attributes?: Buffer } => {
  try {
    return { attributes: attributesAt(directory, name) };
  } catch (error) {
    if (error instanceof ShareFailure) return {};
    throw error;
  }
};

/** A new file belongs to who made it, and to its directory's group where that has the set-group-ID bit. */
export const own = (directory: number, fd: number, uid: number, gid: number, mode: number | undefined): void => {
  const parent = ownershipOf(directory);
  changeOwner(fd, uid, (parent.mode & SET_GROUP_ID) !== 0 ? undefined : gid);
  // Changing the owner takes set-ID bits away.
  const special = mode === undefined ? 0 : mode & 0o6000;
  if (special !== 0) changeMode(fd, modeOf(fd) | special);
};

const SET_USER_ID = 0o4000;
const GROUP_EXECUTE = 0o010;
/** The server writes as root, so that this machine's kernel would leave the bits. */
export const dropSetId = (fd: number): void => {
  const mode = modeOf(fd);
  if ((mode & KIND.mask) !== KIND.file) return;
  const dropped = SET_USER_ID | ((mode & GROUP_EXECUTE) !== 0 ? SET_GROUP_ID : 0);
  if ((mode & dropped) !== 0) changeMode(fd, mode & ~dropped);
};

export const accessOf = (flags: number): { access: number; readable: boolean; writable: boolean } => {
  const writable = (flags & OPEN.write) !== 0;
  const readable = (flags & OPEN.read) !== 0 || !writable;
  const access = writable ? (readable ? O.readWrite : O.writeOnly) : O.readOnly;
  return { access: access | ((flags & OPEN.append) !== 0 ? O.append : 0), readable, writable };
};

/** An error of node:fs. */
export const failure = (error: NodeJS.ErrnoException): ShareFailure =>
  new ShareFailure(Math.abs(error.errno ?? ERRNO.EIO));
