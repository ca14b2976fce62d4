import { identityOf } from "../../src/format/file-share/attributes.ts";
import { PATH_LIMIT } from "../../src/format/file-share/messages.ts";

/** Names that are remembered of one file; one with more hard links is found by the last ones. */
const NAMES_LIMIT = 8;
const ROOT_ID = 1;

interface NodeName {
  parent: Node;
  name: Buffer;
}

/** A file that the guest's kernel knows, with the names by which it was found. */
export class Node {
  /** Lookups that the kernel will forget again. */
  lookups = 0;
  names: NodeName[] = [];
  /** Names below it and open handles, which keep it in the table besides the kernel's lookups. */
  users = 0;

  constructor(
    readonly id: number,
    /** Device and inode at the endpoint; the share itself has none, since whatever is at its path is it. */
    readonly key: string | undefined,
  ) {}
}

/**
 * What the kernel knows of a share. The endpoint is told paths and keeps nothing, so that an endpoint that was started again
 * goes on where the old one was.
 */
export class NodeTable {
  readonly root = new Node(ROOT_ID, undefined);
  readonly #byId = new Map<number, Node>([[ROOT_ID, this.root]]);
  readonly #byKey = new Map<string, Node>();
  #next = ROOT_ID + 1;

  get(id: number): Node | undefined {
    return this.#byId.get(id);
  }

  get size(): number {
    return this.#byId.size;
  }

  /** The kernel has found these attributes at a name: counts as a lookup. */
  found(parent: Node, name: Uint8Array, attributes: Uint8Array): Node {
    const { key } = identityOf(attributes);
    let node = this.#byKey.get(key);
    if (node === undefined) {
      node = new Node(this.#next++, key);
      this.#byId.set(node.id, node);
      this.#byKey.set(key, node);
    }
    node.lookups++;
    this.#name(node, parent, name);
    return node;
  }

  /** Path in the share, or undefined when the file has no name any more, or one that is too long. */
  path(node: Node): Buffer | undefined {
    const parts: Buffer[] = [];
    let length = 0;
    for (let at = node; at !== this.root; ) {
      const last = at.names.at(-1);
      if (last === undefined) return undefined;
      length += last.name.length + 1;
      // Directories that were moved at the endpoint meanwhile might even form a circle here.
      if (length > PATH_LIMIT + 1) return undefined;
      parts.push(last.name);
      at = last.parent;
    }
    const path = Buffer.alloc(Math.max(0, length - 1), 0x2f);
    let at = 0;
    for (const part of parts.reverse()) {
      path.set(part, at);
      at += part.length + 1;
    }
    return path;
  }

  pathOf(parent: Node, name: Uint8Array): Buffer | undefined {
    const directory = this.path(parent);
    if (directory === undefined) return undefined;
    if (directory.length === 0) return Buffer.from(name);
    const path = Buffer.concat([directory, SLASH, name]);
    return path.length > PATH_LIMIT ? undefined : path;
  }

  removed(parent: Node, name: Uint8Array): void {
    for (const node of this.#namedSo(parent, name)) this.#unname(node, parent, name);
  }

  renamed(parent: Node, name: Uint8Array, newParent: Node, newName: Uint8Array, exchange: boolean): void {
    const moved = this.#namedSo(parent, name);
    const replaced = this.#namedSo(newParent, newName);
    for (const node of replaced) this.#unname(node, newParent, newName);
    for (const node of moved) {
      this.#unname(node, parent, name);
      this.#name(node, newParent, newName);
    }
    if (exchange) for (const node of replaced) this.#name(node, parent, name);
  }

  forget(id: number, lookups: number): void {
    const node = this.#byId.get(id);
    if (node === undefined || node === this.root) return;
    node.lookups = Math.max(0, node.lookups - lookups);
    this.#dropUnused(node);
  }

  hold(node: Node): void {
    node.users++;
  }

  release(node: Node): void {
    node.users--;
    this.#dropUnused(node);
  }

  #name(node: Node, parent: Node, name: Uint8Array): void {
    const last = node.names.at(-1);
    if (last?.parent === parent && last.name.equals(name)) return;
    this.#unname(node, parent, name);
    node.names.push({ parent, name: Buffer.from(name) });
    this.hold(parent);
    const key = nameKey(parent, name);
    const same = this.#byName.get(key);
    if (same === undefined) this.#byName.set(key, new Set([node]));
    else same.add(node);
    const oldest = node.names.length > NAMES_LIMIT ? node.names[0] : undefined;
    if (oldest !== undefined) this.#unname(node, oldest.parent, oldest.name);
  }

  /** By parent and name: more than one where a file was replaced at the endpoint. */
  readonly #byName = new Map<string, Set<Node>>();

  #namedSo(parent: Node, name: Uint8Array): Node[] {
    return [...(this.#byName.get(nameKey(parent, name)) ?? [])];
  }

  #unname(node: Node, parent: Node, name: Uint8Array): void {
    const index = node.names.findIndex((known) => known.parent === parent && known.name.equals(name));
    if (index < 0) return;
    node.names.splice(index, 1);
    const key = nameKey(parent, name);
    const same = this.#byName.get(key);
    same?.delete(node);
    if (same?.size === 0) this.#byName.delete(key);
    this.release(parent);
  }

  #dropUnused(node: Node): void {
    if (node === this.root || node.lookups > 0 || node.users > 0 || this.#byId.get(node.id) !== node) return;
    this.#byId.delete(node.id);
    if (node.key !== undefined) this.#byKey.delete(node.key);
    for (const { parent, name } of [...node.names]) this.#unname(node, parent, name);
  }
}

const SLASH = Buffer.from("/");
const nameKey = (parent: Node, name: Uint8Array): string => `${parent.id}/${Buffer.from(name).toString("latin1")}`;
