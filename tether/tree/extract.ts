import {
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  type Stats,
  symlinkSync,
  writeSync,
} from "node:fs";
import { readTar, type TarEntry, type TarHeader } from "../../src/format/tar/index.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { LayerStatistics } from "../../src/link/operations.ts";
import { ERRNO, hardLink, makeNode, NODE_TYPE, SystemError, setAttribute, setTimes } from "../system/libc.ts";
import { Directories } from "./directories.ts";
import { baseOf, fromBytes, fromText, normalize, parentOf, toText } from "./names.ts";

export interface ExtractOptions {
  /** Apply OCI whiteouts (layers). Otherwise `.wh.` files are files. */
  whiteouts: boolean;
  /** Docker's cp: refuse to replace a directory by something else and the other way round. */
  keepKinds: boolean;
  /** Directory of the tree (see names.ts) to unpack into; symlinks in it may lead anywhere in the tree. Default: its root. */
  directory?: string;
  /** Owner of everything, instead of the archive's. */
  owner?: { uid: number; gid: number };
}

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
const WHITEOUT_META = ".wh..wh.";
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Unpacks a tar stream into the directory `root` (a descriptor). Nothing outside of it is touched, whatever the archive says. */
export const extractTar = async (
  root: number,
  source: AsyncIterable<Uint8Array>,
  options: ExtractOptions,
): Promise<LayerStatistics> => {
  const extraction = new Extraction(root, options);
  try {
    for await (const entry of readTar(source)) {
      await extraction.add(entry);
      extraction.statistics.entries++;
    }
    extraction.finish();
    return extraction.statistics;
  } finally {
    extraction.close();
  }
};

class Extraction {
  readonly statistics: LayerStatistics = { bytes: 0, entries: 0 };
  readonly #directories: Directories;
  readonly #options: ExtractOptions;
  readonly #root: number;
  /** What this archive has made: an opaque whiteout spares it, wherever in the archive it comes. */
  readonly #made = new Set<string>();
  /** Times of directories, set last: writing into a directory changes them. */
  readonly #times = new Map<string, bigint>();

  constructor(root: number, options: ExtractOptions) {
    this.#root = root;
    this.#directories = new Directories(root);
    this.#options = options;
  }

  async add(entry: TarEntry): Promise<void> {
    const { header } = entry;
    const inside = normalize(header.rawName ? fromBytes(header.rawName) : fromText(header.name));
    const path = this.#place(inside);
    if (inside === "") {
      // The directory itself: only its attributes can be set.
      if (header.type === "directory" && path === "") {
        this.#setAttributes(Buffer.from(`/proc/self/fd/${this.#root}/.`), header, path);
      }
      return;
    }
    if (this.#options.whiteouts && this.#applyWhiteout(path)) return;
    const at = this.#directories.locate(path);
    this.#makeRoom(at, path, header);
    if (this.#options.whiteouts) this.#remember(path);
    await this.#create(at, entry);
    if (header.type !== "link") this.#setAttributes(at, header, path);
  }

  #place(inside: string): string {
    const { directory = "" } = this.#options;
    return directory === "" || inside === "" ? `${directory}${inside}` : `${directory}/${inside}`;
  }

  finish(): void {
    for (const [path, mtime] of this.#times) {
      const at = path === "" ? Buffer.from(`/proc/self/fd/${this.#root}/.`) : this.#directories.locate(path);
      // A later entry may have replaced the directory.
      if (lstatOf(at)?.isDirectory()) setTimes(at, mtime);
    }
  }

  close(): void {
    this.#directories.forget();
  }

  #remember(path: string): void {
    for (let at = path; at !== "" && !this.#made.has(at); at = parentOf(at)) this.#made.add(at);
  }

  #applyWhiteout(path: string): boolean {
    const name = baseOf(path);
    if (!name.startsWith(WHITEOUT)) return false;
    const parent = parentOf(path);
    if (name === OPAQUE) {
      this.#clear(parent);
    } else if (!name.startsWith(WHITEOUT_META)) {
      const hidden = name.slice(WHITEOUT.length);
      if (hidden === "" || hidden === "." || hidden === "..")
        throw new LinkError("invalid", `bad whiteout ${toText(path)}`);
      this.#remove(this.#directories.locate(parent === "" ? hidden : `${parent}/${hidden}`));
    }
    return true;
  }

  /** Removes what lower layers have in a directory. */
  #clear(directory: string): void {
    const at = this.#directories.locate(directory === "" ? "." : `${directory}/.`);
    for (const name of readdirSync(at, { encoding: "buffer" })) {
      const path = directory === "" ? fromBytes(name) : `${directory}/${fromBytes(name)}`;
      if (!this.#made.has(path)) this.#remove(this.#directories.locate(path));
      else if (lstatOf(this.#directories.locate(path))?.isDirectory()) this.#clear(path);
    }
  }

  /** Removes what is in the way of the new entry. Directories are kept for directories. */
  #makeRoom(at: Buffer, path: string, header: TarHeader): void {
    const existing = lstatOf(at);
    if (existing === undefined) return;
    const isDirectory = header.type === "directory";
    if (existing.isDirectory() && isDirectory) return;
    if (this.#options.keepKinds && existing.isDirectory() !== isDirectory) {
      const [kind, other] = isDirectory ? ["non-directory", "directory"] : ["directory", "non-directory"];
      throw new LinkError("invalid", `cannot overwrite ${kind} "/${toText(path)}" with ${other} "${header.name}"`);
    }
    this.#remove(at);
  }

  #remove(at: Buffer): void {
    const existing = lstatOf(at);
    if (existing === undefined) return;
    if (existing.isDirectory()) {
      removeTree(at);
      this.#directories.forget();
    } else {
      rmSync(at);
      if (existing.isSymbolicLink()) this.#directories.forget();
    }
  }

  async #create(at: Buffer, entry: TarEntry): Promise<void> {
    const { header } = entry;
    switch (header.type) {
      case "directory":
        if (lstatOf(at) === undefined) mkdirSync(at, { mode: 0o700 });
        return;
      case "file":
        await this.#writeFile(at, entry);
        return;
      case "symlink":
        symlinkSync(header.rawLinkName ? Buffer.from(header.rawLinkName) : header.linkName, at);
        return;
      case "link": {
        const target = normalize(header.rawLinkName ? fromBytes(header.rawLinkName) : fromText(header.linkName));
        hardLink(this.#directories.locate(this.#place(target)), at);
        return;
      }
      case "fifo":
        makeNode(at, NODE_TYPE.fifo | 0o600);
        return;
      case "character":
      case "block":
        makeNode(at, NODE_TYPE[header.type] | 0o600, header.devMajor, header.devMinor);
    }
  }

  async #writeFile(at: Buffer, entry: TarEntry): Promise<void> {
    const fd = openSync(at, CREATE, 0o600);
    try {
      for await (const { offset, data } of entry.pieces) {
        for (let done = 0; done < data.length; ) done += writeSync(fd, data, done, data.length - done, offset + done);
        this.statistics.bytes += data.length;
      }
      if (entry.sparse !== undefined) ftruncateSync(fd, entry.header.size);
    } finally {
      closeSync(fd);
    }
  }

  /** Owner first: chown clears set-user-id bits and file capabilities. */
  #setAttributes(at: Buffer, header: TarHeader, path: string): void {
    const { uid, gid } = this.#options.owner ?? header;
    lchownSync(at, uid, gid);
    if (header.type !== "symlink") chmodSync(at, header.mode);
    for (const [name, value] of header.xattrs) setAttributeIfPossible(at, name, value);
    if (header.type === "directory") this.#times.set(path, header.mtime);
    else setTimes(at, header.mtime);
  }
}

const lstatOf = (at: Buffer): Stats | undefined => lstatSync(at, { throwIfNoEntry: false });

/** Removes a directory with everything in it. By bytes: names need not be UTF-8. */
const removeTree = (at: Buffer): void => {
  for (const name of readdirSync(at, { encoding: "buffer" })) {
    const child = Buffer.concat([at, Buffer.from("/"), name]);
    if (lstatOf(child)?.isDirectory()) removeTree(child);
    else rmSync(child);
  }
  rmSync(at, { recursive: true });
};

/** Attributes that this filesystem or kind of file cannot have are left out, as by GNU tar. */
const setAttributeIfPossible = (at: Buffer, name: string, value: Uint8Array): void => {
  try {
    setAttribute(at, name, value);
  } catch (error) {
    const errno = error instanceof SystemError ? error.errno : 0;
    if (errno !== ERRNO.EOPNOTSUPP && errno !== ERRNO.EPERM) throw error;
  }
};
