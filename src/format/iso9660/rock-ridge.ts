import { FormatError } from "../format-error";
import { bothEndian32, shortTime } from "./fields";
import { ISO_BLOCK, type IsoNode } from "./tree";

/** Length of a `CE` entry, which says where a record's system use area continues. */
export const CONTINUATION_ENTRY = 28;
const MAX_ENTRY = 255;
const MAX_NAME = 255;
const CONTINUES = 1;
/** Components of a symlink that stand for a place, not a name. */
const [CURRENT, PARENT, ROOT] = [2, 4, 8];

const typeBits = { file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const;

function entry(signature: string, version: number, ...data: Uint8Array[]): Uint8Array {
  const content = Buffer.concat(data);
  return Buffer.concat([Buffer.from(signature), Uint8Array.of(4 + content.length, version), content]);
}

/** `SP`, first entry of the root's own record: says that the medium uses the sharing protocol (SUSP §5.3). */
export function sharingProtocol(): Uint8Array {
  return entry("SP", 1, Uint8Array.of(0xbe, 0xef, 0));
}

/** `ER`: names the extension in use, Rock Ridge 1.10 in the spelling that every reader knows. */
export function extensionReference(): Uint8Array {
  const id = Buffer.from("RRIP_1991A");
  const description = Buffer.from(
    "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS",
  );
  const source = Buffer.from("IEEE RRIP 1.10");
  return entry("ER", 1, Uint8Array.of(id.length, description.length, source.length, 1), id, description, source);
}

/** `CE`: the area continues in `length` bytes at `offset` of block `block`. */
export function continuation(block: number, offset: number, length: number): Uint8Array {
  return entry("CE", 1, bothEndian32(block), bothEndian32(offset), bothEndian32(length));
}

/** `PX` (mode, links, owner) and `TF` (times). */
export function attributes(node: IsoNode, linkCount: number, seconds: number): Uint8Array[] {
  const mode = typeBits[node.type] | (node.type === "symlink" ? 0o777 : node.mode & 0o7777);
  const [uid, gid] = node.type === "symlink" ? [0, 0] : [node.uid ?? 0, node.gid ?? 0];
  const time = shortTime(seconds);
  return [
    entry("PX", 1, ...[mode, linkCount, uid, gid].map(bothEndian32)),
    // Modification, access, attribute change.
    entry("TF", 1, Uint8Array.of(0x0e), time, time, time),
  ];
}

/** `NM`, in as many entries as the name needs. */
export function alternateName(name: string): Uint8Array[] {
  const bytes = Buffer.from(name);
  if (bytes.length === 0 || bytes.length > MAX_NAME || /[/\0]/.test(name) || name === "." || name === "..") {
    throw new FormatError("iso9660", `${JSON.stringify(name)} cannot be a file name`);
  }
  return inPieces(bytes, MAX_ENTRY - 5, (piece, last) => entry("NM", 1, Uint8Array.of(last ? 0 : CONTINUES), piece));
}

/** `SL`: a symlink's target as components. */
export function symbolicLink(target: string): Uint8Array[] {
  if (target === "" || target.includes("\0") || Buffer.byteLength(target) >= ISO_BLOCK * 2) {
    throw new FormatError("iso9660", `${JSON.stringify(target)} cannot be the target of a symlink`);
  }
  const parts = target.split("/").filter((part) => part !== "");
  const components = [...(target.startsWith("/") ? [Uint8Array.of(ROOT, 0)] : []), ...parts.flatMap(component)];
  const entries: Uint8Array[][] = [[]];
  let length = 0;
  for (const bytes of components) {
    if (length + bytes.length > MAX_ENTRY - 5) {
      entries.push([]);
      length = 0;
    }
    entries.at(-1)?.push(bytes);
    length += bytes.length;
  }
  return entries.map((pieces, index) =>
    entry("SL", 1, Uint8Array.of(index < entries.length - 1 ? CONTINUES : 0), ...pieces),
  );
}

function component(part: string): Uint8Array[] {
  if (part === ".") return [Uint8Array.of(CURRENT, 0)];
  if (part === "..") return [Uint8Array.of(PARENT, 0)];
  return inPieces(Buffer.from(part), 248, (piece, last) =>
    Buffer.concat([Uint8Array.of(last ? 0 : CONTINUES, piece.length), piece]),
  );
}

function inPieces<T>(bytes: Uint8Array, size: number, make: (piece: Uint8Array, last: boolean) => T): T[] {
  const pieces: T[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    pieces.push(make(bytes.subarray(at, at + size), at + size >= bytes.length));
  }
  return pieces;
}
