import { closeSync } from "node:fs";
import { LinkError } from "../../src/link/link-error.ts";
import type { LayerStatistics } from "../../src/link/operations.ts";
import { ERRNO, OPEN, open, openInRoot, RESOLVE } from "../system/libc.ts";
import { extractTar } from "./extract.ts";
import { asLinkError, errnoOf } from "./tree-error.ts";

export interface WriteArchiveOptions {
  /** Refuse to replace a directory by a non-directory and the other way round. */
  noOverwriteDirNonDir: boolean;
  /** docker cp -a: everything gets the container's user and group, where the container has one (`containerOwner`). */
  copyOwner: boolean;
  /** The container's configured user, resolved; undefined when it has none. */
  containerOwner?: { uid: number; gid: number };
}

/**
 * Unpacks a tar into the existing directory `path` of the tree at `root` (Docker's PUT archive). As in dockerd, owners
 * are those of the archive unless `copyOwner` names another, and the archive's root member does not change `path`
 * itself. Safe against processes that change the tree meanwhile. Throws LinkError: not-found, not-a-directory, read-only …
 */
export const writeArchive = async (
  root: string,
  path: string,
  tar: AsyncIterable<Uint8Array>,
  options: WriteArchiveOptions,
): Promise<LayerStatistics> => {
  const directory = openTarget(root, path);
  try {
    const owner = options.copyOwner ? options.containerOwner : undefined;
    return await extractTar(directory, tar, {
      keepKinds: options.noOverwriteDirNonDir,
      rootAttributes: false,
      ...(owner && { owner }),
    });
  } finally {
    closeSync(directory);
  }
};

const openTarget = (root: string, path: string): number => {
  const fd = open(root, OPEN.path | OPEN.directory);
  try {
    const resolve = RESOLVE.inRoot | RESOLVE.noMagicLinks;
    return openInRoot(fd, path === "" ? "." : path, OPEN.path | OPEN.directory, 0, resolve);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === ERRNO.ENOENT) throw new LinkError("not-found", `Could not find the file ${path} in container`);
    if (errno === ERRNO.ENOTDIR) throw new LinkError("not-a-directory", "extraction point is not a directory");
    throw asLinkError(error, path);
  } finally {
    closeSync(fd);
  }
};
