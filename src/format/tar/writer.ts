import { FormatError } from "../format-error";
import { encodeNumber, encodeTime, fromSeconds, wholeSeconds } from "./fields";
import { encodePaxRecords } from "./pax";
import { TAR_BLOCK, type TarEntryType, type TarHeader, type TarHeaderInput } from "./types";

const encoder = new TextEncoder();

const typeFlags: Readonly<Record<TarEntryType, string>> = {
  file: "0",
  link: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

/** Keys of pax records that the header's own fields decide. */
const ownedKeys = new Set(["path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime", "hdrcharset"]);

/**
 * The header of one member, ready to be followed by `size` bytes and `tarPadding(size)`.
 *
 * Plain ustar where that can express it; otherwise preceded by a pax extended header (long or non-ASCII names, times
 * with fractions, large numbers, extended attributes). The same input always gives the same bytes.
 *
 * @throws FormatError when a value cannot be stored at all
 */
export function tarHeader(input: TarHeaderInput): Uint8Array {
  const header = complete(input);
  const block = new Uint8Array(TAR_BLOCK);
  const records = new Map<string, string | Uint8Array>();

  writeNames(block, records, header);
  writeNumber(block.subarray(100, 108), header.mode & 0o7777);
  writeNumber(block.subarray(108, 116), header.uid, records, "uid");
  writeNumber(block.subarray(116, 124), header.gid, records, "gid");
  writeNumber(block.subarray(124, 136), header.size, records, "size");
  writeTime(block.subarray(136, 148), header.mtime, records);
  block[156] = typeFlags[header.type].charCodeAt(0);
  block.set(encoder.encode("ustar\x0000"), 257);
  writeText(block.subarray(265, 297), header.uname, records, "uname");
  writeText(block.subarray(297, 329), header.gname, records, "gname");
  writeNumber(block.subarray(329, 337), header.devMajor);
  writeNumber(block.subarray(337, 345), header.devMinor);
  writeChecksum(block);

  for (const [key, value] of header.pax) {
    if (!ownedKeys.has(key) && !key.startsWith("GNU.sparse.")) records.set(key, value);
  }
  for (const [key, value] of header.xattrs) records.set(`SCHILY.xattr.${key}`, value);
  return records.size === 0 ? block : Buffer.concat([extendedHeader(header.name, records), block]);
}

/** Zeros that fill a content of `size` bytes up to a whole block. */
export function tarPadding(size: number): Uint8Array {
  return new Uint8Array((TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK);
}

/** What ends an archive: two zero blocks. */
export const endOfTar: Uint8Array = new Uint8Array(2 * TAR_BLOCK);

/** A member to write: a header and, for a file, exactly `header.size` bytes. */
export interface TarMember {
  header: TarHeaderInput;
  body?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/**
 * A whole archive as a stream; members are asked for one by one, as the consumer reads.
 * @throws FormatError when a body is not as long as its header says
 */
export async function* writeTar(
  members: AsyncIterable<TarMember> | Iterable<TarMember>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { header, body } of members) {
    yield tarHeader(header);
    const size = complete(header).size;
    let written = 0;
    if (body !== undefined && size > 0) {
      for await (const chunk of body) {
        written += chunk.length;
        if (written > size) break;
        yield chunk;
      }
    }
    if (written !== size) {
      throw new FormatError("tar", `the content of "${header.name}" is not ${size} bytes long, as its header says`);
    }
    const padding = tarPadding(size);
    if (padding.length > 0) yield padding;
  }
  yield endOfTar;
}

function complete(input: TarHeaderInput): TarHeader {
  const header: TarHeader = {
    mode: input.type === "directory" ? 0o755 : input.type === "symlink" ? 0o777 : 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: fromSeconds(0),
    linkName: "",
    uname: "",
    gname: "",
    devMajor: 0,
    devMinor: 0,
    pax: new Map(),
    xattrs: new Map(),
    ...input,
  };
  if (header.type !== "file") header.size = 0;
  if (header.type === "directory" && !header.name.endsWith("/")) {
    header.name += "/";
    if (header.rawName !== undefined) header.rawName = Buffer.concat([header.rawName, Buffer.from("/")]);
  }
  for (const key of ["uid", "gid", "size", "devMajor", "devMinor"] as const) {
    if (!Number.isSafeInteger(header[key]) || header[key] < 0) {
      throw new FormatError("tar", `"${header.name}" has the impossible ${key} ${header[key]}`);
    }
  }
  return header;
}

function writeNames(block: Uint8Array, records: Map<string, string | Uint8Array>, header: TarHeader): void {
  const name = header.rawName ?? encoder.encode(header.name);
  const link = header.rawLinkName ?? encoder.encode(header.linkName);
  if (name.length === 0 || name.includes(0) || link.includes(0)) {
    throw new FormatError("tar", `${JSON.stringify(header.name)} cannot be the name or link target of a member`);
  }
  if (header.rawName !== undefined || header.rawLinkName !== undefined) records.set("hdrcharset", "BINARY");
  const split = splitName(name);
  if (split === undefined || !isAscii(name)) records.set("path", name);
  block.set(split?.name ?? name.subarray(0, 100));
  block.set(split?.prefix ?? new Uint8Array(0), 345);
  if (link.length > 100 || !isAscii(link)) records.set("linkpath", link);
  block.set(link.subarray(0, 100), 157);
}

/** Divides a path at a slash over ustar's two fields (155 + 100 bytes), when that works. */
function splitName(path: Uint8Array): { name: Uint8Array; prefix: Uint8Array } | undefined {
  if (path.length <= 100) return { name: path, prefix: new Uint8Array(0) };
  const slash = path.indexOf(0x2f, path.length - 101);
  if (slash <= 0 || slash > 155 || slash === path.length - 1) return undefined;
  return { name: path.subarray(slash + 1), prefix: path.subarray(0, slash) };
}

function isAscii(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte < 0x80);
}

function writeNumber(field: Uint8Array, value: number, records?: Map<string, string | Uint8Array>, key?: string): void {
  if (!encodeNumber(field, value) && records !== undefined && key !== undefined) records.set(key, String(value));
}

function writeTime(field: Uint8Array, mtime: bigint, records: Map<string, string | Uint8Array>): void {
  const seconds = wholeSeconds(mtime);
  if (!encodeNumber(field, seconds) || fromSeconds(seconds) !== mtime) records.set("mtime", encodeTime(mtime));
}

function writeText(field: Uint8Array, text: string, records: Map<string, string | Uint8Array>, key: string): void {
  const bytes = encoder.encode(text);
  if (bytes.length >= field.length || !isAscii(bytes)) records.set(key, bytes);
  field.set(bytes.subarray(0, field.length - 1));
}

function writeChecksum(block: Uint8Array): void {
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.set(encoder.encode(`${sum.toString(8).padStart(6, "0")}\0`), 148);
}

/** The `x` member that carries pax records. Its own name is only seen by programs that do not know pax. */
function extendedHeader(name: string, records: ReadonlyMap<string, string | Uint8Array>): Uint8Array {
  const content = encodePaxRecords([...records].sort(([a], [b]) => (a < b ? -1 : 1)));
  const block = new Uint8Array(TAR_BLOCK);
  const base = name.replace(/\/+$/, "").split("/").pop() ?? "";
  block.set(encoder.encode(`PaxHeaders/${base}`).subarray(0, 100));
  encodeNumber(block.subarray(100, 108), 0o644);
  encodeNumber(block.subarray(108, 116), 0);
  encodeNumber(block.subarray(116, 124), 0);
  encodeNumber(block.subarray(124, 136), content.length);
  encodeNumber(block.subarray(136, 148), 0);
  block[156] = "x".charCodeAt(0);
  block.set(encoder.encode("ustar\x0000"), 257);
  writeChecksum(block);
  return Buffer.concat([block, content, tarPadding(content.length)]);
}
