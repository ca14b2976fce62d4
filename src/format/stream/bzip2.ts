/**
 * Decompresses bzip2 as it is read, block by block: memory stays at one block (900 kB) and its input, however well the data
 * was compressed. Format: https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf
 */
import { FormatError } from "../format-error";

const BLOCK_MAGIC = [0x314159, 0x265359] as const;
const END_MAGIC = [0x177245, 0x385090] as const;
const BLOCK_UNIT = 100_000;
const GROUP_LENGTH = 50;
const MAX_CODE_LENGTH = 20;
const MAX_SELECTORS = 18_002;
/** A block of the largest kind with the longest codes, its tables and selectors. */
const LONGEST_BLOCK = Math.ceil((9 * BLOCK_UNIT * MAX_CODE_LENGTH) / 8) + 64 * 1024;

/** Streams may follow each other. @throws FormatError when the data is damaged or cut short */
export async function* decompressBzip2(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const input = new Input(source);
  try {
    let streams = 0;
    for (;;) {
      await input.fill();
      if (input.isEmpty && streams > 0) return;
      const limit = readStreamHeader(input);
      streams += 1;
      let combined = 0;
      for (;;) {
        await input.fill();
        const high = input.bits(24);
        const low = input.bits(24);
        const checksum = input.word();
        if (high === END_MAGIC[0] && low === END_MAGIC[1]) {
          if (checksum !== combined) throw damaged("the checksum of the stream is wrong");
          input.align();
          break;
        }
        if (high !== BLOCK_MAGIC[0] || low !== BLOCK_MAGIC[1]) throw damaged("a block does not begin as one");
        const plain = withoutRuns(readBlock(input, limit), checksum);
        combined = (((combined << 1) | (combined >>> 31)) ^ checksum) >>> 0;
        yield* plain;
      }
    }
  } finally {
    await input.close();
  }
}

const damaged = (reason: string): FormatError => new FormatError("bzip2", reason);

function readStreamHeader(input: Input): number {
  const magic = input.bits(24);
  const level = input.bits(8) - 0x30;
  if (magic !== 0x425a68 || level < 1 || level > 9) throw damaged("it does not begin as bzip2 data");
  return level * BLOCK_UNIT;
}

/** Bits, most significant first, out of a buffer that holds at least one whole block. */
class Input {
  readonly #source: AsyncIterator<Uint8Array>;
  #buffer: Uint8Array = new Uint8Array(0);
  #bit = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  get isEmpty(): boolean {
    return this.#ended && this.#bit >= this.#buffer.length * 8;
  }

  async fill(): Promise<void> {
    const consumed = this.#bit >>> 3;
    if (this.#ended || this.#buffer.length - consumed >= LONGEST_BLOCK) return;
    const pieces = [this.#buffer.subarray(consumed)];
    let length = this.#buffer.length - consumed;
    while (length < LONGEST_BLOCK * 2) {
      const next = await this.#source.next();
      if (next.done) {
        this.#ended = true;
        break;
      }
      pieces.push(next.value.slice());
      length += next.value.length;
    }
    this.#buffer = Buffer.concat(pieces, length);
    this.#bit &= 7;
  }

  bits(count: number): number {
    if (this.#bit + count > this.#buffer.length * 8) throw damaged("the data ends early");
    let value = 0;
    for (let left = count; left > 0; ) {
      const available = 8 - (this.#bit & 7);
      const taken = Math.min(available, left);
      const byte = this.#buffer[this.#bit >>> 3] ?? 0;
      value = (value << taken) | ((byte >>> (available - taken)) & ((1 << taken) - 1));
      this.#bit += taken;
      left -= taken;
    }
    return value;
  }

  word(): number {
    return ((this.bits(16) << 16) | this.bits(16)) >>> 0;
  }

  align(): void {
    this.#bit = (this.#bit + 7) & ~7;
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }
}

/** One block before its runs are written out. */
function readBlock(input: Input, limit: number): Uint8Array {
  if (input.bits(1) !== 0) throw damaged("randomised blocks are not supported");
  const origin = input.bits(24);
  const alphabet = readAlphabet(input);
  const symbols = alphabet.length + 2;
  const groups = input.bits(3);
  if (groups < 2 || groups > 6) throw damaged("a block has an impossible number of tables");
  const selectors = readSelectors(input, groups);
  const tables = Array.from({ length: groups }, () => new Codes(readLengths(input, symbols)));
  const end = symbols - 1;
  const block = new Uint8Array(limit);
  const recent = Uint8Array.from(alphabet);
  let length = 0;
  let run = 0;
  let runUnit = 1;
  for (let group = 0; ; group++) {
    const table = tables[selectors[group] ?? -1];
    if (table === undefined) throw damaged("a block has fewer selectors than data");
    for (let index = 0; index < GROUP_LENGTH; index++) {
      const symbol = table.read(input);
      if (symbol <= 1) {
        run += runUnit << symbol;
        runUnit <<= 1;
        if (run > limit) throw damaged("a run is longer than its block");
        continue;
      }
      if (run > 0) {
        if (length + run > limit) throw damaged("a block is longer than it says");
        block.fill(recent[0] ?? 0, length, length + run);
        length += run;
        run = 0;
        runUnit = 1;
      }
      if (symbol === end) return untransformed(block.subarray(0, length), origin);
      const place = symbol - 1;
      const byte = recent[place] ?? 0;
      recent.copyWithin(1, 0, place);
      recent[0] = byte;
      if (length >= limit) throw damaged("a block is longer than it says");
      block[length++] = byte;
    }
  }
}

/** Bytes that occur in the block. */
function readAlphabet(input: Input): number[] {
  const ranges = input.bits(16);
  const alphabet: number[] = [];
  for (let range = 0; range < 16; range++) {
    if ((ranges & (0x8000 >>> range)) === 0) continue;
    const members = input.bits(16);
    for (let member = 0; member < 16; member++)
      if ((members & (0x8000 >>> member)) !== 0) alphabet.push(range * 16 + member);
  }
  if (alphabet.length === 0) throw damaged("a block uses no bytes");
  return alphabet;
}

function readSelectors(input: Input, groups: number): Uint8Array {
  const count = input.bits(15);
  if (count === 0) throw damaged("a block has no selectors");
  const recent = Array.from({ length: groups }, (_, index) => index);
  const selectors = new Uint8Array(Math.min(count, MAX_SELECTORS));
  for (let index = 0; index < count; index++) {
    let place = 0;
    while (input.bits(1) === 1) {
      place += 1;
      if (place >= groups) throw damaged("a selector names no table");
    }
    const [selector = 0] = recent.splice(place, 1);
    recent.unshift(selector);
    if (index < selectors.length) selectors[index] = selector;
  }
  return selectors;
}

function readLengths(input: Input, symbols: number): number[] {
  let length = input.bits(5);
  return Array.from({ length: symbols }, () => {
    for (;;) {
      if (length < 1 || length > MAX_CODE_LENGTH) throw damaged("a code has an impossible length");
      if (input.bits(1) === 0) return length;
      length += input.bits(1) === 0 ? 1 : -1;
    }
  });
}

/** Canonical Huffman codes. */
class Codes {
  /** By length: the largest code, and what to take off a code for its place among the symbols. */
  readonly #largest = new Int32Array(MAX_CODE_LENGTH + 1).fill(-1);
  readonly #offset = new Int32Array(MAX_CODE_LENGTH + 1);
  readonly #symbols: number[];
  readonly #shortest: number;

  constructor(lengths: readonly number[]) {
    const order = lengths.map((length, symbol) => ({ length, symbol }));
    order.sort((a, b) => a.length - b.length || a.symbol - b.symbol);
    this.#symbols = order.map(({ symbol }) => symbol);
    this.#shortest = order[0]?.length ?? 1;
    let code = 0;
    let place = 0;
    for (let length = this.#shortest; length <= MAX_CODE_LENGTH; length++) {
      const count = lengths.filter((each) => each === length).length;
      this.#offset[length] = code - place;
      code += count;
      place += count;
      if (count > 0) this.#largest[length] = code - 1;
      code <<= 1;
    }
  }

  read(input: Input): number {
    let length = this.#shortest;
    let code = input.bits(length);
    for (;;) {
      if (code <= (this.#largest[length] ?? -1)) {
        const symbol = this.#symbols[code - (this.#offset[length] ?? 0)];
        if (symbol !== undefined) return symbol;
      }
      length += 1;
      if (length > MAX_CODE_LENGTH) throw damaged("a code belongs to no symbol");
      code = (code << 1) | input.bits(1);
    }
  }
}

/** The inverse of the Burrows-Wheeler transform. */
function untransformed(block: Uint8Array, origin: number): Uint8Array {
  if (block.length === 0) return block;
  if (origin >= block.length) throw damaged("a block begins outside of itself");
  const starts = new Uint32Array(257);
  for (const byte of block) starts[byte + 1] = (starts[byte + 1] ?? 0) + 1;
  for (let byte = 0; byte < 256; byte++) starts[byte + 1] = (starts[byte + 1] ?? 0) + (starts[byte] ?? 0);
  const next = new Uint32Array(block.length);
  for (const [index, byte] of block.entries()) {
    const place = starts[byte] ?? 0;
    next[place] = index;
    starts[byte] = place + 1;
  }
  const plain = new Uint8Array(block.length);
  let at = next[origin] ?? 0;
  for (let index = 0; index < plain.length; index++) {
    plain[index] = block[at] ?? 0;
    at = next[at] ?? 0;
  }
  return plain;
}

const OUTPUT_LENGTH = 256 * 1024;

/** Four equal bytes are followed by how often the byte comes again. Pieces are handed out as they fill. */
function* withoutRuns(block: Uint8Array, checksum: number): Generator<Uint8Array, void, undefined> {
  let output = new Uint8Array(OUTPUT_LENGTH);
  let length = 0;
  let sum = 0xffffffff;
  let equal = 0;
  let last = -1;
  for (const byte of block) {
    const isCount = equal === 4;
    const times = isCount ? byte : 1;
    const value = isCount ? last : byte;
    if (length + times > output.length) {
      yield output.subarray(0, length);
      output = new Uint8Array(OUTPUT_LENGTH);
      length = 0;
    }
    output.fill(value, length, length + times);
    length += times;
    for (let time = 0; time < times; time++)
      sum = ((sum << 8) ^ (CHECKSUM_TABLE[((sum >>> 24) ^ value) & 0xff] ?? 0)) >>> 0;
    if (isCount) {
      equal = 0;
      last = -1;
    } else {
      equal = byte === last ? equal + 1 : 1;
      last = byte;
    }
  }
  if (~sum >>> 0 !== checksum) throw damaged("the checksum of a block is wrong");
  if (length > 0) yield output.subarray(0, length);
}

/** CRC-32 with the most significant bit first. */
const CHECKSUM_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte << 24;
  for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1;
  return value >>> 0;
});
