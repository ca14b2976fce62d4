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
import { MAX_XZ_BLOCKS, XZ_CHECK_SHA256 } from "./xz-sha256";

/**
 * A part of an xz stream that is an xz stream of its own, so that parts can be decoded side by side: one or more blocks,
 * or a single one that is too large to be held.
 */
export type XzPart =
  | { kind: "whole"; bytes: Uint8Array<ArrayBuffer>; plainSize: number; blocks: readonly XzRecord[] }
  /** To be read before the next part is asked for. */
  | { kind: "stream"; pieces: AsyncIterable<Uint8Array> };

/** Small blocks are put together up to this plain size. */
const ENOUGH = 4 * 1024 ** 2;

/**
 * Takes an xz stream apart without decoding it. The parts, decoded one after the other, are the stream's plain data.
 * Writers that use several threads (dpkg, `xz -T0`) make blocks; other streams have one block, which is one part.
 *
 * @param limit bytes, plain or compressed, that one part may hold in memory
 * @throws FormatError when the container is malformed
 */
export async function* xzParts(
  source: AsyncIterable<Uint8Array>,
  limit: number,
): AsyncGenerator<XzPart, void, undefined> {
  const reader = new ByteReader(source, "xz");
  try {
    const check = xzCheckOf(await reader.require(XZ_HEADER));
    // The decoder in use does not know SHA-256.
    const isKept = check !== XZ_CHECK_SHA256;
    const form: Form = { check: isKept ? check : 0, length: xzCheckLength(check), keep: isKept };
    const all: XzRecord[] = [];
    let part = new PartBuilder(form);
    for (;;) {
      const size = (await reader.require(1))[0] ?? 0;
      if (size === 0) break;
      if (all.length >= MAX_XZ_BLOCKS) throw new FormatError("xz", "the stream has too many blocks");
      const pieces = xzBlock(reader, size, form);
      const record = await part.take(pieces, limit);
      if (record !== undefined) {
        all.push(record);
        if (part.plainSize < ENOUGH) continue;
        yield part.whole();
      } else {
        const stream = part.stream(pieces);
        yield { kind: "stream", pieces: stream.pieces };
        all.push(stream.record());
      }
      part = new PartBuilder(form);
    }
    await readXzEnd(reader, check, all);
    if (!part.isEmpty) yield part.whole();
    await reader.drain();
  } finally {
    await reader.close();
  }
}

interface Form {
  /** The check that the parts name. */
  check: number;
  /** Of the check that the source has. */
  length: number;
  keep: boolean;
}

class PartBuilder {
  readonly #form: Form;
  readonly #pieces: Uint8Array[];
  readonly #records: XzRecord[] = [];
  #size = 0;
  plainSize = 0;

  constructor(form: Form) {
    this.#form = form;
    this.#pieces = [xzHeader(form.check)];
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  /** Takes a block in. @returns `undefined` when it grew beyond the limit, and was read in part only */
  async take(block: AsyncGenerator<XzPiece, XzRecord>, limit: number): Promise<XzRecord | undefined> {
    while (this.plainSize <= limit && this.#size <= limit) {
      const next = await block.next();
      if (next.done) {
        this.#add(next.value);
        return next.value;
      }
      // A copy: the reader's source may reuse its chunk.
      this.#pieces.push(next.value.bytes.slice());
      this.#size += next.value.bytes.length;
      this.plainSize += next.value.plain;
    }
    return undefined;
  }

  whole(): XzPart {
    const bytes = new Uint8Array(Buffer.concat([...this.#pieces, this.#end()]));
    return { kind: "whole", bytes, plainSize: this.plainSize, blocks: this.#records };
  }

  /** What was taken in, and the rest of a block as it is read. */
  stream(rest: AsyncGenerator<XzPiece, XzRecord>) {
    let record: XzRecord | undefined;
    const add = (found: XzRecord): void => {
      record = found;
      this.#add(found);
    };
    const begun = this.#pieces;
    const end = (): Uint8Array => this.#end();
    async function* pieces(): AsyncGenerator<Uint8Array> {
      yield* begun;
      for (let next = await rest.next(); ; next = await rest.next()) {
        if (next.done) return yield* finish(next.value);
        yield next.value.bytes;
      }
    }
    function* finish(found: XzRecord): Generator<Uint8Array> {
      add(found);
      yield end();
    }
    return {
      pieces: pieces(),
      record(): XzRecord {
        if (record === undefined) throw new Error("the next part was asked for before a part was read");
        return record;
      },
    };
  }

  /** The index counts the checks, where they are kept. */
  #add({ stored, plain }: XzRecord): void {
    this.#records.push({ stored: stored + (this.#form.keep ? this.#form.length : 0), plain });
  }

  #end(): Uint8Array {
    return xzEnd(this.#form.check, this.#records);
  }
}
