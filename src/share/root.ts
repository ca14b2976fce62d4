import { readlinkSync } from "node:fs";
import { posix } from "node:path";
import { checkPath, splitPath } from "./paths.ts";
import { closeFd, ERRNO, KIND, modeOf, O, openBelow, openPath, ShareFailure } from "./system-calls.ts";

/** What is shared. */
export interface ShareSource {
  /** Absolute path on this machine. */
  path: string;
  readOnly: boolean;
  /** File systems mounted below are not entered. */
  oneFileSystem: boolean;
  /** The share must be this directory or below it, also after its symlinks are followed; anywhere when left out. */
  below?: string;
  /** It may not be shared any more: every request is answered with EACCES. */
  refused?: boolean;
}

/** An open share: the only way to a file of it. Every descriptor that it gives is the caller's to close. */
export class ShareRoot {
  readonly readOnly: boolean;
  readonly #directory: number;
  /** Set when a single file is shared: its name in the directory. */
  readonly #file: Uint8Array | undefined;
  readonly #rules: { oneFileSystem: boolean };

  private constructor(directory: number, file: Uint8Array | undefined, source: ShareSource) {
    this.#directory = directory;
    this.#file = file;
    this.readOnly = source.readOnly;
    this.#rules = { oneFileSystem: source.oneFileSystem };
  }

  /** Throws ShareFailure: ENOENT, EACCES when it is not below what is allowed, EINVAL when it is neither file nor directory. */
  static open(source: ShareSource): ShareRoot {
    if (source.refused) throw new ShareFailure(ERRNO.EACCES);
    const limit = source.below === undefined ? "/" : source.below;
    const top = openPath(limit, O.path | O.directory);
    try {
      const found = openIn(top, source.path, limit, { symlinks: true });
      const kind = modeOf(found) & KIND.mask;
      if (kind === KIND.directory) return new ShareRoot(found, undefined, source);
      try {
        if (kind !== KIND.file) throw new ShareFailure(ERRNO.EINVAL);
        // Its directory is kept, not the file: an editor that replaces the file by another one changes the share, too.
        const real = readlinkSync(`/proc/self/fd/${found}`);
        const realTop = readlinkSync(`/proc/self/fd/${top}`);
        const directory = openIn(top, posix.dirname(real), realTop, {});
        return new ShareRoot(directory, Buffer.from(posix.basename(real)), source);
      } finally {
        closeFd(found);
      }
    } finally {
      closeFd(top);
    }
  }

  /** Path descriptor of what is at `path`: of a symlink itself. */
  find(path: Uint8Array): number {
    return openBelow(this.#directory, this.#existing(path), O.path | O.noFollow, this.#rules);
  }

  /** Path descriptor of the directory that `path` is in, and the name there: for what makes, removes and renames. */
  parent(path: Uint8Array): { directory: number; name: Uint8Array } {
    checkPath(path);
    // The share itself is none of the client's names.
    if (path.length === 0 || this.#file !== undefined) throw new ShareFailure(ERRNO.EACCES);
    const { parent, name } = splitPath(path);
    return { directory: openBelow(this.#directory, parent, O.path | O.directory, this.#rules), name };
  }

  close(): void {
    closeFd(this.#directory);
  }

  #existing(path: Uint8Array): Uint8Array {
    checkPath(path);
    if (this.#file === undefined) return path;
    if (path.length > 0) throw new ShareFailure(ERRNO.ENOTDIR);
    return this.#file;
  }
}

/** Opens `path`, an absolute one, if it is below the open directory `top`, whose path is `topPath`. */
const openIn = (top: number, path: string, topPath: string, rules: { symlinks?: boolean }): number => {
  const relative = posix.relative(topPath, path);
  if (relative === ".." || relative.startsWith("../")) throw new ShareFailure(ERRNO.EACCES);
  try {
    if (topPath === "/" && rules.symlinks) return openPath(path, O.path);
    return openBelow(top, relative, O.path, rules);
  } catch (error) {
    if (error instanceof ShareFailure && error.errno === ERRNO.EXDEV) throw new ShareFailure(ERRNO.EACCES);
    throw error;
  }
};
