import { FormatError } from "../format-error";
import type { ByteReader } from "../stream/byte-reader";

/** Numbers of the tags that we read (rpmtag.h of RPM). */
export const rpmTag = {
  signatureSha1: 269,
  signatureRsa: 268,
  signatureDsa: 267,
  signatureSha256: 273,
  signatureOpenPgp: 278,
  signatureMd5: 1004,
  signatureReserved: 1008,
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  operatingSystem: 1021,
  architecture: 1022,
  requireFlags: 1048,
  requireName: 1049,
  requireVersion: 1050,
  sourceRpm: 1044,
  payloadFormat: 1124,
  payloadCompressor: 1125,
  payloadDigest: 5092,
  payloadDigestAlgorithm: 5093,
} as const;

const MAGIC = 0x8eade801;
const INTRODUCTION = 16;
const INDEX_ENTRY = 16;
/** RPM's own limit on the entries of a header. */
const MAX_ENTRIES = 65_535;
/** A kernel package names about 5,000 files in about 500 KB. */
const MAX_STORE = 64 * 1024 ** 2;
const MAX_ARRAY = 1024 ** 2;

const type = { int16: 3, int32: 4, string: 6, binary: 7, stringArray: 8, i18nString: 9 } as const;

interface Entry {
  type: number;
  offset: number;
  count: number;
}

/** One header structure: typed values by tag. */
export class RpmHeader {
  readonly #entries = new Map<number, Entry>();
  readonly #store: Uint8Array;
  readonly #view: DataView;

  /** @param bytes the header as it lies in the file, from its magic number on: what signatures are made over */
  private constructor(readonly bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = view.getUint32(8);
    this.#store = bytes.subarray(INTRODUCTION + count * INDEX_ENTRY);
    this.#view = new DataView(this.#store.buffer, this.#store.byteOffset, this.#store.byteLength);
    for (let index = 0; index < count; index++) {
      const at = INTRODUCTION + index * INDEX_ENTRY;
      const tag = view.getUint32(at);
      if (this.#entries.has(tag)) throw new FormatError("rpm", `the header has tag ${tag} twice`);
      const entry = { type: view.getUint32(at + 4), offset: view.getUint32(at + 8), count: view.getUint32(at + 12) };
      if (entry.offset > this.#store.length) throw new FormatError("rpm", `tag ${tag} lies outside the header`);
      this.#entries.set(tag, entry);
    }
  }

  /** @throws FormatError when the header is malformed, cut short or larger than 64 MiB */
  static async read(reader: ByteReader): Promise<RpmHeader> {
    const introduction = new Uint8Array(await reader.require(INTRODUCTION));
    const view = new DataView(introduction.buffer);
    if (view.getUint32(0) !== MAGIC) throw new FormatError("rpm", "a header has no magic number");
    const count = view.getUint32(8);
    const store = view.getUint32(12);
    if (count > MAX_ENTRIES || store > MAX_STORE) throw new FormatError("rpm", "a header is too large");
    const chunks = await Array.fromAsync(reader.pieces(count * INDEX_ENTRY + store), (piece) => new Uint8Array(piece));
    return new RpmHeader(Buffer.concat([introduction, ...chunks]));
  }

  /** Text of a tag, or `undefined` when the header has none. */
  text(tag: number): string | undefined {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return undefined;
    if (entry.type !== type.string && entry.type !== type.i18nString && entry.type !== type.stringArray) {
      throw new FormatError("rpm", `tag ${tag} is not text`);
    }
    return this.#strings(entry, 1)[0];
  }

  texts(tag: number): string[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return [];
    if (entry.type !== type.stringArray) throw new FormatError("rpm", `tag ${tag} is not a list of texts`);
    return this.#strings(entry, entry.count);
  }

  numbers(tag: number): number[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return [];
    if (entry.type !== type.int32) throw new FormatError("rpm", `tag ${tag} is not a list of numbers`);
    this.#within(entry, entry.count * 4);
    return Array.from({ length: entry.count }, (_, index) => this.#view.getUint32(entry.offset + index * 4));
  }

  binary(tag: number): Uint8Array | undefined {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return undefined;
    if (entry.type !== type.binary) throw new FormatError("rpm", `tag ${tag} is not binary`);
    this.#within(entry, entry.count);
    return this.#store.subarray(entry.offset, entry.offset + entry.count);
  }

  #within(entry: Entry, length: number): void {
    if (entry.count > MAX_ARRAY * 16 || entry.offset + length > this.#store.length) {
      throw new FormatError("rpm", "a value lies outside the header");
    }
  }

  #strings({ offset, count }: Entry, wanted: number): string[] {
    if (count > MAX_ARRAY) throw new FormatError("rpm", "a list has too many elements");
    const texts: string[] = [];
    for (let at = offset; texts.length < Math.min(count, wanted); ) {
      const end = this.#store.indexOf(0, at);
      if (end === -1) throw new FormatError("rpm", "a text lies outside the header");
      texts.push(Buffer.from(this.#store.subarray(at, end)).toString("utf8"));
      at = end + 1;
    }
    return texts;
  }
}
