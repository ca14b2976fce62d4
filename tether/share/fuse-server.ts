import { TRANSFER_LIMIT } from "../../src/format/file-share/messages.ts";
import { FormatError } from "../../src/format/format-error.ts";
import {
  decodeFuseRequest,
  FUSE_MINOR,
  type FuseRequest,
  fuseFailure,
  fuseReply,
  INIT_FLAG,
  initOut,
  OPCODE,
} from "../../src/format/fuse/protocol.ts";
import { ATTRIBUTE_REQUESTS } from "./attribute-requests.ts";
import { EIO, Interruption, type ShareClient, ShareError } from "./client.ts";
import { FILE_REQUESTS } from "./file-requests.ts";
import { NAME_REQUESTS } from "./name-requests.ts";
import { NodeTable } from "./nodes.ts";
import { OpenFiles } from "./open-files.ts";
import { type Handler, Request, type Share } from "./request.ts";

const EINVAL = 22;
const ENOSYS = 38;
const PAGE = 4096;
/** Requests in the background (read-ahead, write-back) that the kernel may have under way. */
const MAX_BACKGROUND = 32;

const init: Handler = async ({ body }) => {
  body.skip(4);
  const minor = body.u32();
  const readAhead = body.u32();
  const offered = body.u32();
  const wanted =
    INIT_FLAG.asyncRead |
    INIT_FLAG.bigWrites |
    INIT_FLAG.autoInvalidate |
    INIT_FLAG.readdirPlus |
    INIT_FLAG.readdirPlusAuto |
    INIT_FLAG.parallelDirectoryOperations |
    INIT_FLAG.maxPages |
    INIT_FLAG.handleKillPrivileges;
  return initOut({
    minor: Math.min(minor, FUSE_MINOR),
    readAhead: Math.max(readAhead, TRANSFER_LIMIT),
    flags: offered & wanted,
    maxBackground: MAX_BACKGROUND,
    maxWrite: TRANSFER_LIMIT,
    maxPages: TRANSFER_LIMIT / PAGE,
  });
};

/**
 * What is not here is answered with ENOSYS: the kernel asks once and then does without, as for flush (every write is at the
 * endpoint already) and locks (kept by the kernel).
 */
const HANDLERS: Record<number, Handler> = {
  ...NAME_REQUESTS,
  ...ATTRIBUTE_REQUESTS,
  ...FILE_REQUESTS,
  [OPCODE.init]: init,
  [OPCODE.destroy]: async () => undefined,
};

/** Serves a share to the guest's kernel: FUSE requests in, replies out. Paths and open files are kept here, files at the endpoint. */
export class FuseServer {
  readonly #share: Share;
  readonly #reply: (bytes: Buffer) => void;
  readonly #underWay = new Map<bigint, Interruption>();
  readonly #idleWaiters: (() => void)[] = [];

  constructor(client: ShareClient, number: number, reply: (bytes: Buffer) => void) {
    const nodes = new NodeTable();
    this.#share = { client, number, nodes, files: new OpenFiles(client, number, nodes) };
    this.#reply = reply;
  }

  /** Resolves when no file is open and no request under way: what was written is at the endpoint. */
  idle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve);
    });
  }

  get #isIdle(): boolean {
    return this.#underWay.size === 0 && this.#share.files.count === 0;
  }

  /** A request of the kernel, without its length. Never throws. */
  receive(message: Buffer): void {
    let request: FuseRequest;
    try {
      request = decodeFuseRequest(message);
      if (this.#withoutReply(request)) return;
    } catch (error) {
      console.error(`shares: ${error}`);
      return;
    }
    const { unique } = request;
    const interruption = new Interruption();
    this.#underWay.set(unique, interruption);
    this.#serve(request, interruption)
      .then(
        (body) => fuseReply(unique, body),
        (error: unknown) => fuseFailure(unique, errnoOf(error)),
      )
      .then((reply) => {
        this.#underWay.delete(unique);
        this.#reply(reply);
        if (this.#isIdle) for (const wake of this.#idleWaiters.splice(0)) wake();
      });
  }

  #withoutReply({ opcode, node, body }: FuseRequest): boolean {
    const { nodes } = this.#share;
    switch (opcode) {
      case OPCODE.forget:
        nodes.forget(node, body.number());
        return true;
      case OPCODE.batchForget: {
        const count = body.u32();
        body.skip(4);
        for (let index = 0; index < count; index++) nodes.forget(body.number(), body.number());
        return true;
      }
      case OPCODE.interrupt:
        this.#underWay.get(body.u64())?.interrupt();
        return true;
      default:
        return false;
    }
  }

  async #serve(request: FuseRequest, interruption: Interruption): Promise<Uint8Array | undefined> {
    const handler = HANDLERS[request.opcode];
    if (handler === undefined) throw new ShareError(ENOSYS);
    return await handler(new Request(this.#share, request, interruption));
  }
}

const errnoOf = (error: unknown): number => {
  if (error instanceof ShareError) return error.errno;
  if (error instanceof FormatError) return EINVAL;
  console.error("shares:", error);
  return EIO;
};
