import { closeSync, mkdirSync, writeFileSync } from "node:fs";
import { ERRNO, OPEN, openInRoot, RESOLVE, SystemError } from "../system/libc.ts";

/**
 * Paths inside a tree that others wrote (an image, a volume). Symlinks in it are followed as they would be after
 * chroot: none leads out. A found path is used as /proc/self/fd/N, which nobody can redirect any more.
 */
export const descriptorPath = (fd: number): string => `/proc/self/fd/${fd}`;

/** Calls `use` with a path for the existing file or directory and closes it afterwards. */
export const withPathInRoot = <T>(root: number, path: string | Uint8Array, use: (path: string, fd: number) => T): T => {
  const fd = openInRoot(root, path, OPEN.path, 0, RESOLVE.inRoot | RESOLVE.noMagicLinks);
  try {
    return use(descriptorPath(fd), fd);
  } finally {
    closeSync(fd);
  }
};

const components = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

export const existsInRoot = (root: number, path: string): boolean => {
  try {
    withPathInRoot(root, path, () => undefined);
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.errno === ERRNO.ENOENT) return false;
    throw error;
  }
};

/** Makes the directory with all its parents (mode 0755) if it is missing. */
export const ensureDirectory = (root: number, path: string): void => {
  let reached = "/";
  for (const part of components(path)) {
    const next = `${reached}${part}/`;
    try {
      withPathInRoot(root, next, () => undefined);
    } catch (error) {
      if (!(error instanceof SystemError) || error.errno !== ERRNO.ENOENT) throw error;
      withPathInRoot(root, reached, (parent) => mkdirSync(`${parent}/${part}`, { mode: 0o755 }));
    }
    reached = next;
  }
};

/** Makes an empty file with its parents if nothing is there. */
export const ensureFile = (root: number, path: string): void => {
  const parts = components(path);
  const name = parts.pop() ?? "";
  const parent = `/${parts.join("/")}`;
  ensureDirectory(root, parent);
  try {
    withPathInRoot(root, path, () => undefined);
  } catch (error) {
    if (!(error instanceof SystemError) || error.errno !== ERRNO.ENOENT) throw error;
    withPathInRoot(root, parent, (directory) => writeFileSync(`${directory}/${name}`, "", { flag: "wx", mode: 0o644 }));
  }
};
