import { statfsSync } from "node:fs";

/** Used and total bytes of the filesystem that holds `root`, as df counts them. Costs one system call. */
export const treeUsage = (root: string): { usedBytes: number; totalBytes: number } => {
  const { blocks, bfree, bsize } = statfsSync(root);
  return { usedBytes: (blocks - bfree) * bsize, totalBytes: blocks * bsize };
};
