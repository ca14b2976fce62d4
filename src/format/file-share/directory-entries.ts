import { ATTRIBUTES_LENGTH } from "./attributes.ts";
import { shareError } from "./fields.ts";
import { NAME_LIMIT } from "./messages.ts";

/** One name in a directory. */
export interface DirectoryEntry {
  inode: bigint;
  /** Where the listing goes on behind this entry. */
  next: bigint;
  /** As in a file's mode, shifted by 12: DT_DIR and its like. */
  type: number;
  name: Uint8Array;
  /** When they were asked for and could be had. */
  attributes?: Uint8Array;
}

const FIXED = 8 + 8 + 1 + 1 + 1;

/** Length of the entry on the wire: u64 inode, u64 next, u8 type, u8 whether attributes follow, u8 length of the name. */
export const entryLength = (entry: DirectoryEntry): number =>
  FIXED + entry.name.length + (entry.attributes === undefined ? 0 : ATTRIBUTES_LENGTH);

/** Writes the entry at `at` and answers where it ends. */
export const encodeEntry = (entry: DirectoryEntry, into: Buffer, at: number): number => {
  at = into.writeBigUInt64LE(BigInt.asUintN(64, entry.inode), at);
  at = into.writeBigUInt64LE(BigInt.asUintN(64, entry.next), at);
  into[at++] = entry.type;
  into[at++] = entry.attributes === undefined ? 0 : 1;
  into[at++] = entry.name.length;
  into.set(entry.name, at);
  at += entry.name.length;
  if (entry.attributes === undefined) return at;
  into.set(entry.attributes, at);
  return at + ATTRIBUTES_LENGTH;
};

/** Throws FormatError. Names and attributes are views. */
export const decodeEntries = (bytes: Uint8Array): DirectoryEntry[] => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (at + FIXED > bytes.length) throw shareError("a directory entry is too short");
    const nameLength = bytes[at + 18] ?? 0;
    const extra = bytes[at + 17] === 1 ? ATTRIBUTES_LENGTH : 0;
    const nameAt = at + FIXED;
    const end = nameAt + nameLength + extra;
    if (nameLength === 0 || nameLength > NAME_LIMIT || end > bytes.length)
      throw shareError("a malformed directory entry");
    entries.push({
      inode: view.getBigUint64(at, true),
      next: view.getBigUint64(at + 8, true),
      type: bytes[at + 16] ?? 0,
      name: bytes.subarray(nameAt, nameAt + nameLength),
      ...(extra === 0 ? {} : { attributes: bytes.subarray(nameAt + nameLength, end) }),
    });
    at = end;
  }
  return entries;
};
