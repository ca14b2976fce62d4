import type { OperationName, ReplyFields, RequestFields } from "../../src/format/file-share/messages.ts";
import { entryOut, type FuseBody, type FuseRequest, type Validity } from "../../src/format/fuse/protocol.ts";
import type { Interruption, ShareClient } from "./client.ts";
import { ShareError } from "./client.ts";
import type { Node, NodeTable } from "./nodes.ts";
import { ESTALE, type OpenFile, type OpenFiles } from "./open-files.ts";

const ENAMETOOLONG = 36;

/** Milliseconds that the guest's kernel may take for true what it knows of a file; a change at the endpoint shows after it. */
export const VALIDITY: Validity = { entry: 1000, attributes: 1000 };

/** A share as its requests see it. */
export interface Share {
  client: ShareClient;
  /** Its number at the endpoint. */
  number: number;
  nodes: NodeTable;
  files: OpenFiles;
}

/** One request of the guest's kernel, with what its handler needs. */
export class Request {
  readonly opcode: number;
  readonly body: FuseBody;
  readonly owner: { uid: number; gid: number };
  readonly #node: number;

  constructor(
    readonly share: Share,
    { opcode, body, uid, gid, node }: FuseRequest,
    readonly interruption: Interruption,
  ) {
    this.opcode = opcode;
    this.body = body;
    this.owner = { uid, gid };
    this.#node = node;
  }

  /** The file that it is about. */
  get node(): Node {
    return this.nodeOf(this.#node);
  }

  nodeOf(id: number): Node {
    const node = this.share.nodes.get(id);
    if (node === undefined) throw new ShareError(ESTALE);
    return node;
  }

  /** The next name in the request. */
  name(): Buffer {
    return Buffer.from(this.body.name());
  }

  path(node: Node): Buffer {
    const path = this.share.nodes.path(node);
    if (path === undefined) throw new ShareError(ESTALE);
    return path;
  }

  pathOf(parent: Node, name: Buffer): Buffer {
    const path = this.share.nodes.pathOf(parent, name);
    if (path === undefined) throw new ShareError(ENAMETOOLONG);
    return path;
  }

  /** Asks the endpoint. `fields` is called for each attempt. */
  call<K extends OperationName>(
    operation: K,
    fields: () => RequestFields<K> | Promise<RequestFields<K>>,
  ): Promise<ReplyFields<K>> {
    return this.share.client.call(operation, this.share.number, fields, this.interruption);
  }

  /** An open file's number at the endpoint. */
  handle(file: OpenFile): Promise<number> {
    return this.share.files.handle(file, this.interruption);
  }

  /** What the kernel learns of a name: counts as a lookup. */
  entry(parent: Node, name: Uint8Array, attributes: Uint8Array): Buffer {
    return entryOut(this.share.nodes.found(parent, name, attributes).id, attributes.subarray(8), VALIDITY);
  }
}

/** Answers what follows the header of the reply; nothing for an empty one. Throws ShareError. */
export type Handler = (request: Request) => Promise<Uint8Array | undefined>;
