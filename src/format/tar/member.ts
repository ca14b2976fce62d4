import { FormatError } from "../format-error";
import { decodeDecimal, decodeNumber, decodeText, decodeTime, fromSeconds, untilNul } from "./fields";
import type { PaxRecord } from "./pax";
import type { TarEntryType, TarHeader } from "./types";

/** What earlier special members (`x`, `g`, `L`, `K`) said about the member that follows them. */
export interface Overrides {
  pax: PaxRecord[];
  longName?: Uint8Array;
  longLink?: Uint8Array;
}

/** What pax says about a member's sparse map. Versions 0.0 and 0.1 list it here, 1.0 says that the data starts with it. */
export interface PaxSparse {
  numbers: string[];
  mapInData: boolean;
  realSize: number | undefined;
}

/** A decoded member: `storedSize` bytes of the archive follow its header. */
export interface Member {
  header: TarHeader;
  storedSize: number;
  oldGnuSparse: boolean;
  paxSparse?: PaxSparse;
}

const entryTypes: Readonly<Record<string, TarEntryType>> = {
  "\0": "file",
  "0": "file",
  "1": "link",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
  "7": "file",
  D: "directory",
  S: "file",
};

/** Checks a header block's sum: the bytes' total with the sum itself as spaces. Old writers added signed bytes. */
export function hasValidChecksum(block: Uint8Array): boolean {
  let unsigned = 256;
  let signed = 256;
  for (let index = 0; index < block.length; index++) {
    if (index >= 148 && index < 156) continue;
    const byte = block[index] ?? 0;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const expected = decodeNumber(block.subarray(148, 156), "checksum");
  return expected === unsigned || expected === signed;
}

/** The size field of a header block: how much of the archive belongs to a special member. */
export function storedSizeOf(block: Uint8Array): number {
  const size = decodeNumber(block.subarray(124, 136), "size");
  if (size < 0) throw new FormatError("tar", "a member has a negative size");
  return size;
}

/** Interprets a header block with everything that was said before it. */
export function decodeMember(block: Uint8Array, overrides: Overrides): Member {
  const flag = String.fromCharCode(block[156] ?? 0);
  const magic = new TextDecoder("latin1").decode(block.subarray(257, 265));
  const posix = magic.startsWith("ustar\0");
  const extended = posix || magic === "ustar  \0";
  const name = decodeText(overrides.longName ?? nameField(block, posix));
  const link = decodeText(overrides.longLink ?? untilNul(block.subarray(157, 257)));
  const type = entryTypes[flag];
  if (type === undefined) throw new FormatError("tar", `"${name.text}" is of the unknown type ${JSON.stringify(flag)}`);
  const isDevice = type === "character" || type === "block";
  const header: TarHeader = {
    name: name.text,
    type,
    mode: decodeNumber(block.subarray(100, 108), "mode") & 0o7777,
    uid: decodeNumber(block.subarray(108, 116), "user id"),
    gid: decodeNumber(block.subarray(116, 124), "group id"),
    size: storedSizeOf(block),
    mtime: fromSeconds(decodeNumber(block.subarray(136, 148), "time")),
    linkName: link.text,
    uname: extended ? decodeText(untilNul(block.subarray(265, 297))).text : "",
    gname: extended ? decodeText(untilNul(block.subarray(297, 329))).text : "",
    devMajor: isDevice ? decodeNumber(block.subarray(329, 337), "device number") : 0,
    devMinor: isDevice ? decodeNumber(block.subarray(337, 345), "device number") : 0,
    pax: new Map(),
    xattrs: new Map(),
  };
  if (name.raw !== undefined) header.rawName = name.raw;
  if (link.raw !== undefined) header.rawLinkName = link.raw;
  const paxSparse = applyPax(header, overrides.pax);
  // Before there was a type for it, a directory was a file whose name ends in a slash.
  if (header.type === "file" && flag !== "S" && header.name.endsWith("/")) header.type = "directory";
  if (header.name === "") throw new FormatError("tar", "a member has no name");
  const storedSize = header.type === "file" ? header.size : 0;
  header.size = storedSize;
  return { header, storedSize, oldGnuSparse: flag === "S", ...(paxSparse && { paxSparse }) };
}

function nameField(block: Uint8Array, posix: boolean): Uint8Array {
  const name = untilNul(block.subarray(0, 100));
  if (!posix) return name;
  // Star's variant, marked at the end of the block, keeps times behind a shorter prefix.
  const isStar = new TextDecoder("latin1").decode(block.subarray(508, 512)) === "tar\0";
  const prefix = untilNul(block.subarray(345, isStar ? 476 : 500));
  return prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from("/"), name]);
}

const XATTR = "SCHILY.xattr.";

function applyPax(header: TarHeader, records: readonly PaxRecord[]): PaxSparse | undefined {
  if (records.length === 0) return undefined;
  const pax = new Map<string, string>();
  const xattrs = new Map<string, Uint8Array>();
  const sparse = new SparseRecords();
  const last = new Map(records.map((record) => [record.key, record.value]));
  for (const record of records) sparse.take(record);
  for (const [key, value] of last) {
    // An empty value takes a record back, except in an attribute, which may well be empty.
    if (key.startsWith(XATTR)) xattrs.set(key.slice(XATTR.length), value.slice());
    else if (!key.startsWith("GNU.sparse.") && value.length > 0 && !applyRecord(header, key, value)) {
      pax.set(key, decodeText(value).text);
    }
  }
  header.pax = pax;
  header.xattrs = xattrs;
  if (sparse.name !== undefined) setName(header, sparse.name);
  return sparse.result();
}

/** Returns false for a record that no field of the header expresses. */
function applyRecord(header: TarHeader, key: string, value: Uint8Array): boolean {
  switch (key) {
    case "path":
      setName(header, value);
      return true;
    case "linkpath": {
      const link = decodeText(value);
      header.linkName = link.text;
      if (link.raw === undefined) delete header.rawLinkName;
      else header.rawLinkName = link.raw;
      return true;
    }
    case "uname":
    case "gname":
      header[key] = decodeText(value).text;
      return true;
    case "uid":
    case "gid":
    case "size":
      header[key] = decodeDecimal(decodeText(value).text, `pax record ${key}`);
      return true;
    case "mtime":
      header.mtime = decodeTime(decodeText(value).text);
      return true;
    case "hdrcharset":
      return true;
    default:
      return false;
  }
}

function setName(header: TarHeader, value: Uint8Array): void {
  if (value.includes(0)) throw new FormatError("tar", "a member's name contains a zero byte");
  const name = decodeText(value);
  header.name = name.text;
  if (name.raw === undefined) delete header.rawName;
  else header.rawName = name.raw;
}

/** Collects GNU's `GNU.sparse.*` records, whose order matters in version 0.0. */
class SparseRecords {
  name: Uint8Array | undefined;
  #numbers: string[] = [];
  #found = false;
  #mapInData = false;
  #realSize: number | undefined;

  take({ key, value }: PaxRecord): void {
    if (!key.startsWith("GNU.sparse.")) return;
    const text = decodeText(value).text;
    switch (key.slice("GNU.sparse.".length)) {
      case "name":
        this.name = value;
        return;
      case "size":
      case "realsize":
        this.#realSize = decodeDecimal(text, "sparse size");
        return;
      case "offset":
      case "numbytes":
        this.#numbers.push(text);
        this.#found = true;
        return;
      case "map":
        this.#numbers = text === "" ? [] : text.split(",");
        this.#found = true;
        return;
      case "major":
        if (text !== "1" && text !== "0") throw new FormatError("tar", `sparse format ${text} is not known`);
        this.#mapInData = text === "1";
        this.#found ||= this.#mapInData;
        return;
    }
  }

  result(): PaxSparse | undefined {
    if (!this.#found) return undefined;
    return { numbers: this.#numbers, mapInData: this.#mapInData, realSize: this.#realSize };
  }
}
