import { identityOf } from "../../src/format/file-share/attributes.ts";
import { type DirectoryEntry, decodeEntries } from "../../src/format/file-share/directory-entries.ts";
import { TRANSFER_LIMIT } from "../../src/format/file-share/messages.ts";
import { type Interruption, type ShareClient, ShareError } from "./client.ts";
import type { Node, NodeTable } from "./nodes.ts";

export const ESTALE = 116;
const EBADF = 9;

/** A file or directory that a process of the guest has open. */
export interface OpenFile {
  readonly node: Node;
  readonly kind: "file" | "directory";
  /** OPEN flags that it is opened with again at another file server. */
  readonly flags: number;
  /** Its number at the file server, valid for one generation of it. */
  handle: number;
  generation: number;
  /** Of a directory: what was listed already, by where each entry begins. */
  listed: { begin: bigint; entries: DirectoryEntry[]; attributes: boolean } | undefined;
}

/** Open files by the number that the guest's kernel knows. */
export class OpenFiles {
  readonly #client: ShareClient;
  readonly #share: number;
  readonly #nodes: NodeTable;
  readonly #open = new Map<number, OpenFile>();
  #next = 1;

  constructor(client: ShareClient, share: number, nodes: NodeTable) {
    this.#client = client;
    this.#share = share;
    this.#nodes = nodes;
  }

  add(node: Node, kind: "file" | "directory", flags: number, handle: number, generation: number): number {
    const number = this.#next++;
    this.#nodes.hold(node);
    this.#open.set(number, { node, kind, flags, handle, generation, listed: undefined });
    return number;
  }

  get count(): number {
    return this.#open.size;
  }

  /** An open file by which one that has no name any more can still be reached. */
  ofNameless(node: Node): OpenFile | undefined {
    if (node.key === undefined || node.names.length > 0) return undefined;
    return [...this.#open.values()].find((file) => file.node === node);
  }

  get(number: number): OpenFile {
    const file = this.#open.get(number);
    if (file === undefined) throw new ShareError(EBADF);
    return file;
  }

  /** The file's number at the file server there is now. A file that was deleted meanwhile cannot be opened again: ESTALE. */
  async handle(file: OpenFile, interruption: Interruption): Promise<number> {
    if (file.generation === this.#client.generation) return file.handle;
    const generation = this.#client.generation;
    const path = this.#nodes.path(file.node);
    if (path === undefined) throw new ShareError(ESTALE);
    const operation = file.kind === "file" ? "open" : "openDirectory";
    const { handle } = await this.#client.call(
      operation,
      this.#share,
      () => ({ path, flags: file.flags }),
      interruption,
    );
    const { attributes } = await this.#client.call("statHandle", this.#share, () => ({ handle }), interruption);
    if (file.node.key !== undefined && identityOf(attributes).key !== file.node.key) {
      await this.#client.call("close", this.#share, () => ({ handle }), interruption);
      throw new ShareError(ESTALE);
    }
    file.handle = handle;
    file.generation = generation;
    return handle;
  }

  /** Entries of a directory from `cookie` on; none at the end. */
  async list(
    file: OpenFile,
    cookie: bigint,
    attributes: boolean,
    interruption: Interruption,
  ): Promise<DirectoryEntry[]> {
    const { listed } = file;
    if (listed !== undefined && listed.attributes === attributes && cookie !== 0n) {
      const at = listed.begin === cookie ? 0 : listed.entries.findIndex(({ next }) => next === cookie) + 1;
      if (at > 0 && at < listed.entries.length) return listed.entries.slice(at);
    }
    const { entries } = await this.#client.call(
      "list",
      this.#share,
      async () => ({
        handle: await this.handle(file, interruption),
        cookie,
        size: TRANSFER_LIMIT,
        attributes: attributes ? 1 : 0,
      }),
      interruption,
    );
    const decoded = decodeEntries(entries);
    file.listed = { begin: cookie, entries: decoded, attributes };
    return decoded;
  }

  async close(number: number): Promise<void> {
    const file = this.#open.get(number);
    if (file === undefined) return;
    this.#open.delete(number);
    this.#nodes.release(file.node);
    // At another file server it is not open any more.
    if (file.generation !== this.#client.generation) return;
    const { handle, generation } = file;
    await this.#client
      .call("close", this.#share, () => ({ handle: generation === this.#client.generation ? handle : 0 }))
      .catch(() => undefined);
  }
}
