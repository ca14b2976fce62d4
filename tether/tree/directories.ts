import { LinkError } from "../../src/link/link-error.ts";
import { closeFd, cName, makeDirectoryAt, openAt, readLinkOf, succeed } from "../system/file-calls.ts";
import { ERRNO, OPEN, openInRoot, RESOLVE, SystemError } from "../system/libc.ts";
import { baseOf, fromBytes, nameBytes, normalize, parentOf, toText } from "./names.ts";

/** Directories kept open: archives list files of one directory after the other. */
const CACHE_LIMIT = 64;
/** Dangling symlinks followed while making missing parents; Linux itself follows 40. */
const LINK_LIMIT = 40;
const RESOLVE_FLAGS = RESOLVE.inRoot | RESOLVE.noMagicLinks;
const FLAGS = OPEN.path | OPEN.directory;

/**
 * Open directories of a tree, found by path. Symlinks on the way are followed as after chroot: never out of the tree.
 * The two descriptors asked for last stay open; an older one may be closed by the next call.
 */
export class Directories {
  readonly #root: number;
  readonly #open = new Map<string, number>();
  /** The last answer: most members of an archive are in the same directory as the one before. */
  #last: { path: string; fd: number } | undefined;

  /** `root` stays the caller's. */
  constructor(root: number) {
    this.#root = root;
  }

  /** Descriptor of the directory `path`; missing ones are made (mode 0755). */
  make(path: string): number {
    return this.#find(path, LINK_LIMIT);
  }

  /** Descriptor of the directory `path`, or undefined when there is none. */
  find(path: string): number | undefined {
    try {
      return this.#known(path) ?? this.#keep(path, this.#openExisting(path));
    } catch (error) {
      const errno = error instanceof SystemError ? error.errno : 0;
      if (errno === ERRNO.ENOENT || errno === ERRNO.ENOTDIR || errno === ERRNO.ELOOP) return undefined;
      throw error;
    }
  }

  #find(path: string, linksLeft: number): number {
    const known = this.#known(path);
    if (known !== undefined) return known;
    for (;;) {
      try {
        return this.#keep(path, this.#openExisting(path));
      } catch (error) {
        const errno = error instanceof SystemError ? error.errno : 0;
        if (errno === ERRNO.ENOTDIR) {
          throw new LinkError("invalid", `the archive has members below "${toText(path)}", which is not a directory`);
        }
        if (path === "" || errno !== ERRNO.ENOENT) throw error;
      }
      const parent = this.#find(parentOf(path), linksLeft);
      const made = makeDirectoryAt(parent, cName(baseOf(path)), 0o755);
      if (made !== 0 && made !== ERRNO.EEXIST) throw new SystemError(`mkdir ${toText(path)}`, made);
      linksLeft--;
      if (linksLeft < 0) throw new SystemError(`mkdir ${toText(path)}`, ERRNO.ELOOP);
      // Something is there that leads nowhere: make what the symlink wants to lead to.
      if (made === ERRNO.EEXIST) this.#find(this.#linkTarget(parent, path), linksLeft);
    }
  }

  #linkTarget(parent: number, path: string): string {
    const fd = openAt(parent, cName(baseOf(path)), OPEN.path);
    succeed(Math.min(fd, 0) * -1, `open ${toText(path)}`);
    try {
      const target = fromBytes(readLinkOf(fd));
      return normalize(target.startsWith("/") ? target : `${parentOf(path)}/${target}`);
    } finally {
      closeFd(fd);
    }
  }

  #known(path: string): number | undefined {
    if (this.#last?.path === path) return this.#last.fd;
    const fd = this.#open.get(path);
    if (fd === undefined) return undefined;
    this.#open.delete(path);
    this.#open.set(path, fd);
    this.#last = { path, fd };
    return fd;
  }

  #openExisting(path: string): number {
    return openInRoot(this.#root, nameBytes(path === "" ? "." : path), FLAGS, 0, RESOLVE_FLAGS);
  }

  #keep(path: string, fd: number): number {
    if (this.#open.size >= CACHE_LIMIT) {
      const [oldest] = this.#open;
      if (oldest !== undefined) {
        closeFd(oldest[1]);
        this.#open.delete(oldest[0]);
      }
    }
    this.#open.set(path, fd);
    this.#last = { path, fd };
    return fd;
  }

  /** Must be called when a directory or symlink was removed: an open one may not be what its path names any more. */
  forget(): void {
    for (const fd of this.#open.values()) closeFd(fd);
    this.#open.clear();
    this.#last = undefined;
  }
}
