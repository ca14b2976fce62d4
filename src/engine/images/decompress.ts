/** Undoes a layer's or archive's compression, told by its first bytes and not by what a manifest claims. */
import { Readable, type Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { FormatError } from "../../format/format-error.ts";
import { decompressBzip2 } from "../../format/stream/bzip2.ts";
import { decompress as decompressFormat } from "../../format/stream/decompress.ts";
import { invalid } from "../errors.ts";

/** Larger than zlib's default: twice as fast. */
const OUTPUT_CHUNK_BYTES = 256 * 1024;

const FORMATS: {
  name: string;
  magic: number[];
  mask?: number[];
  open?: () => Transform;
  decode?: (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
}[] = [
  { name: "gzip", magic: [0x1f, 0x8b], open: () => createGunzip({ chunkSize: OUTPUT_CHUNK_BYTES }) },
  {
    name: "zstd",
    magic: [0x28, 0xb5, 0x2f, 0xfd],
    open: () => createZstdDecompress({ chunkSize: OUTPUT_CHUNK_BYTES }),
  },
  // A skippable frame, 0x184D2A50 to 5F, may come before the first real one.
  {
    name: "zstd",
    magic: [0x50, 0x2a, 0x4d, 0x18],
    mask: [0xf0, 0xff, 0xff, 0xff],
    open: () => createZstdDecompress({ chunkSize: OUTPUT_CHUNK_BYTES }),
  },
  {
    name: "xz",
    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a],
    decode: (source) => decompressFormat(source, "xz", Number.MAX_SAFE_INTEGER),
  },
  { name: "bzip2", magic: [0x42, 0x5a, 0x68], decode: decompressBzip2 },
  { name: "lzip", magic: [0x4c, 0x5a, 0x49, 0x50] },
];
const MAGIC_BYTES = 6;

/** Throws EngineError `invalid` for a compression that is not known here, and the decoder's error for damaged data. */
export async function* decompress(source: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    let head: Uint8Array = new Uint8Array(0);
    while (head.length < MAGIC_BYTES) {
      const next = await iterator.next();
      if (next.done) break;
      head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
    }
    const all = prepend(head, iterator);
    const format = FORMATS.find(({ magic, mask }) =>
      magic.every((byte, index) => ((head[index] ?? 0) & (mask?.[index] ?? 0xff)) === byte && index < head.length),
    );
    if (format === undefined) {
      yield* all;
      return;
    }
    if (format.decode !== undefined) {
      yield* decoded(format.decode(all), what);
      return;
    }
    if (format.open === undefined) {
      throw invalid(
        `${what} is compressed with ${format.name}, which is not supported: recompress it with gzip, bzip2, xz or zstd, or send it uncompressed`,
      );
    }
    yield* through(all, format.open(), what);
  } finally {
    await iterator.return?.();
  }
}

async function* decoded(content: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Uint8Array> {
  try {
    yield* content;
  } catch (error) {
    throw error instanceof FormatError ? invalid(`${what} is damaged: ${error.message}`) : error;
  }
}

async function* through(
  source: AsyncIterable<Uint8Array>,
  decoder: Transform,
  what: string,
): AsyncGenerator<Uint8Array> {
  const failure = pipeline(Readable.from(source, { objectMode: true }), decoder).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  try {
    for await (const chunk of decoder) yield chunk as Uint8Array;
  } catch (error) {
    const cause = (await failure)?.error ?? error;
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    if (/^(Z_|ZSTD_)/.test(code)) throw invalid(`${what} is damaged: ${(cause as Error).message}`);
    throw cause;
  } finally {
    decoder.destroy();
    await failure;
  }
}

async function* prepend(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (head.length > 0) yield head;
  for (;;) {
    const next = await rest.next();
    if (next.done) return;
    yield next.value;
  }
}
