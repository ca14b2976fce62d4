/**
 * Messages between the tether, which serves a share to the guest's kernel, and the endpoint's file server.
 *
 * A request is `u32 length, u32 id, u8 operation, u8 share` and its fields; a reply is `u32 length, u32 id, u32 errno` and,
 * when errno is 0, its fields. `length` counts what follows it. Requests may be answered in any order.
 *
 * A `path` is relative to the share, its components separated by single slashes, none of them `.` or `..`; the share itself
 * is the empty path. Nothing that the server keeps outlives the stream but open files, so that a client can go on on a new one.
 */
import { decodeFields, encodeFields, type Fields, shareError, type Values } from "./fields.ts";

/** Most bytes of one read or write. */
export const TRANSFER_LIMIT = 128 * 1024;
/** Longest message, `length` not counted: a transfer with a path and a name around it. */
export const MESSAGE_LIMIT = TRANSFER_LIMIT + 16 * 1024;
/** Longest path in bytes; the kernel takes no longer one (PATH_MAX). */
export const PATH_LIMIT = 4095;
export const NAME_LIMIT = 255;
/** Longest value of an extended attribute (XATTR_SIZE_MAX). */
export const ATTRIBUTE_LIMIT = 64 * 1024;

const PATH = { path: "bytes" } as const;
/** Who makes a file. */
const OWNER = { uid: "u32", gid: "u32" } as const;
/** See attributes.ts. */
const ATTRIBUTES = { attributes: "bytes" } as const;
const NOTHING = {} as const;

interface Operation<Request extends Fields = Fields, Reply extends Fields = Fields> {
  readonly code: number;
  readonly request: Request;
  readonly reply: Reply;
}
const operation = <Request extends Fields, Reply extends Fields>(
  code: number,
  request: Request,
  reply: Reply,
): Operation<Request, Reply> => ({ code, request, reply });

export const OPERATIONS = {
  stat: operation(1, PATH, ATTRIBUTES),
  /** Of an open file, whatever its name has become. */
  statHandle: operation(2, { handle: "u32" }, ATTRIBUTES),
  /** `which` is a set of CHANGE; `handle` counts with CHANGE.handle. Times are seconds and nanoseconds. */
  change: operation(
    3,
    {
      ...PATH,
      handle: "u32",
      which: "u32",
      mode: "u32",
      ...OWNER,
      size: "offset",
      accessed: "cookie",
      accessedNanoseconds: "u32",
      modified: "cookie",
      modifiedNanoseconds: "u32",
    },
    ATTRIBUTES,
  ),
  readLink: operation(4, PATH, { target: "bytes" }),
  makeSymlink: operation(5, { ...PATH, target: "bytes", ...OWNER }, ATTRIBUTES),
  /** A regular file, fifo or socket: `mode` has the type. */
  makeNode: operation(6, { ...PATH, mode: "u32", ...OWNER }, ATTRIBUTES),
  makeDirectory: operation(7, { ...PATH, mode: "u32", ...OWNER }, ATTRIBUTES),
  unlink: operation(8, PATH, NOTHING),
  removeDirectory: operation(9, PATH, NOTHING),
  /** `flags` of renameat2(2). */
  rename: operation(10, { ...PATH, to: "bytes", flags: "u32" }, NOTHING),
  link: operation(11, { ...PATH, to: "bytes" }, ATTRIBUTES),
  /** A regular file. `flags` is a set of OPEN. */
  open: operation(12, { ...PATH, flags: "u32" }, { handle: "u32" }),
  create: operation(13, { ...PATH, flags: "u32", mode: "u32", ...OWNER }, { handle: "u32", attributes: "bytes" }),
  read: operation(14, { handle: "u32", offset: "offset", size: "u32" }, { data: "bytes" }),
  /** `flags` 1: take set-ID bits away. */
  write: operation(15, { handle: "u32", offset: "offset", flags: "u32", data: "bytes" }, { written: "u32" }),
  /** `flags` 1: data alone. */
  sync: operation(16, { handle: "u32", flags: "u32" }, NOTHING),
  close: operation(17, { handle: "u32" }, NOTHING),
  openDirectory: operation(18, PATH, { handle: "u32" }),
  /** Entries from `cookie` on, see directory-entries.ts; none at the end. */
  list: operation(19, { handle: "u32", cookie: "cookie", size: "u32", attributes: "u32" }, { entries: "bytes" }),
  fileSystem: operation(20, PATH, {
    blockSize: "u32",
    fragmentSize: "u32",
    blocks: "offset",
    free: "offset",
    available: "offset",
    files: "offset",
    freeFiles: "offset",
    nameLength: "u32",
  }),
  getAttribute: operation(21, { ...PATH, name: "bytes" }, { value: "bytes" }),
  /** `flags` of setxattr(2). */
  setAttribute: operation(22, { ...PATH, name: "bytes", value: "bytes", flags: "u32" }, NOTHING),
  /** Names, each with a NUL behind it. */
  listAttributes: operation(23, PATH, { names: "bytes" }),
  removeAttribute: operation(24, { ...PATH, name: "bytes" }, NOTHING),
  /** fallocate(2) */
  allocate: operation(25, { handle: "u32", mode: "u32", offset: "offset", length: "offset" }, NOTHING),
  /** lseek(2) for data and holes. */
  seek: operation(26, { handle: "u32", offset: "offset", whence: "u32" }, { offset: "offset" }),
} as const;

/** What `change` changes. */
export const CHANGE = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  accessed: 16,
  modified: 32,
  accessedNow: 64,
  modifiedNow: 128,
  handle: 256,
  /** Take set-ID bits away, as a write by somebody without CAP_FSETID does. */
  dropSetId: 512,
} as const;

/** How a file is opened, with the same value on every architecture. `dropSetId` counts with `truncate`. */
export const OPEN = { write: 1, read: 2, append: 4, truncate: 8, exclusive: 16, dropSetId: 32 } as const;

type Operations = typeof OPERATIONS;
export type OperationName = keyof Operations;
export type RequestFields<K extends OperationName> = Values<Operations[K]["request"]>;
export type ReplyFields<K extends OperationName> = Values<Operations[K]["reply"]>;

export type ShareRequest = {
  [K in OperationName]: { id: number; operation: K; share: number; fields: RequestFields<K> };
}[OperationName];

const REQUEST_HEADER = 10;
const REPLY_HEADER = 12;

const names = new Map<number, OperationName>(
  Object.entries(OPERATIONS).map(([name, { code }]) => [code, name as OperationName]),
);

export const encodeRequest = <K extends OperationName>(
  id: number,
  operation: K,
  share: number,
  fields: RequestFields<K>,
): Buffer => {
  const { code, request } = OPERATIONS[operation];
  const bytes = encodeFields<Fields>(request, fields, REQUEST_HEADER);
  bytes.writeUInt32LE(bytes.length - 4, 0);
  bytes.writeUInt32LE(id, 4);
  bytes[8] = code;
  bytes[9] = share;
  return bytes;
};

/** `message` without its length. Throws FormatError. */
export const decodeRequest = (message: Buffer): ShareRequest => {
  if (message.length < REQUEST_HEADER - 4) throw shareError("a request is too short");
  const operation = names.get(message[4] ?? 0);
  if (operation === undefined) throw shareError(`unknown operation ${message[4]}`);
  const fields = decodeFields<Fields>(OPERATIONS[operation].request, message, REQUEST_HEADER - 4);
  return { id: message.readUInt32LE(0), operation, share: message[5] ?? 0, fields } as ShareRequest;
};

export const encodeReply = <K extends OperationName>(id: number, operation: K, fields: ReplyFields<K>): Buffer => {
  const bytes = encodeFields<Fields>(OPERATIONS[operation].reply, fields, REPLY_HEADER);
  bytes.writeUInt32LE(bytes.length - 4, 0);
  bytes.writeUInt32LE(id, 4);
  return bytes;
};

export const encodeFailure = (id: number, errno: number): Buffer => {
  const bytes = Buffer.alloc(REPLY_HEADER);
  bytes.writeUInt32LE(REPLY_HEADER - 4, 0);
  bytes.writeUInt32LE(id, 4);
  bytes.writeUInt32LE(errno, 8);
  return bytes;
};

/** Id and errno of a reply without its length; the fields are decoded by whoever knows what was asked. */
export const decodeReplyHeader = (message: Buffer): { id: number; errno: number } => {
  if (message.length < REPLY_HEADER - 4) throw shareError("a reply is too short");
  return { id: message.readUInt32LE(0), errno: message.readUInt32LE(4) };
};

export const decodeReply = <K extends OperationName>(operation: K, message: Buffer): ReplyFields<K> =>
  decodeFields<Fields>(OPERATIONS[operation].reply, message, REPLY_HEADER - 4) as ReplyFields<K>;
