import { FormatError } from "../format-error";
import { ByteReader } from "./byte-reader";
import {
  readXzEnd,
  XZ_HEADER,
  type XzPiece,
  type XzRecord,
  xzBlock,
  xzCheckLength,
  xzCheckOf,
  xzEnd,
  xzHeader,
} from "./xz-container";

export const XZ_CHECK_SHA256 = 10;
/** Each block of a multi-threaded xz is at least as large as its dictionary, so that even 4 GiB have few. */
export const MAX_XZ_BLOCKS = 1_000_000;

/**
 * Takes the SHA-256 checks out of an xz stream, because the decoder in use knows CRCs only. RPM writes such streams; it has
 * digests of its own over the compressed bytes. Streams with other checks pass unchanged.
 * @throws FormatError when the container is malformed
 */
export async function* withoutXzSha256(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(source, "xz");
  try {
    const header = new Uint8Array(await reader.require(XZ_HEADER));
    const check = xzCheckOf(header);
    if (check !== XZ_CHECK_SHA256) {
      yield header;
      yield* rest(reader);
      return;
    }
    yield xzHeader(0);
    const records: XzRecord[] = [];
    for (;;) {
      const size = (await reader.require(1))[0] ?? 0;
      if (size === 0) break;
      if (records.length >= MAX_XZ_BLOCKS) throw new FormatError("xz", "the stream has too many blocks");
      records.push(yield* bytesOf(xzBlock(reader, size, { length: xzCheckLength(check), keep: false })));
    }
    await readXzEnd(reader, check, records);
    yield xzEnd(0, records);
    // Nothing may follow but padding, which carries no data.
    await reader.drain();
  } finally {
    await reader.close();
  }
}

async function* bytesOf(pieces: AsyncGenerator<XzPiece, XzRecord>): AsyncGenerator<Uint8Array, XzRecord> {
  for (;;) {
    const next = await pieces.next();
    if (next.done) return next.value;
    yield next.value.bytes;
  }
}

async function* rest(reader: ByteReader): AsyncGenerator<Uint8Array> {
  const someBytes = 256 * 1024;
  for (let piece = await reader.readSome(someBytes); piece !== undefined; piece = await reader.readSome(someBytes)) {
    yield piece;
  }
}
