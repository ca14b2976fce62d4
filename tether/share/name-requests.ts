/** Requests of the guest's kernel that are about names: finding, making, removing, renaming. */
import { OPCODE } from "../../src/format/fuse/protocol.ts";
import { ShareError } from "./client.ts";
import type { Node } from "./nodes.ts";
import type { Handler, Request } from "./request.ts";

const ENOENT = 2;
export const EEXIST = 17;
/** RENAME_EXCHANGE */
const EXCHANGE = 2;

/** An operation that was repeated, and fails because it had been done the first time, was done. */
const doneBefore = async (errno: number, work: Promise<unknown>): Promise<void> => {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof ShareError && error.repeated && error.errno === errno)) throw error;
  }
};

/** Something new in a directory. When the answer to the first attempt was lost, what is there now is what was made. */
const make = async (
  request: Request,
  parent: Node,
  name: Buffer,
  making: Promise<{ attributes: Uint8Array }>,
): Promise<Buffer> => {
  try {
    return request.entry(parent, name, (await making).attributes);
  } catch (error) {
    if (!(error instanceof ShareError && error.repeated && error.errno === EEXIST)) throw error;
    const { attributes } = await request.call("stat", () => ({ path: request.pathOf(parent, name) }));
    return request.entry(parent, name, attributes);
  }
};

const remove =
  (operation: "unlink" | "removeDirectory"): Handler =>
  async (request) => {
    const { node } = request;
    const name = request.name();
    await doneBefore(
      ENOENT,
      request.call(operation, () => ({ path: request.pathOf(node, name) })),
    );
    request.share.nodes.removed(node, name);
    return undefined;
  };

const rename: Handler = async (request) => {
  const { node, body, opcode } = request;
  const newParent = request.nodeOf(body.number());
  const flags = opcode === OPCODE.rename2 ? body.u32() : 0;
  if (opcode === OPCODE.rename2) body.skip(4);
  const name = request.name();
  const newName = request.name();
  const paths = () => ({ path: request.pathOf(node, name), to: request.pathOf(newParent, newName), flags });
  await doneBefore(ENOENT, request.call("rename", paths));
  request.share.nodes.renamed(node, name, newParent, newName, (flags & EXCHANGE) !== 0);
  return undefined;
};

export const NAME_REQUESTS: Record<number, Handler> = {
  [OPCODE.lookup]: async (request) => {
    const { node } = request;
    const name = request.name();
    const { attributes } = await request.call("stat", () => ({ path: request.pathOf(node, name) }));
    return request.entry(node, name, attributes);
  },
  [OPCODE.symlink]: async (request) => {
    const { node, owner } = request;
    const name = request.name();
    const target = request.name();
    const fields = () => ({ path: request.pathOf(node, name), target, ...owner });
    return await make(request, node, name, request.call("makeSymlink", fields));
  },
  [OPCODE.mknod]: async (request) => {
    const { node, owner, body } = request;
    const mode = body.u32();
    body.skip(12);
    const name = request.name();
    const fields = () => ({ path: request.pathOf(node, name), mode, ...owner });
    return await make(request, node, name, request.call("makeNode", fields));
  },
  [OPCODE.mkdir]: async (request) => {
    const { node, owner, body } = request;
    const mode = body.u32();
    body.skip(4);
    const name = request.name();
    const fields = () => ({ path: request.pathOf(node, name), mode, ...owner });
    return await make(request, node, name, request.call("makeDirectory", fields));
  },
  [OPCODE.link]: async (request) => {
    const { node } = request;
    const existing = request.nodeOf(request.body.number());
    const name = request.name();
    const fields = () => ({ path: request.path(existing), to: request.pathOf(node, name) });
    return await make(request, node, name, request.call("link", fields));
  },
  [OPCODE.unlink]: remove("unlink"),
  [OPCODE.rmdir]: remove("removeDirectory"),
  [OPCODE.rename]: rename,
  [OPCODE.rename2]: rename,
};
