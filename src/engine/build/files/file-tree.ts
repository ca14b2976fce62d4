/**
 * The files of a build context or of another stage: an index in memory, contents in a spool. Nothing is ever unpacked on this
 * machine, so a path out of an archive, however hostile, names nothing but an entry of the index.
 */
import { readTar, type TarEntryType, type TarHeader } from "../../../format/tar/index.ts";
import { EngineError, invalid } from "../../errors.ts";
import { PATH_LIMIT, SPOOL_ENTRIES_LIMIT, SPOOL_PATHS_LIMIT, SYMLINKS_LIMIT } from "../limits.ts";
import { normalised } from "./paths.ts";
import type { Spool, SpooledContent } from "./spool.ts";

export interface FileNode {
  /** Relative, without `.` and `..`; empty for the root. */
  path: string;
  type: Exclude<TarEntryType, "link">;
  mode: number;
  uid: number;
  gid: number;
  mtime: bigint;
  /** Target of a symlink. */
  linkName: string;
  device: { major: number; minor: number };
  xattrs: ReadonlyMap<string, Uint8Array>;
  /** Of a file. Hard links of one file have the same object. */
  content?: SpooledContent;
}

export interface TreeLimits {
  entries: number;
  pathBytes: number;
}

export class FileTree {
  readonly #nodes = new Map<string, FileNode>();
  readonly #children = new Map<string, Set<string>>();
  #pathBytes = 0;

  constructor(
    readonly spool: Spool,
    private readonly limits: TreeLimits = { entries: SPOOL_ENTRIES_LIMIT, pathBytes: SPOOL_PATHS_LIMIT },
  ) {
    this.#nodes.set("", directoryNode(""));
  }

  get size(): number {
    return this.#nodes.size - 1;
  }

  /** The node itself, no symlink followed. */
  get(path: string): FileNode | undefined {
    return this.#nodes.get(path);
  }

  /** Paths of a directory's entries, in order of their names. */
  children(path: string): string[] {
    const prefix = path === "" ? "" : `${path}/`;
    return [...(this.#children.get(path) ?? [])].sort().map((name) => prefix + name);
  }

  /** The node and all below it, directories before what is in them. */
  *walk(path: string): Generator<FileNode, void, undefined> {
    const waiting = [path];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const node = this.#nodes.get(next);
      if (node === undefined) continue;
      yield node;
      waiting.push(...this.children(next).reverse());
    }
  }

  /** What the path leads to, symlinks followed as if the tree were the whole file system. Undefined when nothing is there. */
  resolve(path: string): FileNode | undefined {
    let followed = 0;
    let rest = path.split("/").filter((part) => part !== "" && part !== ".");
    let at = "";
    while (rest.length > 0) {
      const [part = "", ...after] = rest;
      rest = after;
      if (part === "..") {
        at = at.includes("/") ? at.slice(0, at.lastIndexOf("/")) : "";
        continue;
      }
      const below = at === "" ? part : `${at}/${part}`;
      const node = this.#nodes.get(below);
      if (node === undefined) return undefined;
      if (node.type !== "symlink") {
        at = below;
        continue;
      }
      followed += 1;
      if (followed > SYMLINKS_LIMIT) throw invalid(`too many levels of symbolic links: ${path}`);
      if (node.linkName.startsWith("/")) at = "";
      rest = [...node.linkName.split("/").filter((step) => step !== "" && step !== "."), ...rest];
      if (rest.length > PATH_LIMIT) throw invalid(`too many levels of symbolic links: ${path}`);
    }
    return this.#nodes.get(at);
  }

  add(node: FileNode): void {
    if (node.path === "") {
      this.#nodes.set("", node);
      return;
    }
    const separator = node.path.lastIndexOf("/");
    const parent = separator === -1 ? "" : node.path.slice(0, separator);
    const above = this.#nodes.get(parent);
    if (above === undefined) this.add(directoryNode(parent));
    else if (above.type !== "directory")
      throw invalid(
        `the archive has a file ${JSON.stringify(node.path)} below ${JSON.stringify(parent)}, which is no directory`,
      );
    const existing = this.#nodes.get(node.path);
    if (existing !== undefined && existing.type === "directory" && node.type !== "directory") this.remove(node.path);
    else if (existing === undefined) this.#count(node.path);
    this.#nodes.set(node.path, node);
    const siblings = this.#children.get(parent) ?? new Set();
    siblings.add(node.path.slice(separator + 1));
    this.#children.set(parent, siblings);
  }

  /** With everything below it. */
  remove(path: string): void {
    for (const node of [...this.walk(path)]) {
      if (node.path === "") continue;
      this.#nodes.delete(node.path);
      this.#children.delete(node.path);
      this.#pathBytes -= node.path.length;
    }
    const separator = path.lastIndexOf("/");
    this.#children.get(separator === -1 ? "" : path.slice(0, separator))?.delete(path.slice(separator + 1));
  }

  #count(path: string): void {
    this.#pathBytes += path.length;
    if (this.#nodes.size > this.limits.entries)
      throw invalid(
        `the archive has more than ${this.limits.entries} files: leave out what the build does not need with a .dockerignore file`,
      );
    if (path.length > PATH_LIMIT || this.#pathBytes > this.limits.pathBytes)
      throw invalid(
        `the paths of the archive are longer than ${this.limits.pathBytes} bytes together or ${PATH_LIMIT} each`,
      );
  }
}

export const directoryNode = (path: string): FileNode => ({
  path,
  type: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: 0n,
  linkName: "",
  device: { major: 0, minor: 0 },
  xattrs: new Map(),
});

/**
 * Reads an archive into a tree. `nameOf` may rename or leave out members.
 * Throws EngineError or FormatError for what is no archive, leaves the tree (`..`, links out of it) or is beyond a limit.
 */
export async function readTree(
  tree: FileTree,
  tar: AsyncIterable<Uint8Array>,
  nameOf: (path: string) => string | undefined = (path) => path,
): Promise<void> {
  for await (const { header, body } of readTar(tar)) {
    const stored = pathOf(header.name, "name");
    const path = nameOf(stored);
    if (path === undefined) continue;
    if (header.rawName !== undefined)
      throw invalid(`the name of ${JSON.stringify(header.name)} in the archive is not UTF-8: rename the file`);
    if (header.type === "link") {
      const target = tree.get(nameOf(pathOf(header.linkName, "link")) ?? "");
      if (target?.content === undefined)
        throw invalid(
          `the archive has a hard link ${JSON.stringify(header.name)} to ${JSON.stringify(header.linkName)}, which is no file in it`,
        );
      tree.add({ ...target, path });
      continue;
    }
    const content = header.type === "file" ? await tree.spool.write(body) : undefined;
    tree.add({ ...nodeOf(header, path), type: header.type, ...(content === undefined ? {} : { content }) });
  }
}

function pathOf(name: string, what: string): string {
  const path = normalised(name);
  if (path === undefined || name.includes("\0"))
    throw invalid(`the archive has a member whose ${what} leads out of it: ${JSON.stringify(name)}`);
  return path;
}

const nodeOf = (header: TarHeader, path: string): Omit<FileNode, "type"> => ({
  path,
  mode: header.mode,
  uid: header.uid,
  gid: header.gid,
  mtime: header.mtime,
  linkName: header.type === "symlink" ? header.linkName : "",
  device: { major: header.devMajor, minor: header.devMinor },
  xattrs: header.xattrs,
});

/** The whole text of a small file of the tree. */
export async function readText(tree: FileTree, node: FileNode, limit: number): Promise<string> {
  if (node.content === undefined) throw new EngineError("invalid", `${node.path} is no file`);
  if (node.content.length > limit) throw invalid(`${node.path} is longer than ${limit} bytes`);
  const pieces: Uint8Array[] = [];
  for await (const bytes of tree.spool.read(node.content)) pieces.push(bytes);
  return Buffer.concat(pieces).toString("utf8");
}
