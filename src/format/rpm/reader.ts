import { type CpioHeader, fileType, readCpio } from "../cpio/newc";
import { FormatError } from "../format-error";
import { ByteReader } from "../stream/byte-reader";
import { type Compression, type Decompress, decompress } from "../stream/decompress";
import { RpmHeader, rpmTag } from "./header";
import { formatRpmVersion, type RpmVersion } from "./version";

/** Plain size of a package's files that we accept: a kernel with all its modules takes about 400 MB. */
const MAX_PAYLOAD = 4 * 1024 ** 3;
const MAX_FILES = 500_000;
const MAX_LINK_TARGET = 4096;
const LEAD = 96;
const LEAD_MAGIC = 0xedabeedb;
const FILE_TYPE = 0o170000;

/** Names that RPM gives its compressors. */
const compressors: Readonly<Record<string, Compression>> = {
  bzip2: "bzip2",
  gzip: "gzip",
  lzma: "lzma",
  xz: "xz",
  zstd: "zstd",
  none: "none",
};
/** Hash algorithms by their OpenPGP number (RFC 9580, 9.5). */
const hashes: Readonly<Record<number, Bun.SupportedCryptoAlgorithms>> = {
  8: "sha256",
  9: "sha384",
  10: "sha512",
  11: "sha224",
};

/** What a package says about itself, and what can be checked. */
export interface RpmPackage extends Required<RpmVersion> {
  name: string;
  architecture: string;
  /** Whether it holds sources, not programs. */
  isSource: boolean;
  /** The bytes that `signatures` are made over; they contain the digest of the payload. */
  signedHeader: Uint8Array;
  /** OpenPGP signature packets, binary. Nothing has checked them yet. */
  signatures: Uint8Array[];
  /** Whether a signature of the header covers the files too, by a digest. */
  headerCoversPayload: boolean;
}

/** A file of a package; its body can be read until the next file is asked for. */
export interface RpmFile {
  /** Path without a leading `/` or `./`. */
  path: string;
  type: "file" | "directory" | "symlink" | "other";
  mode: number;
  /** Target of a symlink. */
  target?: string;
  size: number;
  /** Set on each name of a file that has several. The last of them carries the content. */
  linkGroup?: number;
  body: AsyncIterable<Uint8Array>;
}

/**
 * Reads an RPM package as a stream: first what it says about itself, then its files. The digests of header and payload
 * are checked; one that does not fit is an error at the latest when the files end.
 *
 * @param onPackage is told about the package before the first file, and may refuse it by throwing
 * @param inflate decompresses the files
 * @throws FormatError when the package is malformed, damaged, larger than the limits, or carries no digests
 */
export async function* readRpm(
  source: AsyncIterable<Uint8Array>,
  onPackage: (read: RpmPackage) => void | Promise<void>,
  inflate: Decompress = decompress,
): AsyncGenerator<RpmFile, void, undefined> {
  const reader = new ByteReader(source, "rpm");
  try {
    const lead = await reader.require(LEAD);
    if (new DataView(lead.buffer, lead.byteOffset, LEAD).getUint32(0) !== LEAD_MAGIC) {
      throw new FormatError("rpm", "this is not an RPM package");
    }
    const signature = await RpmHeader.read(reader);
    await reader.skip(-reader.position & 7);
    const header = await RpmHeader.read(reader);
    checkHeader(signature, header);
    const check = new PayloadCheck(signature, header);
    await onPackage(describe(signature, header));
    const compressor = header.text(rpmTag.payloadCompressor) ?? "gzip";
    const format = header.text(rpmTag.payloadFormat) ?? "cpio";
    const compression = compressors[compressor];
    if (compression === undefined) {
      throw new FormatError(
        "rpm",
        `the payload is compressed by ${compressor}; bzip2, gzip, lzma, xz and zstd are supported`,
      );
    }
    if (format !== "cpio")
      throw new FormatError("rpm", `the payload is in the format ${format}; only cpio is supported`);
    yield* readFiles(inflate(check.pass(reader), compression, MAX_PAYLOAD));
    await reader.drain();
    check.finish();
  } finally {
    await reader.close();
  }
}

function checkHeader(signature: RpmHeader, header: RpmHeader): void {
  const digests = [
    ["sha256", signature.text(rpmTag.signatureSha256)],
    ["sha1", signature.text(rpmTag.signatureSha1)],
  ] as const;
  for (const [algorithm, expected] of digests) {
    if (expected === undefined) continue;
    const actual = new Bun.CryptoHasher(algorithm).update(header.bytes).digest("hex");
    if (actual !== expected.toLowerCase())
      throw new FormatError("rpm", `the header does not fit its ${algorithm} digest`);
  }
}

function describe(signature: RpmHeader, header: RpmHeader): RpmPackage {
  const required = (tag: number, what: string): string => {
    const value = header.text(tag);
    if (value === undefined || !/^[\x21-\x7e]+$/.test(value))
      throw new FormatError("rpm", `the package has no valid ${what}`);
    return value;
  };
  const binary = [rpmTag.signatureRsa, rpmTag.signatureDsa].flatMap((tag) => signature.binary(tag) ?? []);
  // RPM 6 keeps any number of signatures as base64 texts.
  const texts = signature.texts(rpmTag.signatureOpenPgp).map((text) => Buffer.from(text, "base64"));
  return {
    name: required(rpmTag.name, "name"),
    epoch: header.numbers(rpmTag.epoch)[0] ?? 0,
    version: required(rpmTag.version, "version"),
    release: required(rpmTag.release, "release"),
    architecture: required(rpmTag.architecture, "architecture"),
    isSource: header.text(rpmTag.sourceRpm) === undefined,
    signedHeader: header.bytes,
    signatures: [...binary, ...texts],
    headerCoversPayload: header.texts(rpmTag.payloadDigest).length > 0,
  };
}

/** The version as a person reads it. */
export function rpmPackageVersion(read: RpmPackage): string {
  return formatRpmVersion(read);
}

/** Compares the compressed payload with the digests that the package carries. */
class PayloadCheck {
  readonly #hash: Bun.CryptoHasher;
  readonly #expected: string;

  constructor(signature: RpmHeader, header: RpmHeader) {
    const [digest] = header.texts(rpmTag.payloadDigest);
    const algorithm = hashes[header.numbers(rpmTag.payloadDigestAlgorithm)[0] ?? 8];
    const md5 = signature.binary(rpmTag.signatureMd5);
    if (digest !== undefined) {
      if (algorithm === undefined) throw new FormatError("rpm", "the payload's digest is of an unknown kind");
      this.#hash = new Bun.CryptoHasher(algorithm);
      this.#expected = digest.toLowerCase();
    } else if (md5 !== undefined) {
      // Before RPM 4.14 a digest over header and payload was all there is: it finds damage, not attackers.
      this.#hash = new Bun.CryptoHasher("md5").update(header.bytes);
      this.#expected = Buffer.from(md5).toString("hex");
    } else {
      throw new FormatError("rpm", "the package carries no digest of its payload");
    }
  }

  async *pass(reader: ByteReader): AsyncGenerator<Uint8Array> {
    const someBytes = 256 * 1024;
    for (let piece = await reader.readSome(someBytes); piece !== undefined; piece = await reader.readSome(someBytes)) {
      this.#hash.update(piece);
      yield piece;
    }
  }

  finish(): void {
    if (this.#hash.digest("hex") !== this.#expected) {
      throw new FormatError("rpm", "the payload does not fit its digest; the package is damaged or was tampered with");
    }
  }
}

async function* readFiles(plain: AsyncIterable<Uint8Array>): AsyncGenerator<RpmFile> {
  let count = 0;
  const counted = drained(plain);
  for await (const { header, inode, size, body } of readCpio(counted.stream)) {
    if (++count > MAX_FILES) throw new FormatError("rpm", `the package has more than ${MAX_FILES} files`);
    const type = typeOf(header);
    const path = header.name.replace(/^(\.?\/)+/, "").replace(/\/+$/, "");
    if (path.split("/").includes("..") || path.includes("\0")) {
      throw new FormatError("rpm", `the package contains the unsafe path ${JSON.stringify(path)}`);
    }
    const file = { path, type, mode: header.mode & 0o7777, size, body };
    if (type === "symlink") yield { ...file, target: await linkTarget(size, body) };
    else if (type === "file" && header.linkCount > 1) yield { ...file, linkGroup: inode };
    else yield file;
  }
  // The rest must pass the digest too.
  await counted.rest();
}

/** Lets the consumer end before the stream does, and reads the rest afterwards. */
function drained(source: AsyncIterable<Uint8Array>) {
  const iterator = source[Symbol.asyncIterator]();
  async function* stream(): AsyncGenerator<Uint8Array> {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  }
  return {
    stream: stream(),
    async rest(): Promise<void> {
      while (!(await iterator.next()).done);
    },
  };
}

function typeOf({ mode }: CpioHeader): RpmFile["type"] {
  switch (mode & FILE_TYPE) {
    case fileType.file:
      return "file";
    case fileType.directory:
      return "directory";
    case fileType.symlink:
      return "symlink";
    default:
      return "other";
  }
}

async function linkTarget(size: number, body: AsyncIterable<Uint8Array>): Promise<string> {
  if (size > MAX_LINK_TARGET) throw new FormatError("rpm", "a symlink's target is too long");
  return Buffer.concat(await Array.fromAsync(body, (piece) => new Uint8Array(piece))).toString("utf8");
}
