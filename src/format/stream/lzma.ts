import { FormatError } from "../format-error";

/** Bytes that decoding one symbol can take from the input at most. */
const MAX_SYMBOL_INPUT = 20;
/** Properties, dictionary size, plain size. */
const HEADER = 13;
/** `xz --format=lzma -9` uses 64 MiB. */
const MAX_DICTIONARY = 128 * 1024 ** 2;
const OUTPUT_CHUNK = 64 * 1024;
const UNKNOWN_SIZE = 0xffff_ffff_ffff_ffffn;
const STATES = 12;
const POSITION_STATES = 16;
const PROBABILITY_INIT = 1024;

/** Trees of probabilities in one array; each constant is where its part begins. */
const IS_MATCH = 0;
const IS_REPEAT = IS_MATCH + STATES * POSITION_STATES;
const IS_REPEAT_0 = IS_REPEAT + STATES;
const IS_REPEAT_1 = IS_REPEAT_0 + STATES;
const IS_REPEAT_2 = IS_REPEAT_1 + STATES;
const IS_REPEAT_0_LONG = IS_REPEAT_2 + STATES;
const DISTANCE_SLOT = IS_REPEAT_0_LONG + STATES * POSITION_STATES;
const DISTANCE_SPECIAL = DISTANCE_SLOT + 4 * 64;
const DISTANCE_ALIGN = DISTANCE_SPECIAL + 128;
const LENGTH_MATCH = DISTANCE_ALIGN + 16;
const LENGTH_CODER = 2 + POSITION_STATES * 8 * 2 + 256;
const LENGTH_REPEAT = LENGTH_MATCH + LENGTH_CODER;
const LITERAL = LENGTH_REPEAT + LENGTH_CODER;

/**
 * Decodes the `.lzma` format ("LZMA alone"), which old RPM and Debian packages use, as a stream.
 * Facts: "LZMA specification (DRAFT version)" of the LZMA SDK.
 * @throws FormatError when the data is damaged, or needs a larger dictionary than 128 MiB
 */
export async function* decompressLzma(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let input: Uint8Array = new Uint8Array(0);
  let ended = false;
  /** Makes sure that `length` bytes can be read, unless the source ends before. */
  const fill = async (from: number, length: number): Promise<void> => {
    input = input.subarray(from);
    while (!ended && input.length < length) {
      const next = await iterator.next();
      if (next.done) ended = true;
      else input = input.length === 0 ? next.value : Buffer.concat([input, next.value]);
    }
  };
  try {
    await fill(0, HEADER + 5);
    const decoder = new LzmaDecoder(input);
    let position = HEADER + 5;
    for (;;) {
      if (input.length - position <= MAX_SYMBOL_INPUT && !ended) {
        await fill(position, OUTPUT_CHUNK);
        position = 0;
      }
      const safe = ended ? input.length : input.length - MAX_SYMBOL_INPUT;
      position = decoder.decode(input, position, safe, ended);
      const output = decoder.take();
      if (output.length > 0) yield output;
      if (decoder.finished) return;
    }
  } finally {
    await iterator.return?.();
  }
}

class LzmaDecoder {
  readonly #dictionary: Uint8Array;
  readonly #dictionarySize: number;
  readonly #probabilities: Uint16Array;
  readonly #literalContext: number;
  readonly #literalPositionMask: number;
  readonly #positionMask: number;
  /** Plain bytes still to come; infinite when only an end marker tells. */
  #left: number;
  #at = 0;
  #taken = 0;
  #total = 0;
  #state = 0;
  #repeats: [number, number, number, number] = [0, 0, 0, 0];
  #range = 0xffff_ffff;
  #code = 0;
  #input: Uint8Array = new Uint8Array(0);
  #position = 0;
  finished = false;

  constructor(header: Uint8Array) {
    if (header.length < HEADER + 5) throw damaged("it is shorter than its header");
    const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
    const properties = header[0] ?? 0;
    if (properties >= 225) throw damaged("its properties are not valid");
    this.#literalContext = properties % 9;
    this.#literalPositionMask = (1 << (Math.floor(properties / 9) % 5)) - 1;
    this.#positionMask = (1 << Math.floor(properties / 45)) - 1;
    const size = view.getBigUint64(5, true);
    this.#left = size === UNKNOWN_SIZE ? Number.POSITIVE_INFINITY : Number(size);
    this.#dictionarySize = Math.max(view.getUint32(1, true), 4096);
    if (this.#dictionarySize > MAX_DICTIONARY) throw damaged("it needs a dictionary of more than 128 MiB");
    // A ring larger than a chunk of output, so that what was not taken yet is never overwritten.
    this.#dictionary = new Uint8Array(this.#dictionarySize + 2 * OUTPUT_CHUNK);
    const literals = 0x300 << (this.#literalContext + (Math.floor(properties / 9) % 5));
    this.#probabilities = new Uint16Array(LITERAL + literals).fill(PROBABILITY_INIT);
    if (header[HEADER] !== 0) throw damaged("its first coded byte is not zero");
    this.#code = view.getUint32(HEADER + 1, false);
    this.finished = this.#left === 0;
  }

  /** Output since the last call. */
  take(): Uint8Array {
    const length = this.#total - this.#taken;
    const ring = this.#dictionary.length;
    const start = (this.#at - length + ring) % ring;
    this.#taken = this.#total;
    if (start + length <= ring) return this.#dictionary.slice(start, start + length);
    return Buffer.concat([this.#dictionary.subarray(start), this.#dictionary.subarray(0, start + length - ring)]);
  }

  /** Decodes symbols until the input is used up to `safe`, a chunk is full, or the end. @returns the new input position */
  decode(input: Uint8Array, position: number, safe: number, ended: boolean): number {
    this.#input = input;
    this.#position = position;
    const full = this.#total + OUTPUT_CHUNK;
    while (!this.finished && this.#total < full) {
      if (this.#position >= safe && !ended) break;
      if (this.#position > input.length + MAX_SYMBOL_INPUT) throw damaged("it ends early");
      this.#symbol();
      if (this.#left <= 0) this.finished = true;
      if (this.#position > input.length) throw damaged("it ends early");
    }
    return this.#position;
  }

  #symbol(): void {
    const positionState = this.#total & this.#positionMask;
    if (this.#bit(IS_MATCH + (this.#state << 4) + positionState) === 0) {
      this.#literal();
      return;
    }
    let length: number;
    if (this.#bit(IS_REPEAT + this.#state) === 0) {
      this.#repeats = [0, this.#repeats[0], this.#repeats[1], this.#repeats[2]];
      length = this.#length(LENGTH_MATCH, positionState);
      this.#state = this.#state < 7 ? 7 : 10;
      const distance = this.#distance(length);
      if (distance === 0xffff_ffff) {
        if (Number.isFinite(this.#left)) throw damaged("it ends before its plain size");
        this.finished = true;
        return;
      }
      this.#repeats[0] = distance;
    } else {
      if (this.#bit(IS_REPEAT_0 + this.#state) === 0) {
        if (this.#bit(IS_REPEAT_0_LONG + (this.#state << 4) + positionState) === 0) {
          this.#state = this.#state < 7 ? 9 : 11;
          this.#copy(1);
          return;
        }
      } else {
        this.#rotateRepeats();
      }
      length = this.#length(LENGTH_REPEAT, positionState);
      this.#state = this.#state < 7 ? 8 : 11;
    }
    this.#copy(length + 2);
  }

  #rotateRepeats(): void {
    const [first, second, third, fourth] = this.#repeats;
    if (this.#bit(IS_REPEAT_1 + this.#state) === 0) this.#repeats = [second, first, third, fourth];
    else if (this.#bit(IS_REPEAT_2 + this.#state) === 0) this.#repeats = [third, first, second, fourth];
    else this.#repeats = [fourth, first, second, third];
  }

  #literal(): void {
    const ring = this.#dictionary.length;
    const previous = this.#total === 0 ? 0 : (this.#dictionary[(this.#at - 1 + ring) % ring] ?? 0);
    const context =
      ((this.#total & this.#literalPositionMask) << this.#literalContext) + (previous >> (8 - this.#literalContext));
    const base = LITERAL + 0x300 * context;
    let symbol = 1;
    if (this.#state >= 7) {
      let match = this.#dictionary[this.#back(this.#repeats[0])] ?? 0;
      do {
        const matchBit = (match >> 7) & 1;
        match <<= 1;
        const bit = this.#bit(base + ((1 + matchBit) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (matchBit !== bit) break;
      } while (symbol < 0x100);
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(base + symbol);
    this.#state = this.#state < 4 ? 0 : this.#state < 10 ? this.#state - 3 : this.#state - 6;
    this.#put(symbol & 0xff);
  }

  #put(byte: number): void {
    this.#dictionary[this.#at] = byte;
    this.#at = this.#at + 1 === this.#dictionary.length ? 0 : this.#at + 1;
    this.#total++;
    this.#left--;
  }

  #back(distance: number): number {
    if (distance >= this.#total || distance >= this.#dictionarySize)
      throw damaged("it refers to data before its start");
    return (this.#at - distance - 1 + this.#dictionary.length) % this.#dictionary.length;
  }

  #copy(length: number): void {
    if (length > this.#left) throw damaged("it is longer than its plain size");
    let from = this.#back(this.#repeats[0]);
    for (let count = 0; count < length; count++) {
      this.#put(this.#dictionary[from] ?? 0);
      from = from + 1 === this.#dictionary.length ? 0 : from + 1;
    }
  }

  #length(coder: number, positionState: number): number {
    if (this.#bit(coder) === 0) return this.#tree(coder + 2 + (positionState << 3), 3);
    if (this.#bit(coder + 1) === 0) return 8 + this.#tree(coder + 2 + 128 + (positionState << 3), 3);
    return 16 + this.#tree(coder + 2 + 256, 8);
  }

  #distance(length: number): number {
    const slot = this.#tree(DISTANCE_SLOT + (Math.min(length, 3) << 6), 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const base = ((2 | (slot & 1)) << bits) >>> 0;
    if (slot < 14) return base + this.#reverseTree(DISTANCE_SPECIAL + base - slot, bits);
    const high = this.#directBits(bits - 4) * 16;
    return (base + high + this.#reverseTree(DISTANCE_ALIGN, 4)) >>> 0;
  }

  #tree(base: number, bits: number): number {
    let symbol = 1;
    for (let count = 0; count < bits; count++) symbol = (symbol << 1) | this.#bit(base + symbol);
    return symbol - (1 << bits);
  }

  #reverseTree(base: number, bits: number): number {
    let symbol = 1;
    let result = 0;
    for (let count = 0; count < bits; count++) {
      const bit = this.#bit(base + symbol);
      symbol = (symbol << 1) | bit;
      result |= bit << count;
    }
    return result;
  }

  #directBits(count: number): number {
    let result = 0;
    for (let index = 0; index < count; index++) {
      this.#range >>>= 1;
      const bit = this.#code >>> 0 >= this.#range ? 1 : 0;
      if (bit === 1) this.#code = (this.#code - this.#range) >>> 0;
      result = result * 2 + bit;
      this.#normalize();
    }
    return result;
  }

  #bit(index: number): 0 | 1 {
    const probability = this.#probabilities[index] ?? 0;
    const bound = (this.#range >>> 11) * probability;
    let bit: 0 | 1;
    if (this.#code >>> 0 < bound) {
      this.#range = bound;
      this.#probabilities[index] = probability + ((2048 - probability) >> 5);
      bit = 0;
    } else {
      this.#range = (this.#range - bound) >>> 0;
      this.#code = (this.#code - bound) >>> 0;
      this.#probabilities[index] = probability - (probability >> 5);
      bit = 1;
    }
    this.#normalize();
    return bit;
  }

  #normalize(): void {
    if (this.#range >= 0x100_0000) return;
    this.#range = (this.#range << 8) >>> 0;
    this.#code = ((this.#code << 8) | (this.#input[this.#position++] ?? 0)) >>> 0;
  }
}

function damaged(why: string): FormatError {
  return new FormatError("lzma", `the data is damaged: ${why}`);
}
