/**
 * What a tree holds, as a stream of records, so that two trees of any size can be compared while both are being walked.
 *
 * A record: u32 length of what follows · u64 inode · u64 change time in nanoseconds · u32 mode · u32 uid · u32 gid · path.
 * All numbers big endian; the path is bytes, without a slash in front. Order: a directory, then what is in it, names in byte order.
 */
import { LinkError } from "./link-error.ts";

export interface TreeRecord {
  /** A byte string: one character per byte, since names need not be UTF-8. */
  path: string;
  inode: bigint;
  /** Time of the last change to content or attributes, nanoseconds. */
  changed: bigint;
  /** st_mode with the file's kind. */
  mode: number;
  uid: number;
  gid: number;
}

const FIXED = 28;
const LENGTH = 4;
/** Longest path: far longer than Linux opens in one call, since the walk goes by directory descriptors. */
export const TREE_PATH_LIMIT = 512 * 1024;

export const encodeTreeRecord = (record: TreeRecord): Uint8Array => {
  const path = Buffer.from(record.path, "latin1");
  if (path.length > TREE_PATH_LIMIT) throw new LinkError("invalid", `a path is longer than ${TREE_PATH_LIMIT} bytes`);
  const bytes = Buffer.allocUnsafe(LENGTH + FIXED + path.length);
  bytes.writeUInt32BE(FIXED + path.length, 0);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, record.inode), 4);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, record.changed), 12);
  bytes.writeUInt32BE(record.mode, 20);
  bytes.writeUInt32BE(record.uid, 24);
  bytes.writeUInt32BE(record.gid, 28);
  path.copy(bytes, LENGTH + FIXED);
  return bytes;
};

/** The records in a byte stream in pieces of any size. Throws LinkError when it is malformed or out of order. */
export async function* readTreeRecords(source: AsyncIterable<Uint8Array>): AsyncGenerator<TreeRecord, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  let last: string | undefined;
  for await (const piece of source) {
    rest = rest.length === 0 ? Buffer.from(piece) : Buffer.concat([rest, piece]);
    let at = 0;
    for (;;) {
      if (rest.length - at < LENGTH) break;
      const length = rest.readUInt32BE(at);
      if (length <= FIXED || length > FIXED + TREE_PATH_LIMIT) throw malformed();
      if (rest.length - at < LENGTH + length) break;
      const record = decode(rest.subarray(at + LENGTH, at + LENGTH + length));
      if (last !== undefined && compareTreePaths(last, record.path) >= 0) throw malformed();
      last = record.path;
      yield record;
      at += LENGTH + length;
    }
    rest = rest.subarray(at);
  }
  if (rest.length > 0) throw malformed();
}

const malformed = (): LinkError => new LinkError("invalid", "the guest's list of files is malformed");

const decode = (bytes: Buffer): TreeRecord => ({
  inode: bytes.readBigUInt64BE(0),
  changed: bytes.readBigUInt64BE(8),
  mode: bytes.readUInt32BE(16),
  uid: bytes.readUInt32BE(20),
  gid: bytes.readUInt32BE(24),
  path: bytes.toString("latin1", FIXED),
});

/** The order of a walk: as if a slash came before every other byte. Negative, zero or positive. */
export const compareTreePaths = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const [x, y] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (x === y) continue;
    if (x === SLASH) return -1;
    if (y === SLASH) return 1;
    return x - y;
  }
  return a.length - b.length;
};
const SLASH = 47;
