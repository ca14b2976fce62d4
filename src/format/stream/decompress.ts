import { XzReadableStream } from "xz-decompress";
import { FormatError } from "../format-error";
import { decompressBzip2 } from "./bzip2";
import { decompressLzma } from "./lzma";
import { withoutXzSha256 } from "./xz-sha256";

/** Compression that a stream's first bytes or a file's suffix tell. */
export type Compression = "none" | "bzip2" | "gzip" | "lzma" | "xz" | "zstd";

/** The compression named by a file name's suffix. */
export function compressionOf(name: string): Compression {
  if (name.endsWith(".gz")) return "gzip";
  if (name.endsWith(".bz2")) return "bzip2";
  if (name.endsWith(".lzma")) return "lzma";
  if (name.endsWith(".xz")) return "xz";
  if (name.endsWith(".zst")) return "zstd";
  return "none";
}

/** A way to decompress; readers of packages can be given another than the usual one. */
export type Decompress = (
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
  limit: number,
) => AsyncGenerator<Uint8Array, void, undefined>;

/**
 * Decompresses a stream as it is read.
 * @param limit plain bytes that are accepted; a stream that inflates to more is refused
 * @throws FormatError when the data is damaged or larger than `limit`
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
  limit: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let total = 0;
  try {
    for await (const chunk of plain(source, compression)) {
      total += chunk.length;
      if (total > limit) throw new FormatError(compression, `the data inflates to more than ${limit} bytes`);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof FormatError) throw error;
    throw new FormatError(
      compression,
      `the data is damaged: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function plain(source: AsyncIterable<Uint8Array>, compression: Compression): AsyncIterable<Uint8Array> {
  switch (compression) {
    case "none":
      return source;
    case "bzip2":
      return decompressBzip2(source);
    case "lzma":
      return decompressLzma(source);
    case "xz":
      return new XzReadableStream(asStream(withoutXzSha256(source)));
    case "gzip":
    case "zstd":
      return asStream(source).pipeThrough(new DecompressionStream(compression));
  }
}

function asStream(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array<ArrayBuffer>> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const result = await iterator.next();
      if (result.done) controller.close();
      // A copy: decompressors may keep a chunk beyond the call, and the source may reuse it.
      else controller.enqueue(new Uint8Array(result.value));
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}
