/** Requests of the guest's kernel that are about a file's attributes, and about the file system. */
import { identityOf } from "../../src/format/file-share/attributes.ts";
import { CHANGE } from "../../src/format/file-share/messages.ts";
import {
  ATTRIBUTE_FLAG,
  attributesOut,
  countOut,
  fileSystemOut,
  GETATTR_HANDLE,
  OPCODE,
} from "../../src/format/fuse/protocol.ts";
import { ShareError } from "./client.ts";
import { ESTALE } from "./open-files.ts";
import { type Handler, VALIDITY } from "./request.ts";

const ERANGE = 34;
const EMPTY = new Uint8Array(0);

const CHANGES: [flag: number, change: number][] = [
  [ATTRIBUTE_FLAG.mode, CHANGE.mode],
  [ATTRIBUTE_FLAG.uid, CHANGE.uid],
  [ATTRIBUTE_FLAG.gid, CHANGE.gid],
  [ATTRIBUTE_FLAG.size, CHANGE.size],
  [ATTRIBUTE_FLAG.accessed, CHANGE.accessed],
  [ATTRIBUTE_FLAG.modified, CHANGE.modified],
  [ATTRIBUTE_FLAG.accessedNow, CHANGE.accessedNow],
  [ATTRIBUTE_FLAG.modifiedNow, CHANGE.modifiedNow],
  [ATTRIBUTE_FLAG.dropSetId, CHANGE.dropSetId],
];

const get: Handler = async (request) => {
  const { node, body, share } = request;
  const byHandle = (body.u32() & GETATTR_HANDLE) !== 0;
  body.skip(4);
  const number = body.number();
  const file = byHandle ? share.files.get(number) : share.files.ofNameless(node);
  const { attributes } = file
    ? await request.call("statHandle", async () => ({ handle: await request.handle(file) }))
    : await request.call("stat", () => ({ path: request.path(node) }));
  if (node.key !== undefined && identityOf(attributes).key !== node.key) throw new ShareError(ESTALE);
  return attributesOut(attributes.subarray(8), VALIDITY);
};

const change: Handler = async (request) => {
  const { node, body, share } = request;
  const valid = body.u32();
  body.skip(4);
  const number = body.number();
  const size = body.number();
  body.skip(8);
  const accessed = body.u64();
  const modified = body.u64();
  body.skip(8);
  const accessedNanoseconds = body.u32();
  const modifiedNanoseconds = body.u32();
  body.skip(4);
  const mode = body.u32();
  body.skip(4);
  const uid = body.u32();
  const gid = body.u32();
  let which = 0;
  for (const [flag, bit] of CHANGES) if ((valid & flag) !== 0) which |= bit;
  // An open file may have lost its name, and may be written where its name may not.
  const byHandle = (valid & ATTRIBUTE_FLAG.handle) !== 0;
  const file = byHandle ? share.files.get(number) : share.files.ofNameless(node);
  const times = { accessed, accessedNanoseconds, modified, modifiedNanoseconds };
  const { attributes } = await request.call("change", async () => ({
    path: file === undefined ? request.path(node) : EMPTY,
    handle: file === undefined ? 0 : await request.handle(file),
    which: which | (file === undefined ? 0 : CHANGE.handle),
    mode,
    uid,
    gid,
    size,
    ...times,
  }));
  return attributesOut(attributes.subarray(8), VALIDITY);
};

/** Extended attributes are asked for twice: for their length (`size` 0), then for themselves. */
const withinSize = (value: Uint8Array, size: number): Uint8Array => {
  if (size === 0) return countOut(value.length);
  if (value.length > size) throw new ShareError(ERANGE);
  return value;
};

export const ATTRIBUTE_REQUESTS: Record<number, Handler> = {
  [OPCODE.getattr]: get,
  [OPCODE.setattr]: change,
  [OPCODE.readlink]: async (request) => {
    const { node } = request;
    return (await request.call("readLink", () => ({ path: request.path(node) }))).target;
  },
  [OPCODE.statfs]: async (request) => {
    const { node } = request;
    return fileSystemOut(await request.call("fileSystem", () => ({ path: request.path(node) })));
  },
  [OPCODE.getxattr]: async (request) => {
    const { node, body } = request;
    const size = body.u32();
    body.skip(4);
    const name = request.name();
    const { value } = await request.call("getAttribute", () => ({ path: request.path(node), name }));
    return withinSize(value, size);
  },
  [OPCODE.listxattr]: async (request) => {
    const { node, body } = request;
    const size = body.u32();
    const { names } = await request.call("listAttributes", () => ({ path: request.path(node) }));
    return withinSize(names, size);
  },
  [OPCODE.setxattr]: async (request) => {
    const { node, body } = request;
    const size = body.u32();
    const flags = body.u32();
    const name = request.name();
    const value = body.bytes(size);
    await request.call("setAttribute", () => ({ path: request.path(node), name, value, flags }));
    return undefined;
  },
  [OPCODE.removexattr]: async (request) => {
    const { node } = request;
    const name = request.name();
    await request.call("removeAttribute", () => ({ path: request.path(node), name }));
    return undefined;
  },
};
