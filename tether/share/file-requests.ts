/** Requests of the guest's kernel that are about open files and directories. */
import { OPEN, type ReplyFields, TRANSFER_LIMIT } from "../../src/format/file-share/messages.ts";
import {
  countOut,
  directoryEntryOut,
  ENTRY_LENGTH,
  KEEP_CACHE,
  OPCODE,
  OPEN_DROP_SET_ID,
  offsetOut,
  openOut,
  WRITE_DROP_SET_ID,
} from "../../src/format/fuse/protocol.ts";
import { ShareError } from "./client.ts";
import { EEXIST } from "./name-requests.ts";
import type { Handler } from "./request.ts";

/** Files known to the kernel above which a listing tells names alone: each costs memory here until the kernel forgets it. */
const LISTED_NODES_LIMIT = 50_000;

/** open(2) flags of the guest, the same on x86_64 and aarch64. */
const O_ACCESS_MODE = 3;
const O_WRITE_ONLY = 1;
const O_READ_WRITE = 2;
const O_EXCLUSIVE = 0o200;
const O_TRUNCATE = 0o1000;
const O_APPEND = 0o2000;

const openFlags = (flags: number): number => {
  const mode = flags & O_ACCESS_MODE;
  const access = mode === O_WRITE_ONLY ? OPEN.write : mode === O_READ_WRITE ? OPEN.write | OPEN.read : OPEN.read;
  return access | ((flags & O_APPEND) !== 0 ? OPEN.append : 0);
};

const open: Handler = async (request) => {
  const { node, share } = request;
  const flags = openFlags(request.body.u32());
  const { handle } = await request.call("open", () => ({ path: request.path(node), flags }));
  return openOut(share.files.add(node, "file", flags, handle, share.client.generation), KEEP_CACHE);
};

const openDirectory: Handler = async (request) => {
  const { node, share } = request;
  const { handle } = await request.call("openDirectory", () => ({ path: request.path(node) }));
  return openOut(share.files.add(node, "directory", 0, handle, share.client.generation), 0);
};

const create: Handler = async (request) => {
  const { node: parent, body, owner, share } = request;
  const given = body.u32();
  const mode = body.u32();
  body.skip(4);
  const dropSetId = (body.u32() & OPEN_DROP_SET_ID) !== 0 ? OPEN.dropSetId : 0;
  const name = request.name();
  const flags = openFlags(given);
  const truncate = (given & O_TRUNCATE) !== 0 ? OPEN.truncate : 0;
  const attempt = (exclusive: number): Promise<ReplyFields<"create">> =>
    request.call("create", () => ({
      path: request.pathOf(parent, name),
      flags: flags | truncate | dropSetId | exclusive,
      mode,
      ...owner,
    }));
  let made: ReplyFields<"create">;
  try {
    made = await attempt((given & O_EXCLUSIVE) !== 0 ? OPEN.exclusive : 0);
  } catch (error) {
    // It was made although the answer was lost: only the first attempt may insist that it was not there.
    if (!(error instanceof ShareError && error.repeated && error.errno === EEXIST)) throw error;
    made = await attempt(0);
  }
  const { handle, attributes } = made;
  const entry = request.entry(parent, name, attributes);
  const node = request.nodeOf(Number(entry.readBigUInt64LE(0)));
  const opened = share.files.add(node, "file", flags, handle, share.client.generation);
  return Buffer.concat([entry, openOut(opened, KEEP_CACHE)]);
};

const read: Handler = async (request) => {
  const { body } = request;
  const file = request.share.files.get(body.number());
  const offset = body.number();
  const size = Math.min(body.u32(), TRANSFER_LIMIT);
  return (await request.call("read", async () => ({ handle: await request.handle(file), offset, size }))).data;
};

const write: Handler = async (request) => {
  const { body } = request;
  const file = request.share.files.get(body.number());
  const offset = body.number();
  const size = body.u32();
  const flags = (body.u32() & WRITE_DROP_SET_ID) !== 0 ? 1 : 0;
  body.skip(16);
  const data = body.bytes(size);
  const fields = async () => ({ handle: await request.handle(file), offset, flags, data });
  return countOut((await request.call("write", fields)).written);
};

const list =
  (plus: boolean): Handler =>
  async (request) => {
    const { body, share } = request;
    const file = share.files.get(body.number());
    const cookie = body.u64();
    const size = body.u32();
    const parts: Buffer[] = [];
    let length = 0;
    for (const entry of await share.files.list(file, cookie, plus, request.interruption)) {
      const dirent = directoryEntryOut(entry);
      if (length + dirent.length + (plus ? ENTRY_LENGTH : 0) > size) break;
      if (plus) {
        // Without attributes (`.`, `..`, vanished, or enough known) the kernel learns the name alone.
        const { attributes, name } = entry;
        const known = attributes !== undefined && share.nodes.size < LISTED_NODES_LIMIT;
        parts.push(known ? request.entry(file.node, name, attributes) : Buffer.alloc(ENTRY_LENGTH));
        length += ENTRY_LENGTH;
      }
      parts.push(dirent);
      length += dirent.length;
    }
    return Buffer.concat(parts);
  };

const sync: Handler = async (request) => {
  const file = request.share.files.get(request.body.number());
  const flags = request.body.u32() & 1;
  await request.call("sync", async () => ({ handle: await request.handle(file), flags }));
  return undefined;
};

const release: Handler = async (request) => {
  await request.share.files.close(request.body.number());
  return undefined;
};

export const FILE_REQUESTS: Record<number, Handler> = {
  [OPCODE.open]: open,
  [OPCODE.opendir]: openDirectory,
  [OPCODE.create]: create,
  [OPCODE.read]: read,
  [OPCODE.write]: write,
  [OPCODE.readdir]: list(false),
  [OPCODE.readdirplus]: list(true),
  [OPCODE.fsync]: sync,
  [OPCODE.fsyncdir]: sync,
  [OPCODE.release]: release,
  [OPCODE.releasedir]: release,
  [OPCODE.fallocate]: async (request) => {
    const { body } = request;
    const file = request.share.files.get(body.number());
    const offset = body.number();
    const length = body.number();
    const mode = body.u32();
    await request.call("allocate", async () => ({ handle: await request.handle(file), mode, offset, length }));
    return undefined;
  },
  [OPCODE.lseek]: async (request) => {
    const { body } = request;
    const file = request.share.files.get(body.number());
    const offset = body.number();
    const whence = body.u32();
    const found = await request.call("seek", async () => ({ handle: await request.handle(file), offset, whence }));
    return offsetOut(found.offset);
  },
};
