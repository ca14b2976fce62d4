import { FormatError } from "../../format-error";
import { XZ_HEADER, type XzRecord, xzCheckOf } from "../xz-container";

/** What `lzma2.c` exports. */
interface Exports {
  memory: WebAssembly.Memory;
  heap(): number;
  decode(input: number, inputSize: number, output: number, outputSize: number, dictionary: number): number;
  crc64(bytes: number, size: number): bigint;
}

/** Of the blocks that it can decode: LZMA2 alone, without a filter before it. */
interface Block {
  headerSize: number;
  dictionarySize: number;
}

const CHECK_NONE = 0;
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;
const FILTER_LZMA2 = 0x21;
/** What `decode` may read beyond its input. */
const MARGIN = 64;
const PAGE = 64 * 1024;

/** Decodes xz streams that are in memory, half as much again as fast as `decompress`. */
export class Lzma2Decoder {
  readonly #exports: Exports;

  private constructor(exports: Exports) {
    this.#exports = exports;
  }

  /** @param program `lzma2.wasm` */
  static async load(program: Uint8Array<ArrayBuffer>): Promise<Lzma2Decoder> {
    const { instance } = await WebAssembly.instantiate(program);
    return new Lzma2Decoder(instance.exports as unknown as Exports);
  }

  /**
   * @param packed an xz stream
   * @param blocks as its index lists them, which is not read here
   * @returns the plain data, or `undefined` where the stream uses what only `decompress` knows: other filters and checks
   * @throws FormatError when the data is damaged
   */
  decode(packed: Uint8Array, blocks: readonly XzRecord[]): Uint8Array<ArrayBuffer> | undefined {
    const check = xzCheckOf(packed);
    const checkLength = { [CHECK_NONE]: 0, [CHECK_CRC32]: 4, [CHECK_CRC64]: 8 }[check];
    if (checkLength === undefined) return undefined;
    const plainSize = blocks.reduce((sum, { plain }) => sum + plain, 0);
    const input = this.#exports.heap();
    const output = input + Math.ceil((packed.length + MARGIN) / 16) * 16;
    const memory = this.#memory(output + plainSize + MARGIN);
    memory.set(packed, input);
    let from = XZ_HEADER;
    let to = output;
    for (const { stored, plain } of blocks) {
      const block = readBlockHeader(packed, from);
      if (block === undefined) return undefined;
      const data = from + block.headerSize;
      const end = from + stored - checkLength;
      this.#decodeBlock({ from: input + data, size: end - data, to, plain, dictionarySize: block.dictionarySize });
      const place = Math.ceil(end / 4) * 4;
      if (!this.#fits(check, packed.subarray(place, place + checkLength), to, plain)) throw damaged("a check is wrong");
      from = place + checkLength;
      to += plain;
    }
    return memory.slice(output, output + plainSize);
  }

  #decodeBlock(block: { from: number; size: number; to: number; plain: number; dictionarySize: number }): void {
    let taken = 0;
    try {
      const { from, size, to, plain, dictionarySize } = block;
      taken = this.#exports.decode(from, size, to, plain, dictionarySize);
    } catch (error) {
      // The module cannot reach beyond its memory.
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
    }
    if (taken !== block.size) throw damaged("a block is not what it says");
  }

  #memory(size: number): Uint8Array<ArrayBuffer> {
    const { memory } = this.#exports;
    const missing = size - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    return new Uint8Array(memory.buffer as ArrayBuffer);
  }

  #fits(check: number, wanted: Uint8Array, at: number, size: number): boolean {
    const view = new DataView(wanted.buffer, wanted.byteOffset, wanted.byteLength);
    if (check === CHECK_CRC32) {
      return view.getUint32(0, true) === Bun.hash.crc32(new Uint8Array(this.#exports.memory.buffer, at, size));
    }
    return check === CHECK_NONE || view.getBigUint64(0, true) === BigInt.asUintN(64, this.#exports.crc64(at, size));
  }
}

/** @returns `undefined` for a block with other filters than LZMA2 @throws FormatError when it is damaged */
function readBlockHeader(stream: Uint8Array, at: number): Block | undefined {
  const headerSize = ((stream[at] ?? 0) + 1) * 4;
  const header = stream.subarray(at, at + headerSize);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (header.length < headerSize || view.getUint32(headerSize - 4, true) !== Bun.hash.crc32(header.subarray(0, -4)))
    throw damaged("a block's header is wrong");
  const flags = header[1] ?? 0;
  if ((flags & 0x3f) !== 0) return undefined;
  let next = 2;
  // The sizes, which the index has too.
  for (const flag of [0x40, 0x80]) {
    if ((flags & flag) === 0) continue;
    while ((header[next] ?? 0) >= 0x80) next++;
    next++;
  }
  const [filter, propertiesSize, bits = 0] = header.subarray(next, next + 3);
  if (filter !== FILTER_LZMA2 || propertiesSize !== 1) return undefined;
  if (bits > 40) throw damaged("a dictionary is too large");
  return { headerSize, dictionarySize: bits === 40 ? 0xffff_ffff : (2 | (bits & 1)) * 2 ** ((bits >> 1) + 11) };
}

function damaged(why: string): FormatError {
  return new FormatError("xz", `the data is damaged: ${why}`);
}
