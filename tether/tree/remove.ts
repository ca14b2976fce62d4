import { readdirSync } from "node:fs";
import { closeFd, cName, openAt, removeDirectoryAt, unlinkAt } from "../system/file-calls.ts";
import { ERRNO, OPEN, SystemError } from "../system/libc.ts";
import { fromBytes } from "./names.ts";

/** Times that a directory is emptied again because somebody keeps filling it. */
const ATTEMPTS = 8;
const ENOTEMPTY = 39;

/** What was removed; a directory or symlink means that open directories may be stale. */
export type Removed = "nothing" | "file" | "directory";

/** Names in an open directory, as byte strings. */
export const namesIn = (directory: number): string[] =>
  readdirSync(Buffer.from(`/proc/self/fd/${directory}/.`), { encoding: "buffer" }).map(fromBytes);

/**
 * Removes whatever has this name in an open directory, directories with all they hold. Works by descriptors: no symlink
 * is followed even if somebody puts one in place meanwhile.
 */
export const removeAt = (directory: number, name: string): Removed => {
  const bytes = cName(name);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const code = unlinkAt(directory, bytes);
    if (code === 0) return "file";
    if (code === ERRNO.ENOENT) return "nothing";
    if (code !== ERRNO.EISDIR) throw new SystemError("unlink", code);
    const inner = openAt(directory, bytes, OPEN.readOnly | OPEN.directory);
    if (inner < 0) {
      if (inner === -ERRNO.ENOTDIR || inner === -ERRNO.ELOOP || inner === -ERRNO.ENOENT) continue;
      throw new SystemError("open", -inner);
    }
    try {
      for (const child of namesIn(inner)) removeAt(inner, child);
    } finally {
      closeFd(inner);
    }
    const removed = removeDirectoryAt(directory, bytes);
    if (removed === 0 || removed === ERRNO.ENOENT) return "directory";
    if (removed !== ENOTEMPTY && removed !== ERRNO.ENOTDIR) throw new SystemError("rmdir", removed);
  }
  throw new SystemError("rmdir", ENOTEMPTY);
};
