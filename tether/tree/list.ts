import { closeSync, fstatSync } from "node:fs";
import { LinkError } from "../../src/link/link-error.ts";
import { encodeTreeRecord } from "../../src/link/tree-record.ts";
import { cName, openAt, reopen } from "../system/file-calls.ts";
import { ERRNO, OPEN, open, SystemError } from "../system/libc.ts";
import { toText } from "./names.ts";
import { namesIn } from "./remove.ts";

/** Deepest nesting of directories; one descriptor is open per level. */
const DEPTH_LIMIT = 2048;
/** Records are sent in batches of about this many bytes. */
const BATCH = 64 * 1024;

interface Level {
  fd: number;
  prefix: string;
  /** Entries still to do, in reverse order. */
  left: string[];
}

/**
 * Records of everything below `root`, for a comparison with another tree (src/link/tree-record.ts). Does not cross into
 * other filesystems. Works by descriptors: no symlink leads elsewhere. What vanishes meanwhile is left out.
 */
export async function* listTree(root: string): AsyncGenerator<Uint8Array, void, undefined> {
  let batch: Uint8Array[] = [];
  let length = 0;
  for (const record of records(root)) {
    batch.push(record);
    length += record.length;
    if (length < BATCH) continue;
    yield Buffer.concat(batch, length);
    batch = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(batch, length);
}

function* records(root: string): Generator<Uint8Array> {
  const levels: Level[] = [levelOf(open(root, OPEN.readOnly | OPEN.directory), "")];
  const { dev } = fstatSync(levels[0]?.fd ?? -1, { bigint: true });
  try {
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const name = level.left.pop();
      if (name === undefined) {
        levels.pop();
        closeSync(level.fd);
        continue;
      }
      const path = level.prefix + name;
      const child = openAt(level.fd, cName(name), OPEN.path);
      if (child === -ERRNO.ENOENT) continue;
      if (child < 0) throw new SystemError(`open ${toText(path)}`, -child);
      try {
        const stat = fstatSync(child, { bigint: true });
        yield encodeTreeRecord({
          path,
          inode: stat.ino,
          changed: stat.ctimeNs,
          mode: Number(stat.mode),
          uid: Number(stat.uid),
          gid: Number(stat.gid),
        });
        if (!stat.isDirectory() || stat.dev !== dev) continue;
        if (levels.length >= DEPTH_LIMIT)
          throw new LinkError("invalid", `directories are nested deeper than ${DEPTH_LIMIT}`);
        levels.push(levelOf(reopen(child, OPEN.readOnly | OPEN.directory), `${path}/`));
      } finally {
        closeSync(child);
      }
    }
  } finally {
    for (const level of levels) closeSync(level.fd);
  }
}

const levelOf = (fd: number, prefix: string): Level => ({
  fd,
  prefix,
  left: namesIn(fd).sort((a, b) => (a > b ? -1 : 1)),
});
