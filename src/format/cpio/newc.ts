import { FormatError } from "../format-error";
import { ByteReader } from "../stream/byte-reader";

/** Header of a member in the "new ASCII" cpio format, the one Linux unpacks as an initramfs. */
export interface CpioHeader {
  /** Path without a leading slash. */
  name: string;
  /** File type and permission bits, as in `stat`. */
  mode: number;
  uid?: number;
  gid?: number;
  /** Seconds since the epoch. */
  mtime?: number;
  linkCount?: number;
  /** Device numbers of a character or block special file. */
  deviceMajor?: number;
  deviceMinor?: number;
}

/** Bits of `mode` that tell the type. */
export const fileType = { directory: 0o040000, file: 0o100000, symlink: 0o120000, character: 0o020000 } as const;

const TRAILER = "TRAILER!!!";
const HEADER = 110;
const MAX_NAME = 4096;
/** Field values are eight hexadecimal digits. */
const MAX_FIELD = 0xffff_ffff;

/**
 * One member, header and content, padded. The content of a symlink is its target.
 * @param inode distinguishes members; without hard links any unique number will do
 */
export function cpioMember(header: CpioHeader, content: Uint8Array, inode: number): Uint8Array {
  const name = Buffer.from(`${header.name}\0`);
  const fields = [
    inode,
    header.mode,
    header.uid ?? 0,
    header.gid ?? 0,
    header.linkCount ?? 1,
    header.mtime ?? 0,
    content.length,
    0,
    0,
    header.deviceMajor ?? 0,
    header.deviceMinor ?? 0,
    name.length,
    0,
  ];
  if (fields.some((value) => !Number.isInteger(value) || value < 0 || value > MAX_FIELD)) {
    throw new FormatError("cpio", `a value of "${header.name}" does not fit into its field`);
  }
  const digits = fields.map((value) => value.toString(16).padStart(8, "0")).join("");
  const contentStart = aligned(HEADER + name.length);
  const member = new Uint8Array(aligned(contentStart + content.length));
  member.set(Buffer.from(`070701${digits}`));
  member.set(name, HEADER);
  member.set(content, contentStart);
  return member;
}

/** What ends an archive. */
export function cpioTrailer(): Uint8Array {
  return cpioMember({ name: TRAILER, mode: 0 }, new Uint8Array(0), 0);
}

/** A member read back; the content can be read until the next member is asked for. */
export interface CpioEntry {
  header: Required<CpioHeader>;
  /** The same for all names of one file. */
  inode: number;
  size: number;
  body: AsyncIterable<Uint8Array>;
}

/** The members of an archive up to its trailer. @throws FormatError when it is malformed or cut short */
export async function* readCpio(source: AsyncIterable<Uint8Array>): AsyncGenerator<CpioEntry, void, undefined> {
  const reader = new ByteReader(source, "cpio");
  try {
    for (;;) {
      const block = Buffer.from(await reader.require(HEADER)).toString("latin1");
      if (!/^07070[12][0-9a-fA-F]{104}$/.test(block)) throw new FormatError("cpio", "a header is malformed");
      const field = (index: number) => Number.parseInt(block.slice(6 + index * 8, 14 + index * 8), 16);
      const nameLength = field(11);
      if (nameLength < 1 || nameLength > MAX_NAME) throw new FormatError("cpio", "a name is too long");
      const name = Buffer.from(
        (await reader.require(aligned(HEADER + nameLength) - HEADER)).subarray(0, nameLength - 1),
      );
      if (name.toString() === TRAILER) return;
      const size = field(6);
      const header = {
        name: name.toString(),
        mode: field(1),
        uid: field(2),
        gid: field(3),
        linkCount: field(4),
        mtime: field(5),
        deviceMajor: field(9),
        deviceMinor: field(10),
      };
      const start = reader.position;
      yield { header, inode: field(0), size, body: reader.pieces(size) };
      await reader.skip(start + aligned(size) - reader.position);
    }
  } finally {
    await reader.close();
  }
}

/** Headers and contents start at multiples of four. */
function aligned(length: number): number {
  return Math.ceil(length / 4) * 4;
}
