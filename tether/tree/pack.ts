import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  readdirSync,
  readlinkSync,
  readSync,
} from "node:fs";
import type { TarHeaderInput, TarMember } from "../../src/format/tar/index.ts";
import { attributes, OPEN, openInRoot, RESOLVE } from "../system/libc.ts";
import { fromBytes, fromText, nameBytes, toText } from "./names.ts";

const READ_LENGTH = 256 * 1024;
const INSIDE = RESOLVE.inRoot | RESOLVE.noSymlinks | RESOLVE.noMagicLinks;

/** Attributes worth keeping in an image; others (SELinux labels, ACLs of the medium) belong to the place. */
const isKept = (name: string): boolean => name === "security.capability" || name.startsWith("user.");

/** `name` in the archive for the file at `path` of the tree; both as byte strings (see names.ts). */
export interface PackRoot {
  path: string;
  name: string;
}

/** The tree below (and with) the given places as tar members, in a fixed order. Sockets are left out. */
export async function* packTree(root: number, places: Iterable<PackRoot>): AsyncGenerator<TarMember> {
  const links = new Map<string, string>();
  for (const place of places) yield* packOne(root, place.path, place.name, links);
}

/** Names in a directory of the tree, sorted by bytes. */
export const listDirectory = (root: number, path: string): string[] => {
  const fd = openInRoot(root, nameBytes(path === "" ? "." : path), OPEN.path | OPEN.directory, 0, INSIDE);
  try {
    const names = readdirSync(Buffer.from(`/proc/self/fd/${fd}/.`), { encoding: "buffer" });
    return names.map(fromBytes).sort((a, b) => (a < b ? -1 : 1));
  } finally {
    closeSync(fd);
  }
};

async function* packOne(
  root: number,
  path: string,
  name: string,
  links: Map<string, string>,
): AsyncGenerator<TarMember> {
  const fd = openInRoot(root, nameBytes(path === "" ? "." : path), OPEN.path | OPEN.noFollow, 0, INSIDE);
  let member: TarMember | undefined;
  let isDirectory = false;
  try {
    const stat = fstatSync(fd, { bigint: true });
    isDirectory = stat.isDirectory();
    member = describe(root, fd, path, name, stat, links);
  } finally {
    closeSync(fd);
  }
  if (member === undefined) return;
  yield member;
  if (!isDirectory) return;
  for (const child of listDirectory(root, path)) {
    const inner = name === "" || name.endsWith("/") ? `${name}${child}` : `${name}/${child}`;
    yield* packOne(root, path === "" ? child : `${path}/${child}`, inner, links);
  }
}

const describe = (
  root: number,
  fd: number,
  path: string,
  name: string,
  stat: BigIntStats,
  links: Map<string, string>,
): TarMember | undefined => {
  const header: TarHeaderInput = {
    ...named(stat.isDirectory() && !name.endsWith("/") ? `${name}/` : name),
    type: "file",
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: stat.mtimeNs,
  };
  // A symlink's own attributes cannot be read through its descriptor; none of those kept can be on a symlink.
  if (!stat.isSymbolicLink()) header.xattrs = keptAttributes(`/proc/self/fd/${fd}`);
  if (stat.isDirectory()) return { header: { ...header, type: "directory" } };
  if (stat.isSymbolicLink()) {
    const target = readLink(root, path);
    return { header: { ...header, type: "symlink", linkName: toText(target), rawLinkName: rawIfNeeded(target) } };
  }
  if (stat.isFIFO()) return { header: { ...header, type: "fifo" } };
  if (stat.isCharacterDevice() || stat.isBlockDevice()) {
    const { rdev } = stat;
    return {
      header: {
        ...header,
        type: stat.isBlockDevice() ? "block" : "character",
        devMajor: Number((rdev >> 8n) & 0xfffn),
        devMinor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)),
      },
    };
  }
  if (!stat.isFile()) return undefined;
  if (stat.nlink > 1n) {
    const key = `${stat.dev}:${stat.ino}`;
    const first = links.get(key);
    if (first !== undefined) {
      const target = { linkName: toText(first), rawLinkName: rawIfNeeded(first) };
      return { header: { ...header, ...target, type: "link", xattrs: new Map() } };
    }
    links.set(key, name);
  }
  const size = Number(stat.size);
  return { header: { ...header, size }, body: fileContent(root, path, size) };
};

const named = (name: string): Pick<TarHeaderInput, "name" | "rawName"> => ({
  name: toText(name),
  rawName: rawIfNeeded(name),
});

/** The bytes of a name that is not UTF-8. */
const rawIfNeeded = (name: string): Uint8Array | undefined =>
  fromText(toText(name)) === name ? undefined : nameBytes(name);

const keptAttributes = (path: string): Map<string, Uint8Array> => {
  const kept = new Map<string, Uint8Array>();
  for (const [name, value] of attributes(path)) if (isKept(name)) kept.set(name, value);
  return kept;
};

const readLink = (root: number, path: string): string => {
  const slash = path.lastIndexOf("/");
  const parent = slash === -1 ? "." : path.slice(0, slash);
  const fd = openInRoot(root, nameBytes(parent), OPEN.path | OPEN.directory, 0, INSIDE);
  try {
    const at = Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), nameBytes(path.slice(slash + 1))]);
    if (!lstatSync(at).isSymbolicLink()) return "";
    return fromBytes(readlinkSync(at, { encoding: "buffer" }));
  } finally {
    closeSync(fd);
  }
};

/** Exactly `size` bytes: a file that grows is cut, one that shrinks is filled with zeros, since its length is already sent. */
async function* fileContent(root: number, path: string, size: number): AsyncGenerator<Uint8Array> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | OPEN.noFollow;
  const fd = openInRoot(root, nameBytes(path), flags, 0, INSIDE);
  try {
    for (let offset = 0; offset < size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(READ_LENGTH, size - offset));
      const count = readSync(fd, chunk, 0, chunk.length, offset);
      if (count === 0) {
        yield new Uint8Array(chunk.length);
        offset += chunk.length;
      } else {
        yield chunk.subarray(0, count);
        offset += count;
      }
    }
  } finally {
    closeSync(fd);
  }
}
