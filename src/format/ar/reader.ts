import { FormatError } from "../format-error";
import { ByteReader } from "../stream/byte-reader";

const MAGIC = "!<arch>\n";
const HEADER = 60;

/** One member of an `ar` archive while it is the current one. */
export interface ArMember {
  name: string;
  size: number;
  /** The content; readable until the next member is asked for, and may be left unread. */
  body: AsyncIterable<Uint8Array>;
}

/**
 * The members of an `ar` archive in the common format with short names, as Debian packages are.
 * @throws FormatError when the archive is malformed, cut short, or uses long names
 */
export async function* readAr(source: AsyncIterable<Uint8Array>): AsyncGenerator<ArMember, void, undefined> {
  const reader = new ByteReader(source, "ar");
  const latin1 = new TextDecoder("latin1");
  try {
    if (latin1.decode(await reader.read(MAGIC.length)) !== MAGIC)
      throw new FormatError("ar", "this is not an ar archive");
    for (;;) {
      const block = await reader.read(HEADER);
      if (block === undefined) return;
      const header = latin1.decode(block);
      const name = header.slice(0, 16).trimEnd().replace(/\/$/, "");
      const digits = header.slice(48, 58).trimEnd();
      if (header.slice(58) !== "`\n" || !/^[0-9]+$/.test(digits)) throw new FormatError("ar", "a header is malformed");
      if (name === "" || name.startsWith("/") || name.startsWith("#1/")) {
        throw new FormatError("ar", "symbol tables and long names are not supported");
      }
      const size = Number(digits);
      const start = reader.position;
      yield { name, size, body: reader.pieces(size) };
      await reader.skip(start + size - reader.position);
      // Members begin at even offsets; the very last padding byte may be missing.
      if (size % 2 === 1) await reader.read(1);
    }
  } finally {
    await reader.close();
  }
}
