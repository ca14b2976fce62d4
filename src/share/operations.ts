import { read as readFile, write as writeFile, fdatasync, fsync } from "node:fs";
import { type DirectoryEntry, encodeEntry, entryLength } from "../format/file-share/directory-entries.ts";
import {
  ATTRIBUTE_LIMIT,
  CHANGE,
  OPEN,
  type OperationName,
  type ReplyFields,
  type RequestFields,
  TRANSFER_LIMIT,
} from "../format/file-share/messages.ts";
import { Handles } from "./handles.ts";
import type { ShareRoot } from "./root.ts";
import {
  accessOf,
  attributesIfThere,
  checkAttribute,
  dropSetId,
  failure,
  isDots,
  own,
  refuseKernelFile,
} from "./rules.ts";
import {
  allocate,
  attributesOf,
  changeMode,
  changeOwner,
  changeTimes,
  closeFd,
  createAt,
  ERRNO,
  fileSystemOf,
  getAttribute,
  KIND,
  linkAt,
  listAttributes,
  makeDirectoryAt,
  makeNodeAt,
  makeSymlinkAt,
  modeOf,
  O,
  readEntries,
  readLink,
  removeAttribute,
  removeDirectoryAt,
  renameAt,
  reopen,
  seek,
  setAttribute,
  ShareFailure,
  type Time,
  truncate,
  unlinkAt,
} from "./system-calls.ts";

type Answer<K extends OperationName> = ReplyFields<K> | Promise<ReplyFields<K>>;
type Operations = { [K in OperationName]: (root: ShareRoot, share: number, fields: RequestFields<K>) => Answer<K> };

/** Operations that a read-only share does not serve; `open` looks at its flags itself. */
const CHANGING: ReadonlySet<OperationName> = new Set<OperationName>([
  "change",
  "makeSymlink",
  "makeNode",
  "makeDirectory",
  "unlink",
  "removeDirectory",
  "rename",
  "link",
  "create",
  "write",
  "setAttribute",
  "removeAttribute",
  "allocate",
]);

/** RENAME_NOREPLACE and RENAME_EXCHANGE: whiteouts are device nodes, which a client does not get to make. */
const RENAME_FLAGS = 1 | 2;
/** FALLOC_FL_KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE */
const ALLOCATE_MODES = 0x01 | 0x02 | 0x10;
const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** Fixed part of struct linux_dirent64: inode, offset, length, type. */
const ENTRY_HEADER = 19;

/** Calls `use` and closes the descriptor afterwards. */
const closing = <T>(fd: number, use: (fd: number) => T): T => {
  try {
    return use(fd);
  } finally {
    closeFd(fd);
  }
};

/** The file operations of one client, over its shares. */
export class FileOperations {
  readonly #roots: readonly ShareRoot[];
  readonly #handles = new Handles();

  constructor(roots: readonly ShareRoot[]) {
    this.#roots = roots;
  }

  /** Throws ShareFailure with what the client is told. */
  async run<K extends OperationName>(operation: K, share: number, fields: RequestFields<K>): Promise<ReplyFields<K>> {
    const root = this.#roots[share];
    if (root === undefined) throw new ShareFailure(ERRNO.ENOENT);
    if (root.readOnly && CHANGING.has(operation)) throw new ShareFailure(ERRNO.EROFS);
    const serve = this.#operations[operation] as Operations[K];
    return await serve(root, share, fields);
  }

  close(): void {
    this.#handles.closeAll();
    for (const root of this.#roots) root.close();
  }

  readonly #operations: Operations = {
    stat: (root, _share, { path }) => closing(root.find(path), (fd) => ({ attributes: attributesOf(fd) })),
    statHandle: (_root, share, { handle }) => ({ attributes: attributesOf(this.#handles.get(handle, share).fd) }),
    change: (root, share, fields) => this.#change(root, share, fields),
    readLink: (root, _share, { path }) => closing(root.find(path), (fd) => ({ target: readLink(fd) })),
    makeSymlink: (root, _share, { path, target, uid, gid }) =>
      this.#make(root, path, uid, gid, undefined, (directory, name) => makeSymlinkAt(target, directory, name)),
    makeNode: (root, _share, { path, mode, uid, gid }) => {
      const kind = mode & KIND.mask;
      // A device node would be one of this machine.
      if (kind !== KIND.file && kind !== KIND.fifo && kind !== KIND.socket) throw new ShareFailure(ERRNO.EPERM);
      return this.#make(root, path, uid, gid, mode, (directory, name) =>
        makeNodeAt(directory, name, kind | (mode & 0o7777)),
      );
    },
    makeDirectory: (root, _share, { path, mode, uid, gid }) =>
      this.#make(root, path, uid, gid, mode, (directory, name) => makeDirectoryAt(directory, name, mode & 0o7777)),
    unlink: (root, _share, { path }) => this.#inParent(root, path, unlinkAt),
    removeDirectory: (root, _share, { path }) => this.#inParent(root, path, removeDirectoryAt),
    rename: (root, _share, { path, to, flags }) => {
      if ((flags & ~RENAME_FLAGS) !== 0) throw new ShareFailure(ERRNO.EINVAL);
      return this.#betweenParents(root, path, to, (from, name, into, toName) =>
        renameAt(from, name, into, toName, flags),
      );
    },
    link: (root, _share, { path, to }) => {
      this.#betweenParents(root, path, to, linkAt);
      return closing(root.find(to), (fd) => ({ attributes: attributesOf(fd) }));
    },
    open: (root, share, { path, flags }) => {
      if (root.readOnly && (flags & (OPEN.write | OPEN.truncate | OPEN.append)) !== 0)
        throw new ShareFailure(ERRNO.EROFS);
      return { handle: closing(root.find(path), (fd) => this.#openFile(fd, share, flags)) };
    },
    create: (root, share, fields) => this.#create(root, share, fields),
    read: (_root, share, { handle, offset, size }) => this.#read(handle, share, offset, size),
    write: (_root, share, fields) => this.#write(share, fields),
    sync: (_root, share, { handle, flags }) =>
      this.#handles.using(handle, share, async ({ fd }) => {
        await new Promise<void>((resolve, reject) => {
          (flags === 1 ? fdatasync : fsync)(fd, (error) => (error ? reject(failure(error)) : resolve()));
        });
        return {};
      }),
    close: (_root, share, { handle }) => {
      this.#handles.close(handle, share);
      return {};
    },
    openDirectory: (root, share, { path }) =>
      closing(root.find(path), (fd) => {
        const directory = reopen(fd, O.readOnly | O.directory | O.nonBlocking);
        return {
          handle: this.#handles.add({ fd: directory, kind: "directory", readable: false, writable: false, share }),
        };
      }),
    list: (_root, share, fields) => this.#list(share, fields),
    fileSystem: (root, _share, { path }) => closing(root.find(path), fileSystemOf),
    getAttribute: (root, _share, { path, name }) => {
      checkAttribute(name);
      return closing(root.find(path), (fd) => ({ value: getAttribute(fd, name, ATTRIBUTE_LIMIT) }));
    },
    setAttribute: (root, _share, { path, name, value, flags }) => {
      checkAttribute(name);
      if (value.length > ATTRIBUTE_LIMIT) throw new ShareFailure(ERRNO.ERANGE);
      closing(root.find(path), (fd) => setAttribute(fd, name, value, flags));
      return {};
    },
    listAttributes: (root, _share, { path }) =>
      closing(root.find(path), (fd) => ({ names: listAttributes(fd, ATTRIBUTE_LIMIT) })),
    removeAttribute: (root, _share, { path, name }) => {
      checkAttribute(name);
      closing(root.find(path), (fd) => removeAttribute(fd, name));
      return {};
    },
    allocate: (_root, share, { handle, mode, offset, length }) => {
      const { fd, writable } = this.#handles.get(handle, share);
      if (!writable) throw new ShareFailure(ERRNO.EBADF);
      if ((mode & ~ALLOCATE_MODES) !== 0) throw new ShareFailure(ERRNO.EOPNOTSUPP);
      allocate(fd, mode, offset, length);
      return {};
    },
    seek: (_root, share, { handle, offset, whence }) => {
      if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new ShareFailure(ERRNO.EINVAL);
      return { offset: seek(this.#handles.get(handle, share).fd, BigInt(offset), whence) };
    },
  };

  #inParent(
    root: ShareRoot,
    path: Uint8Array,
    use: (directory: number, name: Uint8Array) => void,
  ): Record<string, never> {
    const { directory, name } = root.parent(path);
    closing(directory, () => use(directory, name));
    return {};
  }

  #betweenParents(
    root: ShareRoot,
    path: Uint8Array,
    to: Uint8Array,
    use: (from: number, name: Uint8Array, into: number, toName: Uint8Array) => void,
  ): Record<string, never> {
    const from = root.parent(path);
    closing(from.directory, () => {
      const into = root.parent(to);
      closing(into.directory, () => use(from.directory, from.name, into.directory, into.name));
    });
    return {};
  }

  /** Makes something with `make`, and gives it its owner. */
  #make(
    root: ShareRoot,
    path: Uint8Array,
    uid: number,
    gid: number,
    mode: number | undefined,
    make: (directory: number, name: Uint8Array) => void,
  ): { attributes: Buffer } {
    const { directory, name } = root.parent(path);
    return closing(directory, () => {
      make(directory, name);
      return closing(root.find(path), (fd) => {
        own(directory, fd, uid, gid, mode);
        return { attributes: attributesOf(fd) };
      });
    });
  }

  /** Opens a regular file anew from its path descriptor. Nothing else is ever opened: a device or fifo would act. */
  #openFile(path: number, share: number, flags: number): number {
    const kind = modeOf(path) & KIND.mask;
    if (kind === KIND.directory) throw new ShareFailure(ERRNO.EISDIR);
    if (kind === KIND.symlink) throw new ShareFailure(ERRNO.ELOOP);
    if (kind !== KIND.file) throw new ShareFailure(ERRNO.EACCES);
    refuseKernelFile(path);
    const { access, readable, writable } = accessOf(flags);
    const truncates = (flags & OPEN.truncate) !== 0;
    const fd = reopen(path, access | (truncates ? O.truncate : 0));
    if (truncates && (flags & OPEN.dropSetId) !== 0) dropSetId(fd);
    return this.#handles.add({ fd, kind: "file", readable, writable, share });
  }

  #create(root: ShareRoot, share: number, fields: RequestFields<"create">): ReplyFields<"create"> {
    const { path, flags, mode, uid, gid } = fields;
    const { directory, name } = root.parent(path);
    return closing(directory, () => {
      const { access, readable, writable } = accessOf(flags);
      let fd: number;
      try {
        fd = createAt(directory, name, access, mode);
      } catch (error) {
        const exists = error instanceof ShareFailure && error.errno === ERRNO.EEXIST;
        if (!exists || (flags & OPEN.exclusive) !== 0) throw error;
        const handle = closing(root.find(path), (found) => this.#openFile(found, share, flags));
        return { handle, attributes: attributesOf(this.#handles.get(handle, share).fd) };
      }
      const handle = this.#handles.add({ fd, kind: "file", readable, writable, share });
      own(directory, fd, uid, gid, mode);
      return { handle, attributes: attributesOf(fd) };
    });
  }

  #change(root: ShareRoot, share: number, fields: RequestFields<"change">): ReplyFields<"change"> {
    const { path, which, handle, mode, uid, gid, size } = fields;
    const has = (bit: number): boolean => (which & bit) !== 0;
    if (has(CHANGE.handle)) {
      const { fd, writable } = this.#handles.get(handle, share);
      if (has(CHANGE.size)) {
        if (!writable) throw new ShareFailure(ERRNO.EBADF);
        truncate(fd, size);
      }
      this.#changeRest(fd, fields);
      return { attributes: attributesOf(fd) };
    }
    return closing(root.find(path), (fd) => {
      if (has(CHANGE.size)) {
        if ((modeOf(fd) & KIND.mask) !== KIND.file) throw new ShareFailure(ERRNO.EINVAL);
        closing(reopen(fd, O.writeOnly), (file) => truncate(file, size));
      }
      this.#changeRest(fd, { ...fields, mode, uid, gid });
      return { attributes: attributesOf(fd) };
    });
  }

  #changeRest(fd: number, fields: RequestFields<"change">): void {
    const { which, mode, uid, gid } = fields;
    const has = (bit: number): boolean => (which & bit) !== 0;
    if (has(CHANGE.uid | CHANGE.gid))
      changeOwner(fd, has(CHANGE.uid) ? uid : undefined, has(CHANGE.gid) ? gid : undefined);
    if (has(CHANGE.dropSetId)) dropSetId(fd);
    if (has(CHANGE.mode)) {
      if ((modeOf(fd) & KIND.mask) === KIND.symlink) throw new ShareFailure(ERRNO.EOPNOTSUPP);
      changeMode(fd, mode);
    }
    const time = (set: number, now: number, seconds: bigint, nanoseconds: number): Time => {
      if (has(now)) return "now";
      if (!has(set)) return undefined;
      if (nanoseconds >= 1_000_000_000) throw new ShareFailure(ERRNO.EINVAL);
      return { seconds, nanoseconds };
    };
    const accessed = time(CHANGE.accessed, CHANGE.accessedNow, fields.accessed, fields.accessedNanoseconds);
    const modified = time(CHANGE.modified, CHANGE.modifiedNow, fields.modified, fields.modifiedNanoseconds);
    if (accessed !== undefined || modified !== undefined) changeTimes(fd, accessed, modified);
  }

  #read(number: number, share: number, offset: number, size: number): Promise<ReplyFields<"read">> {
    return this.#handles.using(number, share, async ({ fd, readable }) => {
      if (!readable) throw new ShareFailure(ERRNO.EBADF);
      if (size > TRANSFER_LIMIT) throw new ShareFailure(ERRNO.EINVAL);
      const data = Buffer.allocUnsafeSlow(size);
      if (size === 0) return { data };
      const count = await new Promise<number>((resolve, reject) => {
        readFile(fd, data, 0, size, offset, (error, got) => (error ? reject(failure(error)) : resolve(got)));
      });
      return { data: data.subarray(0, count) };
    });
  }

  #write(share: number, fields: RequestFields<"write">): Promise<ReplyFields<"write">> {
    const { handle, offset, flags, data } = fields;
    return this.#handles.using(handle, share, async ({ fd, writable }) => {
      if (!writable) throw new ShareFailure(ERRNO.EBADF);
      if (data.length > TRANSFER_LIMIT) throw new ShareFailure(ERRNO.EINVAL);
      const put = (from: number): Promise<number> =>
        new Promise((resolve, reject) => {
          writeFile(fd, data, from, data.length - from, offset + from, (error, count) =>
            error ? reject(failure(error)) : resolve(count),
          );
        });
      if (flags === 1) dropSetId(fd);
      let written = 0;
      while (written < data.length) {
        const count = await put(written);
        if (count === 0) break;
        written += count;
      }
      return { written };
    });
  }

  #list(share: number, { handle, cookie, size, attributes }: RequestFields<"list">): ReplyFields<"list"> {
    const { fd, kind } = this.#handles.get(handle, share);
    if (kind !== "directory") throw new ShareFailure(ERRNO.ENOTDIR);
    const entries = Buffer.allocUnsafeSlow(Math.min(Math.max(size, 1024), TRANSFER_LIMIT));
    seek(fd, cookie, SEEK_SET);
    const found = readEntries(fd);
    let end = 0;
    for (let at = 0; at + ENTRY_HEADER < found.length; ) {
      const length = found.readUInt16LE(at + 16);
      const raw = found.subarray(at + ENTRY_HEADER, at + length);
      at += length;
      const name = raw.subarray(0, raw.indexOf(0));
      const entry: DirectoryEntry = {
        inode: found.readBigUInt64LE(at - length),
        next: found.readBigUInt64LE(at - length + 8),
        type: found[at - length + 18] ?? 0,
        name,
        ...(attributes === 1 && !isDots(name) ? attributesIfThere(fd, name) : {}),
      };
      if (end + entryLength(entry) > entries.length) break;
      end = encodeEntry(entry, entries, end);
    }
    return { entries: entries.subarray(0, end) };
  }
}
