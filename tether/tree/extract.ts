import { readTar, type TarEntry, type TarHeader } from "../../src/format/tar/index.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { LayerStatistics } from "../../src/link/operations.ts";
import {
  changeAttribute,
  changeAttributeAt,
  changeMode,
  changeModeOfPath,
  changeOwner,
  changeOwnerAt,
  changeTimes,
  changeTimesAt,
  closeFd,
  cName,
  makeDirectoryAt,
  makeLinkAt,
  makeNodeAt,
  makeSymlinkAt,
  openAt,
} from "../system/file-calls.ts";
import { ERRNO, NODE_TYPE, OPEN, SystemError } from "../system/libc.ts";
import { Directories } from "./directories.ts";
import { FileWriter } from "./file-writer.ts";
import { baseOf, fromBytes, fromText, normalize, parentOf, toText } from "./names.ts";
import { removeAt } from "./remove.ts";
import { asLinkError } from "./tree-error.ts";
import { Whiteouts } from "./whiteouts.ts";

export interface ExtractOptions {
  /** Apply whiteouts of an image layer. Otherwise `.wh.` files are files. */
  whiteouts?: { hasLower: boolean };
  /** Docker's noOverwriteDirNonDir: refuse to replace a directory by something else and the other way round. */
  keepKinds: boolean;
  /** Give the archive's root member's owner, mode and times to the root. */
  rootAttributes: boolean;
  /** Owner of everything, instead of the archive's. */
  owner?: { uid: number; gid: number };
}

/** Times that a name is cleared again because somebody keeps taking it. */
const ATTEMPTS = 8;
const CREATE = OPEN.writeOnly | OPEN.create | OPEN.exclusive;
const OPEN_DIRECTORY = OPEN.readOnly | OPEN.directory;
const ROOT_NAME = cName(".");
const LARGEST_ID = 0xffff_fffe;
const LARGEST_MAJOR = 0xfff;
const LARGEST_MINOR = 0xf_ffff;

/** Unpacks a tar stream into the directory `root` (a descriptor). Nothing outside of it is touched, whatever the archive says. */
export const extractTar = async (
  root: number,
  source: AsyncIterable<Uint8Array>,
  options: ExtractOptions,
): Promise<LayerStatistics> => {
  const extraction = new Extraction(root, options);
  try {
    for await (const entry of readTar(source)) await extraction.add(entry);
    extraction.finish();
    return extraction.statistics;
  } catch (error) {
    throw asLinkError(error, extraction.current === "" ? "archive" : toText(extraction.current));
  } finally {
    extraction.close();
  }
};

class Extraction {
  readonly statistics: LayerStatistics = { bytes: 0, entries: 0 };
  /** Path of the member at work, for messages. */
  current = "";
  readonly #root: number;
  readonly #options: ExtractOptions;
  readonly #directories: Directories;
  readonly #whiteouts: Whiteouts | undefined;
  readonly #writer = new FileWriter();
  /** Times of directories, set last: writing into a directory changes them. */
  readonly #times = new Map<string, bigint>();

  constructor(root: number, options: ExtractOptions) {
    this.#root = root;
    this.#options = options;
    this.#directories = new Directories(root);
    if (options.whiteouts) this.#whiteouts = new Whiteouts(this.#directories, options.whiteouts.hasLower);
  }

  async add(entry: TarEntry): Promise<void> {
    const { header } = entry;
    this.statistics.entries++;
    this.current = header.rawName ? fromBytes(header.rawName) : fromText(header.name);
    const path = normalize(this.current);
    if (path === "") {
      if (header.type === "directory" && this.#options.rootAttributes) this.#setRootAttributes(header);
      return;
    }
    if (this.#whiteouts?.apply(path)) return;
    this.#whiteouts?.made(path);
    switch (header.type) {
      case "file":
        return this.#addFile(path, entry);
      case "directory":
        return this.#addDirectory(path, header);
      case "link":
        return this.#addLink(path, header);
      case "symlink":
        return this.#addSymlink(path, header);
      default:
        return this.#addNode(path, header);
    }
  }

  finish(): void {
    for (const [path, mtime] of this.#times) {
      this.current = path;
      const parent = path === "" ? this.#root : this.#directories.find(parentOf(path));
      if (parent === undefined) continue;
      const fd = openAt(parent, path === "" ? ROOT_NAME : cName(baseOf(path)), OPEN_DIRECTORY);
      // A later member, or somebody else, may have replaced the directory.
      if (fd < 0) continue;
      try {
        changeTimes(fd, mtime);
      } finally {
        closeFd(fd);
      }
    }
  }

  close(): void {
    this.#directories.forget();
  }

  /** Makes something new under `path`: what is in the way is removed first. `create` answers a descriptor or minus errno. */
  #place(path: string, header: TarHeader, create: (directory: number, name: Buffer) => number): number {
    const name = cName(baseOf(path));
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const result = create(this.#directories.make(parentOf(path)), name);
      if (result >= 0) return result;
      if (result !== -ERRNO.EEXIST) throw new SystemError(header.type, -result);
      this.#makeRoom(path, header);
    }
    throw new SystemError(header.type, ERRNO.EEXIST);
  }

  #makeRoom(path: string, header: TarHeader): void {
    const directory = this.#directories.make(parentOf(path));
    if (this.#options.keepKinds) {
      const inner = openAt(directory, cName(baseOf(path)), OPEN.path | OPEN.directory);
      if (inner >= 0) closeFd(inner);
      const isDirectory = header.type === "directory";
      if (inner >= 0 !== isDirectory) {
        const [kind, other] = isDirectory ? ["non-directory", "directory"] : ["directory", "non-directory"];
        throw new LinkError("invalid", `cannot overwrite ${kind} "/${toText(path)}" with ${other} "${header.name}"`);
      }
    }
    if (removeAt(directory, baseOf(path)) !== "nothing") this.#directories.forget();
  }

  async #addFile(path: string, entry: TarEntry): Promise<void> {
    const { header } = entry;
    const fd = this.#place(path, header, (directory, name) => openAt(directory, name, CREATE, 0o600));
    try {
      if (header.size > 0) {
        this.#writer.begin(fd);
        for await (const { offset, data } of entry.pieces) {
          this.#writer.add(offset, data);
          this.statistics.bytes += data.length;
        }
        this.#writer.finish(header.size);
      }
      this.#setAttributes(fd, header);
      changeTimes(fd, header.mtime);
    } finally {
      closeFd(fd);
    }
  }

  #addDirectory(path: string, header: TarHeader): void {
    const fd = this.#place(path, header, (directory, name) => {
      const made = makeDirectoryAt(directory, name, 0o700);
      if (made !== 0 && made !== ERRNO.EEXIST) return -made;
      const opened = openAt(directory, name, OPEN_DIRECTORY);
      // What exists and is no directory has to go; what vanished is made again.
      return opened === -ERRNO.ENOTDIR || opened === -ERRNO.ELOOP || opened === -ERRNO.ENOENT ? -ERRNO.EEXIST : opened;
    });
    try {
      this.#setAttributes(fd, header);
    } finally {
      closeFd(fd);
    }
    this.#times.set(path, header.mtime);
  }

  #addLink(path: string, header: TarHeader): void {
    const target = normalize(linkNameOf(header));
    if (target === path) throw new LinkError("invalid", `"${toText(path)}" is a hard link to itself`);
    this.#place(path, header, (_, name) => {
      const from = this.#directories.find(parentOf(target));
      const to = this.#directories.make(parentOf(path));
      const code = from === undefined ? ERRNO.ENOENT : makeLinkAt(from, cName(baseOf(target)), to, name);
      if (code === ERRNO.ENOENT) {
        throw new LinkError("invalid", `the target "${toText(target)}" of the hard link "${toText(path)}" is missing`);
      }
      // Linux has no hard links to directories.
      if (code === ERRNO.EPERM) {
        throw new LinkError("invalid", `"${toText(target)}" cannot have the hard link "${toText(path)}"`);
      }
      return -code;
    });
  }

  #addSymlink(path: string, header: TarHeader): void {
    const target = cName(linkNameOf(header));
    this.#place(path, header, (directory, name) => -makeSymlinkAt(target, directory, name));
    this.#setAttributesAt(path, header);
  }

  #addNode(path: string, header: TarHeader): void {
    const { devMajor, devMinor, type } = header;
    if (devMajor > LARGEST_MAJOR || devMinor > LARGEST_MINOR) {
      throw new LinkError("invalid", `"${toText(path)}" has the impossible device number ${devMajor}:${devMinor}`);
    }
    const mode = (type === "character" || type === "block" ? NODE_TYPE[type] : NODE_TYPE.fifo) | 0o600;
    this.#place(path, header, (directory, name) => -makeNodeAt(directory, name, mode, devMajor, devMinor));
    this.#setAttributesAt(path, header);
    const fd = openAt(this.#directories.make(parentOf(path)), cName(baseOf(path)), OPEN.path);
    if (fd < 0) throw new SystemError("open", -fd);
    try {
      changeModeOfPath(fd, header.mode);
    } finally {
      closeFd(fd);
    }
  }

  #setRootAttributes(header: TarHeader): void {
    const fd = openAt(this.#root, ROOT_NAME, OPEN_DIRECTORY);
    if (fd < 0) throw new SystemError("open", -fd);
    try {
      this.#setAttributes(fd, header);
    } finally {
      closeFd(fd);
    }
    this.#times.set("", header.mtime);
  }

  /** Owner first: chown clears set-user-id bits and file capabilities. */
  #setAttributes(fd: number, header: TarHeader): void {
    const { uid, gid } = this.#ownerOf(header);
    changeOwner(fd, uid, gid);
    changeMode(fd, header.mode);
    for (const [name, value] of header.xattrs) acceptAttribute(changeAttribute(fd, name, value), name);
  }

  #setAttributesAt(path: string, header: TarHeader): void {
    const directory = this.#directories.make(parentOf(path));
    const name = cName(baseOf(path));
    const { uid, gid } = this.#ownerOf(header);
    changeOwnerAt(directory, name, uid, gid);
    for (const [key, value] of header.xattrs) acceptAttribute(changeAttributeAt(directory, name, key, value), key);
    changeTimesAt(directory, name, header.mtime);
  }

  #ownerOf(header: TarHeader): { uid: number; gid: number } {
    const { uid, gid } = this.#options.owner ?? header;
    if (uid < 0 || gid < 0 || uid > LARGEST_ID || gid > LARGEST_ID) {
      throw new LinkError("invalid", `"${header.name}" has the impossible owner ${uid}:${gid}`);
    }
    return { uid, gid };
  }
}

const linkNameOf = (header: TarHeader): string =>
  header.rawLinkName ? fromBytes(header.rawLinkName) : fromText(header.linkName);

/** Attributes that this filesystem or kind of file cannot have are left out, as by GNU tar. */
const acceptAttribute = (code: number, name: string): void => {
  if (code !== 0 && code !== ERRNO.EOPNOTSUPP && code !== ERRNO.EPERM) throw new SystemError(`setxattr ${name}`, code);
};
