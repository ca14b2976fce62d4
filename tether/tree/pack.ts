import { type BigIntStats, closeSync, fstatSync, readSync } from "node:fs";
import type { TarHeaderInput, TarMember } from "../../src/format/tar/index.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { cName, openAt, readLinkOf, reopen } from "../system/file-calls.ts";
import { attributes, ERRNO, OPEN, SystemError } from "../system/libc.ts";
import { fromBytes, fromText, nameBytes, toText } from "./names.ts";
import { namesIn } from "./remove.ts";

const READ_LENGTH = 256 * 1024;
/** Deepest nesting of directories; one descriptor is open per level. Linux's longest path has 2048 components. */
const DEPTH_LIMIT = 2048;

/** Attributes worth keeping in an image; others (SELinux labels and the like) belong to the place. */
const isKept = (name: string): boolean => name === "security.capability" || name.startsWith("user.");

/** A directory whose entries are being packed. */
interface Level {
  fd: number;
  /** Name in the archive with the slash that its entries' names begin with; a byte string (see names.ts). */
  prefix: string;
  /** Entries still to do, in reverse order. */
  left: string[];
}

/** Names with more than one link that were packed already, by device and inode. */
export type Links = Map<string, string>;

/**
 * The file `fd` (a path descriptor, the caller's) under `name`, and all below it, as tar members in a fixed order.
 * An empty name leaves the top directory itself out. Works by descriptors: what processes rename or replace meanwhile
 * cannot lead elsewhere. What vanishes meanwhile is left out, and so are sockets, as by Docker.
 */
export async function* packTree(fd: number, name: string): AsyncGenerator<TarMember, void, undefined> {
  const links: Links = new Map();
  const levels: Level[] = [];
  try {
    const top = fstatSync(fd, { bigint: true });
    if (name !== "") yield* memberOf(fd, name, top, links);
    if (top.isDirectory()) levels.push(levelOf(reopen(fd, OPEN.readOnly | OPEN.directory), name));
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const entry = level.left.pop();
      if (entry === undefined) {
        levels.pop();
        closeSync(level.fd);
        continue;
      }
      const child = openAt(level.fd, cName(entry), OPEN.path);
      if (child === -ERRNO.ENOENT) continue;
      if (child < 0) throw new SystemError(`open ${toText(level.prefix + entry)}`, -child);
      try {
        const stat = fstatSync(child, { bigint: true });
        yield* memberOf(child, level.prefix + entry, stat, links);
        if (!stat.isDirectory()) continue;
        if (levels.length >= DEPTH_LIMIT) {
          throw new LinkError("invalid", `directories are nested deeper than ${DEPTH_LIMIT}`);
        }
        levels.push(levelOf(reopen(child, OPEN.readOnly | OPEN.directory), level.prefix + entry));
      } finally {
        closeSync(child);
      }
    }
  } finally {
    for (const level of levels) closeSync(level.fd);
  }
}

const levelOf = (fd: number, name: string): Level => ({
  fd,
  prefix: name === "" || name.endsWith("/") ? name : `${name}/`,
  left: namesIn(fd).sort((a, b) => (a > b ? -1 : 1)),
});

/** One file as a member, or nothing for a socket. Its body must be read before `fd` is closed. */
export function* memberOf(fd: number, name: string, stat: BigIntStats, links: Links): Generator<TarMember> {
  if (stat.isSocket()) return;
  const base = baseHeader(fd, name, stat);
  const first = stat.isDirectory() || stat.nlink < 2n ? undefined : firstName(stat, name, links);
  if (first !== undefined) {
    yield { header: { ...base, type: "link", xattrs: new Map(), ...linkFields(first) } };
  } else if (stat.isDirectory()) {
    yield { header: { ...base, type: "directory" } };
  } else if (stat.isSymbolicLink()) {
    yield { header: { ...base, type: "symlink", ...linkFields(fromBytes(readLinkOf(fd))) } };
  } else if (stat.isFile()) {
    const size = Number(stat.size);
    yield size === 0 ? { header: base } : { header: { ...base, size }, body: fileContent(fd, size) };
  } else {
    yield { header: { ...base, ...nodeFields(stat) } };
  }
}

const baseHeader = (fd: number, name: string, stat: BigIntStats): TarHeaderInput => {
  const header: TarHeaderInput = {
    ...named(stat.isDirectory() && !name.endsWith("/") ? `${name}/` : name),
    type: "file",
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: stat.mtimeNs,
  };
  // None of the attributes kept can be on a symlink.
  if (!stat.isSymbolicLink()) {
    const kept = [...attributes(`/proc/self/fd/${fd}`)].filter(([attribute]) => isKept(attribute));
    if (kept.length > 0) header.xattrs = new Map(kept);
  }
  return header;
};

/** The name under which a file with several links is in the archive already. */
const firstName = (stat: BigIntStats, name: string, links: Links): string | undefined => {
  const key = `${stat.dev}:${stat.ino}`;
  const first = links.get(key);
  if (first === undefined) links.set(key, name);
  return first;
};

/** Numbers of a device file, as Linux packs them into 64 bits; a fifo has none. */
const nodeFields = (stat: BigIntStats): Pick<TarHeaderInput, "type" | "devMajor" | "devMinor"> => {
  if (stat.isFIFO()) return { type: "fifo" };
  const { rdev } = stat;
  return {
    type: stat.isBlockDevice() ? "block" : "character",
    devMajor: Number((rdev >> 8n) & 0xfffn),
    devMinor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)),
  };
};

const named = (name: string): Pick<TarHeaderInput, "name" | "rawName"> => {
  const raw = rawIfNeeded(name);
  return raw === undefined ? { name: toText(name) } : { name: toText(name), rawName: raw };
};

const linkFields = (target: string): Pick<TarHeaderInput, "linkName" | "rawLinkName"> => {
  const raw = rawIfNeeded(target);
  return raw === undefined ? { linkName: toText(target) } : { linkName: toText(target), rawLinkName: raw };
};

/** The bytes of a name that is not UTF-8. */
const rawIfNeeded = (name: string): Uint8Array | undefined =>
  fromText(toText(name)) === name ? undefined : nameBytes(name);

/** Exactly `size` bytes: a file that grows is cut, one that shrinks is filled with zeros, since its length is already sent. */
async function* fileContent(path: number, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  const fd = reopen(path, OPEN.readOnly | OPEN.nonBlocking);
  try {
    for (let offset = 0; offset < size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(READ_LENGTH, size - offset));
      const count = readSync(fd, chunk, 0, chunk.length, offset);
      yield count > 0 ? chunk.subarray(0, count) : chunk.fill(0);
      offset += count > 0 ? count : chunk.length;
    }
  } finally {
    closeSync(fd);
  }
}
