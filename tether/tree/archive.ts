import { closeSync, fstatSync, readlinkSync } from "node:fs";
import { writeTar } from "../../src/format/tar/index.ts";
import type { Channel } from "../../src/link/contract.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { FileStat } from "../../src/link/operations.ts";
import { OPEN, openInRoot, RESOLVE, SystemError } from "../system/libc.ts";
import { baseOf, fromText, toText } from "./names.ts";
import { listDirectory, packTree } from "./pack.ts";

const STDOUT = 1;
/** Small pieces of an archive are joined up to this length before they are sent. */
const BATCH = 64 * 1024;
const RESOLVE_FLAGS = RESOLVE.inRoot | RESOLVE.noMagicLinks;

/** Go's os.FileMode of a Linux mode. */
export const goFileMode = (mode: number): number => {
  const kinds: Record<number, number> = {
    9604: 2 ** 31,
    21609: 2 ** 27,
    14406: 2 ** 26,
    4802: 2 ** 26 + 2 ** 21,
    2401: 2 ** 25,
    26411: 2 ** 24,
  };
  let result = (mode & 0o777) + (kinds[mode & 0o170000] ?? 0);
  if (mode & 0o4000) result += 2 ** 23;
  if (mode & 0o2000) result += 2 ** 22;
  if (mode & 0o1000) result += 2 ** 20;
  return result;
};

const rfc3339 = (nanoseconds: bigint): string => {
  const seconds = nanoseconds / 1_000_000_000n;
  const fraction = String(nanoseconds % 1_000_000_000n).padStart(9, "0");
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
};

/** A trailing `/` or `/.` means what a symlink points to; otherwise the symlink itself is meant. */
const followsLast = (path: string): boolean => /(^|\/)\.?$/.test(path);

/** Where a path of a request really is in the tree, with every symlink of its parents followed. */
interface Resolved {
  stat: FileStat;
  /** Byte string without leading slash, as packTree takes it; empty for the root. */
  path: string;
  isDirectory: boolean;
}

export const resolvePath = (root: number, path: string): Resolved => {
  const rootPath = readlinkSync(`/proc/self/fd/${root}`);
  const clean = path.replace(/^\/*/, "/");
  let fd: number;
  try {
    const flags = OPEN.path | (followsLast(clean) ? 0 : OPEN.noFollow);
    fd = openInRoot(root, clean, flags, 0, RESOLVE_FLAGS);
  } catch (error) {
    if (error instanceof SystemError && (error.errno === 2 || error.errno === 20)) {
      throw new LinkError("not-found", `Could not find the file ${path} in container`);
    }
    throw error;
  }
  try {
    const stat = fstatSync(fd, { bigint: true });
    const real = readlinkSync(`/proc/self/fd/${fd}`, { encoding: "buffer" }).toString("latin1");
    const prefix = fromText(rootPath);
    const inside = real === prefix ? "" : real.slice(prefix === "/" ? 1 : prefix.length + 1);
    const link = stat.isSymbolicLink() ? linkTargetInRoot(root, clean) : "";
    const name = baseOf(fromText(clean.replace(/\/+$/, ""))) || "/";
    return {
      path: inside,
      isDirectory: stat.isDirectory(),
      stat: {
        name: toText(name),
        size: Number(stat.size),
        mode: goFileMode(Number(stat.mode)),
        mtime: rfc3339(stat.mtimeNs),
        linkTarget: link,
      },
    };
  } finally {
    closeSync(fd);
  }
};

/** Where a symlink leads in the container, as an absolute path; its own text's path when it leads nowhere. */
const linkTargetInRoot = (root: number, path: string): string => {
  try {
    const fd = openInRoot(root, path, OPEN.path, 0, RESOLVE_FLAGS);
    const target = readlinkSync(`/proc/self/fd/${fd}`);
    closeSync(fd);
    const prefix = readlinkSync(`/proc/self/fd/${root}`);
    return target === prefix ? "/" : target.slice(prefix === "/" ? 0 : prefix.length);
  } catch {
    // A dangling link: Docker gives the path itself.
    return path;
  }
};

/** Docker's GET archive: FileStat, then a tar whose members are below the path's last component. */
export const sendArchive = async (root: number, path: string, channel: Channel): Promise<void> => {
  const resolved = resolvePath(root, path);
  await channel.control({ ...resolved.stat });
  const name = resolved.stat.name === "/" ? "/" : fromText(resolved.stat.name);
  await sendTar(packTree(root, [{ path: resolved.path, name }]), channel);
};

/** Docker's export: everything below the root, without the root itself. */
export const sendTree = async (root: number, channel: Channel): Promise<void> => {
  await sendTar(
    packTree(
      root,
      listDirectory(root, "").map((name) => ({ path: name, name })),
    ),
    channel,
  );
};

const sendTar = async (members: Parameters<typeof writeTar>[0], channel: Channel): Promise<void> => {
  let batch: Uint8Array[] = [];
  let length = 0;
  const flush = async (): Promise<void> => {
    if (length > 0)
      await channel.send(STDOUT, batch.length === 1 ? (batch[0] ?? new Uint8Array(0)) : Buffer.concat(batch));
    batch = [];
    length = 0;
  };
  for await (const chunk of writeTar(members)) {
    batch.push(chunk);
    length += chunk.length;
    if (length >= BATCH) await flush();
  }
  await flush();
  await channel.end(STDOUT);
};

/** The directory of a PUT archive request. Throws LinkError when it is missing or no directory. */
export const resolveDirectory = (root: number, path: string): string => {
  // The trailing slash makes a symlink to a directory count as that directory.
  const resolved = resolvePath(root, `${path}/`);
  if (!resolved.isDirectory) throw new LinkError("invalid", "extraction point is not a directory");
  return resolved.path;
};
