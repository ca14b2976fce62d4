import { type BigIntStats, closeSync, fstatSync, readlinkSync } from "node:fs";
import { posix } from "node:path";
import { LinkError } from "../../src/link/link-error.ts";
import type { FileStat } from "../../src/link/operations.ts";
import { cName, openAt, readLinkOf, succeed } from "../system/file-calls.ts";
import { ERRNO, OPEN, open, openInRoot, RESOLVE, SystemError } from "../system/libc.ts";
import { fileStat } from "./file-stat.ts";
import { fromText } from "./names.ts";
import { asLinkError, errnoOf } from "./tree-error.ts";

const RESOLVE_FLAGS = RESOLVE.inRoot | RESOLVE.noMagicLinks;

/** A path that a client asked for, found in a tree. */
export interface ResolvedPath {
  /** Path descriptor of what was asked for: of the symlink itself, when the last component is one. The caller closes it. */
  fd: number;
  stat: BigIntStats;
  /** What Docker tells about it. */
  fileStat: FileStat;
}

/** dockerd's form of a path: absolute, cleaned as text, and with the `/` or `/.` at its end that says "what is inside". */
export const absolutePath = (path: string): string => {
  const clean = posix.join("/", path);
  const bare = clean.length > 1 && clean.endsWith("/") ? clean.slice(0, -1) : clean;
  const last = path.slice(path.lastIndexOf("/") + 1);
  if (last === "." || path === "") return bare === "/" ? "/." : `${bare}/.`;
  return path.endsWith("/") && bare !== "/" ? `${bare}/` : bare;
};

/** Last component of an absolutePath: `.` for `/a/.`, `a` for `/a/`, `/` for the root. */
export const nameOf = (absolute: string): string => posix.basename(absolute) || "/";

/** Finds `path` in the tree at `root`. Throws LinkError `not-found`, `not-a-directory` … */
export const resolvePath = (root: string, path: string): ResolvedPath => {
  const absolute = absolutePath(path);
  try {
    const rootFd = open(root, OPEN.path | OPEN.directory);
    try {
      return find(rootFd, absolute);
    } finally {
      closeSync(rootFd);
    }
  } catch (error) {
    if (errnoOf(error) === ERRNO.ENOENT) {
      throw new LinkError("not-found", `Could not find the file ${path} in container`, { cause: error });
    }
    throw asLinkError(error, path);
  }
};

const find = (root: number, absolute: string): ResolvedPath => {
  const fd = openPath(root, absolute);
  try {
    const stat = fstatSync(fd, { bigint: true });
    const target = stat.isSymbolicLink() ? linkTarget(root, absolute, fd) : "";
    return { fd, stat, fileStat: fileStat(nameOf(absolute), stat, target) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
};

const openPath = (root: number, absolute: string): number => {
  // A slash at the end follows a symlink and asks for a directory; without one the symlink itself is meant.
  if (absolute.endsWith("/") || absolute.endsWith("/.")) {
    return openInRoot(root, absolute, OPEN.path | OPEN.directory, 0, RESOLVE_FLAGS);
  }
  const parent = openInRoot(root, posix.dirname(absolute), OPEN.path | OPEN.directory, 0, RESOLVE_FLAGS);
  try {
    const fd = openAt(parent, cName(fromText(posix.basename(absolute))), OPEN.path);
    succeed(fd < 0 ? -fd : 0, "open");
    return fd;
  } finally {
    closeSync(parent);
  }
};

/** Where a symlink leads in the tree, as an absolute path with all symlinks followed. */
const linkTarget = (root: number, absolute: string, link: number): string => {
  try {
    const fd = openInRoot(root, absolute, OPEN.path, 0, RESOLVE_FLAGS);
    try {
      const inside = pathInside(root, fd);
      if (inside !== undefined) return inside;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    // It leads nowhere (yet): what its text says is all there is to tell.
  }
  return posix.resolve("/", posix.dirname(absolute), readLinkOf(link).toString());
};

const pathInside = (root: number, fd: number): string | undefined => {
  const prefix = readlinkSync(`/proc/self/fd/${root}`).replace(/\/$/, "");
  const found = readlinkSync(`/proc/self/fd/${fd}`);
  if (found === prefix) return "/";
  return found.startsWith(`${prefix}/`) ? found.slice(prefix.length) : undefined;
};
