import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { LabFault } from "../fault.ts";
import type { DiskStore } from "../hypervisor/contract.ts";

/** Directories below a datastore that are searched for disks. */
const DEPTH_LIMIT = 16;

/**
 * Which disk is the parent of which. The truth is in the disks' descriptors; this is the way back from a parent to its children,
 * read once at start and then kept. A disk with children must not be written, moved or deleted.
 */
export class DiskRelations {
  readonly #parents = new Map<string, string>();
  readonly #children = new Map<string, Set<string>>();

  constructor(
    private readonly disks: DiskStore,
    private readonly log: (line: string) => void,
  ) {}

  /** Reads every disk below `directory`. */
  async scan(directory: string, depth = 0): Promise<void> {
    if (depth > DEPTH_LIMIT) return;
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const file = join(directory, entry.name);
      if (entry.isDirectory()) await this.scan(file, depth + 1);
      else if (entry.isFile() && entry.name.endsWith(".vmdk")) await this.read(file);
    }
  }

  /** Takes note of one disk, new or changed from outside. A file that is no disk is not an error. */
  async read(file: string): Promise<void> {
    this.remove(file);
    try {
      const { parent } = await this.disks.inspect(file);
      if (parent !== undefined) this.add(file, parent);
    } catch (error) {
      this.log(`${file} is not a usable disk: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  add(child: string, parent: string): void {
    this.#parents.set(child, parent);
    const children = this.#children.get(parent) ?? new Set();
    this.#children.set(parent, children.add(child));
  }

  /** Forgets a disk, or all disks in a directory. */
  remove(file: string): void {
    for (const child of [...this.#parents.keys()]) {
      if (child !== file && !child.startsWith(`${file}/`)) continue;
      const parent = this.#parents.get(child) ?? "";
      this.#parents.delete(child);
      const siblings = this.#children.get(parent);
      siblings?.delete(child);
      if (siblings?.size === 0) this.#children.delete(parent);
    }
  }

  childrenOf(file: string): string[] {
    return [...(this.#children.get(file) ?? [])];
  }

  parentOf(file: string): string | undefined {
    return this.#parents.get(file);
  }

  hasChildren(file: string): boolean {
    return this.#children.has(file);
  }

  /** Refuses to take away `file` (a disk or a directory) while a disk that stays depends on a disk in it. */
  requireNoChildren(file: string, display: string): void {
    for (const [parent, children] of this.#children) {
      if (parent !== file && !parent.startsWith(`${file}/`)) continue;
      for (const child of children) {
        if (child !== file && !child.startsWith(`${file}/`)) throw hasChildren(display);
      }
    }
  }

  /** Refuses to move a disk that is linked to disks that stay where they are. */
  requireUnlinked(file: string, display: string): void {
    this.requireNoChildren(file, display);
    for (const [child, parent] of this.#parents) {
      const inside = child === file || child.startsWith(`${file}/`);
      if (inside && !parent.startsWith(`${file}/`)) {
        throw new LabFault("CannotAccessFile", `${display} is a child disk; a move would cut it off from its parent.`, {
          file: display,
        });
      }
    }
  }
}

const hasChildren = (display: string): LabFault =>
  new LabFault("CannotDeleteFile", `${display} is the parent of other disks; delete those first.`, { file: display });
