/** A layer as it goes to a registry: compressed as it came, or with gzip when it came plain. */
import { once } from "node:events";
import { createGzip } from "node:zlib";

export type LayerCompression = "gzip" | "zstd";

const MAGIC: { compression: LayerCompression; bytes: number[]; mask?: number[] }[] = [
  { compression: "gzip", bytes: [0x1f, 0x8b] },
  { compression: "zstd", bytes: [0x28, 0xb5, 0x2f, 0xfd] },
  { compression: "zstd", bytes: [0x50, 0x2a, 0x4d, 0x18], mask: [0xf0, 0xff, 0xff, 0xff] },
];
const MAGIC_BYTES = 4;
/** gzip's own default: what `docker push` uses. */
const LEVEL = 6;

interface Sink {
  compression: LayerCompression;
  write(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
}

/**
 * Hands the source's bytes on and its compressed form to `write`, at the pace of both.
 * `compression` answers when `data` was read to its end, by which time everything is written; before that it throws.
 */
export function compressed(
  source: AsyncIterable<Uint8Array>,
  write: (bytes: Uint8Array) => Promise<void>,
): { data: AsyncIterable<Uint8Array>; compression(): LayerCompression } {
  let found: LayerCompression | undefined;
  async function* data(): AsyncGenerator<Uint8Array> {
    let sink: Sink | undefined;
    let head: Uint8Array = new Uint8Array(0);
    for await (const chunk of source) {
      if (sink === undefined) {
        head = head.length === 0 ? chunk.slice() : Buffer.concat([head, chunk]);
        if (head.length >= MAGIC_BYTES) {
          sink = sinkFor(head, write);
          await sink.write(head);
        }
      } else await sink.write(chunk);
      yield chunk;
    }
    if (sink === undefined) {
      sink = sinkFor(head, write);
      await sink.write(head);
    }
    await sink.end();
    found = sink.compression;
  }
  return {
    data: data(),
    compression: () => {
      if (found === undefined) throw new Error("the layer was not read to its end");
      return found;
    },
  };
}

function sinkFor(head: Uint8Array, write: (bytes: Uint8Array) => Promise<void>): Sink {
  const known = MAGIC.find(
    ({ bytes, mask }) =>
      head.length >= bytes.length &&
      bytes.every((byte, index) => ((head[index] ?? 0) & (mask?.[index] ?? 0xff)) === byte),
  );
  if (known !== undefined) return { compression: known.compression, write, end: async () => undefined };
  const gzip = createGzip({ level: LEVEL });
  const written = (async () => {
    for await (const bytes of gzip) await write(bytes as Uint8Array);
  })();
  written.catch(() => gzip.destroy()); // Told by write and end below.
  return {
    compression: "gzip",
    async write(bytes) {
      // The encoder keeps what it is given until it has used it, and our caller's buffer may be used again.
      if (bytes.length > 0 && !gzip.write(Buffer.from(bytes))) await Promise.race([once(gzip, "drain"), written]);
    },
    async end() {
      gzip.end();
      await written;
    },
  };
}
