/** The layer that a COPY or ADD makes. */
import { readTar, type TarHeader, type TarMember, writeTar } from "../../../format/tar/index.ts";
import { invalid } from "../../errors.ts";
import type { LayerBelow } from "../../images/contract.ts";
import { decompress } from "../../images/decompress.ts";
import type { FileNode } from "../files/file-tree.ts";
import { baseName, cleaned, joined, normalised } from "../files/paths.ts";
import type { SpooledContent } from "../files/spool.ts";
import { lookUpOwner, type Owner } from "./accounts.ts";
import { Destination } from "./destination.ts";
import type { ModeChange } from "./mode.ts";
import { type CopyItem, exclusion } from "./sources.ts";

export interface CopyPlan {
  items: readonly CopyItem[];
  /** Absolute. */
  destination: string;
  /** It ends with a slash, or there are several sources. */
  intoDirectory: boolean;
  chown: string | undefined;
  /** Files keep the owner that they have in the tree (COPY --from). */
  keepOwner: boolean;
  chmod: ModeChange | undefined;
  exclude: readonly string[];
  followSymlinks: boolean;
}

const ROOT: Owner = { uid: 0, gid: 0 };
/** Names that would remove files of lower layers instead of adding some (OCI image specification). */
const WHITEOUT_PREFIX = ".wh.";

export const copyLayer =
  (plan: CopyPlan) =>
  (below: LayerBelow): AsyncIterable<Uint8Array> =>
    writeTar(members(plan, below));

async function* members(plan: CopyPlan, below: LayerBelow): AsyncGenerator<TarMember> {
  const chosen = plan.chown === undefined ? undefined : await lookUpOwner(plan.chown, below);
  const destination = new Destination(below, chosen ?? ROOT, plan.followSymlinks);
  const copy = new Copy(plan, destination, chosen);
  for (const item of plan.items) yield* copy.item(item);
}

class Copy {
  /** First place of every file that has hard links, with the name that it was found by. */
  readonly #written = new Map<SpooledContent, { path: string; source: string }>();
  readonly #excluded: (path: string, root: string) => boolean;

  constructor(
    private readonly plan: CopyPlan,
    private readonly destination: Destination,
    private readonly owner: Owner | undefined,
  ) {
    this.#excluded = exclusion(plan.exclude);
  }

  async *item(item: CopyItem): AsyncGenerator<TarMember> {
    const { node, parents, name } = item;
    const base = joined(cleaned(this.plan.destination), parents);
    const keepsName = this.plan.intoDirectory || parents !== "";
    if (node.type === "directory") {
      // With --parents the directory itself is made; else what is in it goes into the destination.
      yield* this.#directory(item, item.parents !== "" ? joined(base, name) : base);
      return;
    }
    if (this.#excluded(node.path, "")) return;
    if (item.unpack && node.content !== undefined && (await isArchive(item))) {
      yield* this.#archive(item, base);
      return;
    }
    let path: string;
    if (keepsName) path = joined(yield* this.destination.directory(base), name);
    else path = yield* this.destination.file(base, name);
    yield this.#member(item, node, path);
  }

  async *#directory(item: CopyItem, base: string): AsyncGenerator<TarMember> {
    const { tree, node: root } = item;
    yield* this.destination.directory(base);
    const left = new Set<string>();
    for (const node of tree.walk(root.path)) {
      if (node.path === root.path) continue;
      const above = node.path.slice(0, Math.max(0, node.path.lastIndexOf("/")));
      const inside = root.path === "" ? node.path : node.path.slice(root.path.length + 1);
      if (left.has(above) || this.#excluded(node.path, root.path)) {
        // Without patterns that take files back in, what is below an excluded directory is excluded too.
        if (node.type === "directory" && !this.plan.exclude.some((pattern) => pattern.startsWith("!")))
          left.add(node.path);
        continue;
      }
      const target = joined(base, inside);
      if (node.type === "directory") {
        yield* this.destination.sourceDirectory(target, (real) => this.#member(item, node, real));
        continue;
      }
      const separator = target.lastIndexOf("/");
      const directory: string = yield* this.destination.directory(separator === -1 ? "" : target.slice(0, separator));
      yield this.#member(item, node, joined(directory, baseName(target)));
    }
  }

  #member({ tree }: CopyItem, node: FileNode, path: string): TarMember {
    refuseWhiteout(path);
    const { content } = node;
    const header: TarMember["header"] = {
      name: path,
      type: node.type,
      mode: this.#mode(node.mode, node.type),
      ...this.#ownerOf(node),
      mtime: node.mtime,
      linkName: node.linkName,
      devMajor: node.device.major,
      devMinor: node.device.minor,
      xattrs: node.xattrs,
    };
    if (content === undefined) return { header };
    const first = this.#written.get(content);
    // A file that is copied twice, such as by a symlink to it, becomes two files.
    if (first !== undefined && first.source !== node.path && first.path !== path)
      return { header: { ...header, type: "link", linkName: first.path } };
    if (first === undefined) this.#written.set(content, { path, source: node.path });
    return { header: { ...header, size: content.length }, body: tree.spool.read(content) };
  }

  /** ADD of an archive: its files, not itself. */
  async *#archive({ tree, node }: CopyItem, base: string): AsyncGenerator<TarMember> {
    if (node.content === undefined) return;
    yield* this.destination.directory(base);
    for await (const { header, body } of readTar(decompress(tree.spool.read(node.content), node.path))) {
      const inside = normalised(header.name);
      if (inside === undefined)
        throw invalid(`${JSON.stringify(header.name)} in the archive ${node.path} leads out of its destination`);
      if (inside === "" || this.#excluded(inside, "")) continue;
      const target = joined(base, inside);
      if (header.type === "directory") {
        yield* this.destination.sourceDirectory(target, (real) => this.#archived(header, real));
        continue;
      }
      const separator = target.lastIndexOf("/");
      const directory: string = yield* this.destination.directory(separator === -1 ? "" : target.slice(0, separator));
      const member = this.#archived(header, joined(directory, baseName(target)));
      if (header.type !== "link") {
        yield { ...member, body };
        continue;
      }
      const linked = normalised(header.linkName);
      if (linked === undefined || linked === "")
        throw invalid(`the hard link ${JSON.stringify(header.name)} in the archive ${node.path} leads out of it`);
      const linkTarget = joined(base, linked);
      const above = linkTarget.lastIndexOf("/");
      const linkDirectory: string = yield* this.destination.directory(above === -1 ? "" : linkTarget.slice(0, above));
      yield { header: { ...member.header, linkName: joined(linkDirectory, baseName(linkTarget)) } };
    }
  }

  #archived(header: TarHeader, path: string): TarMember {
    refuseWhiteout(path);
    const { rawName: _, ...kept } = header;
    return { header: { ...kept, name: path, mode: this.#mode(header.mode, header.type), ...(this.owner ?? {}) } };
  }

  #mode(mode: number, type: string): number {
    if (this.plan.chmod === undefined || type === "symlink") return mode;
    return this.plan.chmod(mode, type === "directory");
  }

  #ownerOf(node: FileNode): Owner {
    if (this.owner !== undefined) return this.owner;
    return this.plan.keepOwner ? { uid: node.uid, gid: node.gid } : ROOT;
  }
}

function refuseWhiteout(path: string): void {
  if (baseName(path).startsWith(WHITEOUT_PREFIX))
    throw invalid(
      `/${path} cannot be copied: in an image layer a name that begins with ${WHITEOUT_PREFIX} removes a file. Rename it`,
    );
}

/** Docker's rule: it unpacks, and its first member can be read. */
export async function isArchive({ tree, node }: Pick<CopyItem, "tree" | "node">): Promise<boolean> {
  if (node.content === undefined || node.content.length === 0) return false;
  try {
    for await (const entry of readTar(decompress(tree.spool.read(node.content), node.path))) return entry !== undefined;
    return false;
  } catch {
    // Whatever a decoder says of it, it is no archive: then it is copied as a file.
    return false;
  }
}
