import { closeSync } from "node:fs";
import { writeTar } from "../../src/format/tar/index.ts";
import type { FileStat } from "../../src/link/operations.ts";
import { OPEN, open } from "../system/libc.ts";
import { fromText } from "./names.ts";
import { packTree } from "./pack.ts";
import { resolvePath } from "./resolve.ts";
import { asLinkError } from "./tree-error.ts";

/** What Docker tells about a path of a container (HEAD archive): of the symlink itself, with where it leads to. */
export const pathStat = async (root: string, path: string): Promise<FileStat> => {
  const { fd, fileStat } = resolvePath(root, path);
  closeSync(fd);
  return fileStat;
};

/**
 * A tar of `path` in the tree at `root` (Docker's GET archive): its members are named below the path's last component
 * (`.` for `/a/.`). The tar must be read to its end or its iterator closed, since a file stays open until then.
 */
export const readArchive = async (
  root: string,
  path: string,
): Promise<{ stat: FileStat; tar: AsyncIterableIterator<Uint8Array> }> => {
  const { fd, fileStat } = resolvePath(root, path);
  return { stat: fileStat, tar: tarOf(fd, fromText(fileStat.name), path) };
};

/** A tar of everything below `root`, without the root itself (docker export). */
export const exportTree = (root: string): AsyncIterableIterator<Uint8Array> =>
  tarOf(open(root, OPEN.path | OPEN.directory), "", "/");

/** Small pieces of an archive (headers, padding) are joined up to this length. */
const BATCH_LENGTH = 64 * 1024;

async function* batched(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let batch: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    if (chunk.length >= BATCH_LENGTH && length === 0) {
      yield chunk;
      continue;
    }
    batch.push(chunk);
    length += chunk.length;
    if (length < BATCH_LENGTH) continue;
    yield Buffer.concat(batch, length);
    batch = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(batch, length);
}

/** Takes over the descriptor `fd` and closes it at the end, also when the iterator is closed before its first step. */
const tarOf = (fd: number, name: string, subject: string): AsyncIterableIterator<Uint8Array> => {
  const inner = batched(writeTar(packTree(fd, name)));
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        const result = await inner.next();
        if (result.done) close();
        return result;
      } catch (error) {
        close();
        throw asLinkError(error, subject);
      }
    },
    async return() {
      await inner.return();
      close();
      return { done: true, value: undefined };
    },
  };
};
