/** Filesystem work inside the guest: image layers, docker cp and docker export on a directory that others wrote. */
export { applyLayer } from "./apply-layer.ts";
export { listTree } from "./list.ts";
export { packLayer } from "./pack-layer.ts";
export { exportTree, pathStat, readArchive } from "./read-archive.ts";
export { treeUsage } from "./tree-usage.ts";
export { type WriteArchiveOptions, writeArchive } from "./write-archive.ts";
