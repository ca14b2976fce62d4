import { FormatError } from "../format-error";
import { ISO_BLOCK } from "./tree";

/** Random access to an image; a `Blob` (`Bun.file`) fits. */
export interface IsoSource {
  readonly size: number;
  slice(start: number, end: number): { bytes(): Promise<Uint8Array>; stream(): ReadableStream<Uint8Array> };
}

/** What an image holds under one path. */
export interface IsoEntry {
  /** Absolute path with Rock Ridge names. */
  path: string;
  type: "file" | "directory" | "symlink";
  mode: number;
  uid: number;
  gid: number;
  size: number;
  /** Target of a symlink. */
  target?: string;
  /** First byte of the content in the image. */
  offset: number;
}

const MAX_DIRECTORY_SIZE = 16 * 1024 ** 2;
const MAX_ENTRIES = 200_000;
const MAX_DEPTH = 64;
const MAX_CONTINUATIONS = 8;
/** Of all directories together: they could overlap, and each would be read whole. */
const MAX_DIRECTORY_BYTES = 256 * 1024 ** 2;

/**
 * Every entry of an image, parents before their children, with Rock Ridge names and attributes.
 * @throws FormatError when it is not an ISO 9660 image with Rock Ridge, is damaged, or exceeds a limit
 */
export async function* readIso(source: IsoSource): AsyncGenerator<IsoEntry, void, undefined> {
  const descriptor = await block(source, 16);
  if (descriptor[0] !== 1 || text(descriptor.subarray(1, 6)) !== "CD001") {
    throw new FormatError("iso9660", "this is not an ISO 9660 image");
  }
  const root = record(descriptor.subarray(156, 190));
  const visited = new Set<number>();
  let count = 0;
  let directoryBytes = 0;

  async function* visit(directory: IsoEntry, depth: number): AsyncGenerator<IsoEntry> {
    if (depth > MAX_DEPTH || visited.has(directory.offset)) throw new FormatError("iso9660", "directories form a loop");
    visited.add(directory.offset);
    directoryBytes += directory.size;
    if (directoryBytes > MAX_DIRECTORY_BYTES) throw new FormatError("iso9660", "the directories are too large");
    for await (const entry of children(source, directory)) {
      if (++count > MAX_ENTRIES) throw new FormatError("iso9660", `more than ${MAX_ENTRIES} entries`);
      yield entry;
      if (entry.type === "directory") yield* visit(entry, depth + 1);
    }
  }
  const offset = root.block * ISO_BLOCK;
  yield* visit({ path: "", type: "directory", mode: 0, uid: 0, gid: 0, size: root.size, offset }, 0);
}

/** The content of a file found by `readIso`. */
export async function* readIsoFile(source: IsoSource, entry: IsoEntry): AsyncGenerator<Uint8Array, void, undefined> {
  if (entry.offset + entry.size > source.size) throw new FormatError("iso9660", `${entry.path} lies outside the image`);
  // Not the stream itself: given a slice's stream, Bun.write of 1.4.5 writes the whole file that the slice is of.
  yield* source.slice(entry.offset, entry.offset + entry.size).stream();
}

async function* children(source: IsoSource, directory: IsoEntry): AsyncGenerator<IsoEntry> {
  if (directory.size > MAX_DIRECTORY_SIZE) throw new FormatError("iso9660", "a directory is too large");
  const content = await area(source, directory.offset, directory.size);
  for (let at = 0; at < content.length; ) {
    const length = content[at] ?? 0;
    if (length === 0) {
      // The rest of this block is unused.
      at = (Math.floor(at / ISO_BLOCK) + 1) * ISO_BLOCK;
      continue;
    }
    if (at + length > content.length) throw new FormatError("iso9660", "a directory record is cut short");
    const fields = record(content.subarray(at, at + length));
    at += length;
    if (fields.identifier.length === 1 && (fields.identifier[0] ?? 0) <= 1) continue;
    yield rockRidgeEntry(directory.path, fields, await systemUse(source, fields.systemUse));
  }
}

interface RecordFields {
  block: number;
  size: number;
  isDirectory: boolean;
  identifier: Uint8Array;
  systemUse: Uint8Array;
}

function record(bytes: Uint8Array): RecordFields {
  const nameLength = bytes[32] ?? 0;
  const end = 33 + nameLength;
  if (bytes.length < 34 || end > bytes.length) throw new FormatError("iso9660", "a directory record is malformed");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    block: view.getUint32(2, true),
    size: view.getUint32(10, true),
    isDirectory: ((bytes[25] ?? 0) & 2) !== 0,
    identifier: bytes.subarray(33, end),
    systemUse: bytes.subarray(end + (nameLength % 2 === 0 ? 1 : 0)),
  };
}

type SystemUse = { signature: string; data: Uint8Array }[];

async function systemUse(source: IsoSource, first: Uint8Array): Promise<SystemUse> {
  const entries: SystemUse = [];
  let bytes: Uint8Array | undefined = first;
  for (let places = 0; bytes !== undefined; places++) {
    if (places > MAX_CONTINUATIONS) throw new FormatError("iso9660", "a system use area has too many continuations");
    let next: Uint8Array | undefined;
    for (let at = 0; at + 4 <= bytes.length; ) {
      const length: number = bytes[at + 2] ?? 0;
      if (length < 4 || at + length > bytes.length) break;
      const data: Uint8Array = bytes.subarray(at + 4, at + length);
      const signature = text(bytes.subarray(at, at + 2));
      if (signature === "CE" && data.length >= 24) {
        const view: DataView = new DataView(data.buffer, data.byteOffset, data.byteLength);
        const length = view.getUint32(16, true);
        if (length > ISO_BLOCK) throw new FormatError("iso9660", "a system use area continues for more than a block");
        next = await area(source, view.getUint32(0, true) * ISO_BLOCK + view.getUint32(8, true), length);
      } else {
        entries.push({ signature, data });
      }
      at += length;
    }
    bytes = next;
  }
  return entries;
}

function rockRidgeEntry(parent: string, fields: RecordFields, entries: SystemUse): IsoEntry {
  const attributes = entries.find(({ signature }) => signature === "PX")?.data;
  if (attributes === undefined || attributes.length < 32)
    throw new FormatError("iso9660", "the image has no Rock Ridge attributes");
  const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.byteLength);
  const name = text(
    Buffer.concat(entries.filter(({ signature }) => signature === "NM").map(({ data }) => data.subarray(1))),
  );
  if (name === "" || name === "." || name === ".." || name.includes("/")) {
    throw new FormatError("iso9660", `${JSON.stringify(name)} is not a valid file name`);
  }
  const mode = view.getUint32(0, true);
  const links = entries.filter(({ signature }) => signature === "SL").map(({ data }) => data.subarray(1));
  const isSymlink = (mode & 0o170000) === 0o120000;
  return {
    path: `${parent}/${name}`,
    type: fields.isDirectory ? "directory" : isSymlink ? "symlink" : "file",
    mode: mode & 0o7777,
    uid: view.getUint32(16, true),
    gid: view.getUint32(24, true),
    size: fields.size,
    ...(isSymlink && { target: symlinkTarget(links) }),
    offset: fields.block * ISO_BLOCK,
  };
}

function symlinkTarget(links: readonly Uint8Array[]): string {
  const parts: string[] = [];
  let pending = "";
  for (const link of links) {
    for (let at = 0; at + 2 <= link.length; at += 2 + (link[at + 1] ?? 0)) {
      const flags = link[at] ?? 0;
      if (flags & 8) parts.push("");
      else if (flags & 4) parts.push("..");
      else if (flags & 2) parts.push(".");
      else {
        pending += text(link.subarray(at + 2, at + 2 + (link[at + 1] ?? 0)), "latin1");
        if (!(flags & 1)) {
          parts.push(Buffer.from(pending, "latin1").toString());
          pending = "";
        }
      }
    }
  }
  return parts.length === 1 && parts[0] === "" ? "/" : parts.join("/");
}

function block(source: IsoSource, number: number): Promise<Uint8Array> {
  return area(source, number * ISO_BLOCK, ISO_BLOCK);
}

async function area(source: IsoSource, offset: number, length: number): Promise<Uint8Array> {
  if (length > MAX_DIRECTORY_SIZE || offset + length > source.size) {
    throw new FormatError("iso9660", "something lies outside the image");
  }
  return source.slice(offset, offset + length).bytes();
}

function text(bytes: Uint8Array, encoding: "utf8" | "latin1" = "utf8"): string {
  return Buffer.from(bytes).toString(encoding);
}
