import { promisify } from "node:util";
import { deflate, inflate, zstdDecompress } from "node:zlib";
import { FormatError } from "../format-error";
import type { SquashfsCompression } from "./layout";

const deflateAsync = promisify<Uint8Array, { level: number }, Buffer>(deflate);
const inflateAsync = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflate);
const zstdDecompressAsync = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(zstdDecompress);

/** Compresses on another thread. @param level 1 to 9 for gzip, 1 to 22 for zstd */
export function compressBlock(plain: Uint8Array, compression: SquashfsCompression, level: number): Promise<Uint8Array> {
  if (compression === "gzip") return deflateAsync(plain, { level });
  return Bun.zstdCompress(plain as Uint8Array<ArrayBuffer>, { level });
}

/** @throws FormatError when it is damaged or gives more than `limit` bytes */
export async function decompressBlock(
  packed: Uint8Array,
  compression: SquashfsCompression,
  limit: number,
): Promise<Uint8Array> {
  const options = { maxOutputLength: limit };
  try {
    return await (compression === "gzip" ? inflateAsync(packed, options) : zstdDecompressAsync(packed, options));
  } catch (error) {
    throw new FormatError("squashfs", `a block is damaged: ${error instanceof Error ? error.message : String(error)}`);
  }
}
