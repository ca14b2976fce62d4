import type { BigIntStats } from "node:fs";
import type { FileStat } from "../../src/link/operations.ts";

const KIND = 0xf000;
/** Bits of Go's os.FileMode (io/fs documentation) for the kinds of Linux files. */
const GO_KINDS = new Map([
  [0x4000, 2 ** 31], // directory
  [0xa000, 2 ** 27], // symlink
  [0x6000, 2 ** 26], // block device
  [0x2000, 2 ** 26 + 2 ** 21], // character device
  [0x1000, 2 ** 25], // fifo
  [0xc000, 2 ** 24], // socket
]);
const GO_SET_UID = 2 ** 23;
const GO_SET_GID = 2 ** 22;
const GO_STICKY = 2 ** 20;

/** Go's os.FileMode of a Linux st_mode. */
export const goFileMode = (mode: number): number =>
  (mode & 0o777) +
  (GO_KINDS.get(mode & KIND) ?? 0) +
  (mode & 0o4000 ? GO_SET_UID : 0) +
  (mode & 0o2000 ? GO_SET_GID : 0) +
  (mode & 0o1000 ? GO_STICKY : 0);

const NANOSECONDS = 1_000_000_000n;

/** RFC 3339 in UTC; years that Go's encoder refuses (below 0, above 9999) become the nearest it takes. */
export const rfc3339 = (nanoseconds: bigint): string => {
  const remainder = ((nanoseconds % NANOSECONDS) + NANOSECONDS) % NANOSECONDS;
  const seconds = Number((nanoseconds - remainder) / NANOSECONDS);
  const bounded = Math.min(Math.max(seconds, -62_167_219_200), 253_402_300_799);
  const text = new Date(bounded * 1000).toISOString().slice(0, 19);
  return remainder === 0n ? `${text}Z` : `${text}.${String(remainder).padStart(9, "0")}Z`;
};

export const fileStat = (name: string, stat: BigIntStats, linkTarget: string): FileStat => ({
  name,
  size: Number(stat.size),
  mode: goFileMode(Number(stat.mode)),
  mtime: rfc3339(stat.mtimeNs),
  linkTarget,
});
