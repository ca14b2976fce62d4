import { closeSync } from "node:fs";
import type { LayerStatistics } from "../../src/link/operations.ts";
import { OPEN, open } from "../system/libc.ts";
import { extractTar } from "./extract.ts";
import { namesIn } from "./remove.ts";

/**
 * Applies one image layer (an uncompressed tar) on top of what the directory `root` holds, with OCI whiteouts.
 * Every path is resolved inside `root` as after chroot. Throws LinkError; a failed layer leaves the tree half changed.
 */
export const applyLayer = async (root: string, tar: AsyncIterable<Uint8Array>): Promise<LayerStatistics> => {
  const fd = open(root, OPEN.path | OPEN.directory);
  try {
    const whiteouts = { hasLower: namesIn(fd).length > 0 };
    return await extractTar(fd, tar, { whiteouts, keepKinds: false, rootAttributes: true });
  } finally {
    closeSync(fd);
  }
};
