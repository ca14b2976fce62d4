import { closeSync, fstatSync } from "node:fs";
import { type TarMember, writeTar } from "../../src/format/tar/index.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { ERRNO, OPEN, open, openInRoot, RESOLVE } from "../system/libc.ts";
import { baseOf, fromBytes, nameBytes, parentOf, toText } from "./names.ts";
import { type Links, memberOf } from "./pack.ts";
import { errnoOf } from "./tree-error.ts";

const WHITEOUT = ".wh.";
/** Longest path that Linux opens in one call. */
const PATH_LIMIT = 4095;
const NUL = 0;

/** A tar of the paths that `wanted` names (the stream of `layerPack`, src/link/operations.ts), as an OCI image layer. */
export const packLayer = (root: string, wanted: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> =>
  writeTar(members(root, wanted));

async function* members(root: string, wanted: AsyncIterable<Uint8Array>): AsyncGenerator<TarMember, void, undefined> {
  const fd = open(root, OPEN.path | OPEN.directory);
  const links: Links = new Map();
  try {
    for await (const { kind, path } of readPaths(wanted)) {
      if (kind === "D") yield { header: whiteout(path) };
      else yield* packed(fd, path, links);
    }
  } finally {
    closeSync(fd);
  }
}

const whiteout = (path: string) => {
  const parent = parentOf(path);
  const name = `${parent === "" ? "" : `${parent}/`}${WHITEOUT}${baseOf(path)}`;
  return { name: toText(name), rawName: nameBytes(name), type: "file" as const, mode: 0, mtime: 0n };
};

async function* packed(root: number, path: string, links: Links): AsyncGenerator<TarMember, void, undefined> {
  let fd: number;
  try {
    const resolve = RESOLVE.beneath | RESOLVE.noSymlinks;
    fd = openInRoot(root, nameBytes(path), OPEN.path | OPEN.noFollow, 0, resolve);
  } catch (error) {
    // It was removed, or a directory above it replaced, since the trees were compared.
    if ([ERRNO.ENOENT, ERRNO.ENOTDIR, ERRNO.ELOOP].some((gone) => gone === errnoOf(error))) return;
    throw error;
  }
  try {
    yield* memberOf(fd, path, fstatSync(fd, { bigint: true }), links);
  } finally {
    closeSync(fd);
  }
}

async function* readPaths(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ kind: "P" | "D"; path: string }, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of source) {
    rest = Buffer.concat([rest, piece]);
    for (let end = rest.indexOf(NUL); end !== -1; end = rest.indexOf(NUL)) {
      const kind = String.fromCharCode(rest[0] ?? 0);
      const path = fromBytes(rest.subarray(1, end));
      if ((kind !== "P" && kind !== "D") || path === "") throw new LinkError("invalid", "malformed list of paths");
      yield { kind, path };
      rest = rest.subarray(end + 1);
    }
    if (rest.length > PATH_LIMIT + 1) throw new LinkError("invalid", `a path is longer than ${PATH_LIMIT} bytes`);
  }
  if (rest.length > 0) throw new LinkError("invalid", "the list of paths ended early");
}
