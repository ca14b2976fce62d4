import { compressBlock } from "./compress";
import { METADATA_BLOCK, METADATA_PLAIN, type SquashfsCompression } from "./layout";

/** A table of metadata blocks (inodes, directories, owners) while it grows. */
export class MetadataTable {
  readonly #finished: Uint8Array[] = [];
  #pending: Uint8Array[] = [];
  #pendingLength = 0;
  #length = 0;

  constructor(
    readonly compression: SquashfsCompression,
    readonly level: number,
  ) {}

  /** Where the next record will be: the block's place in the stored table, and the offset in its plain content. */
  get place(): { block: number; offset: number } {
    return { block: this.#length, offset: this.#pendingLength };
  }

  async append(record: Uint8Array): Promise<void> {
    this.#pending.push(record);
    this.#pendingLength += record.length;
    while (this.#pendingLength >= METADATA_BLOCK) {
      const all = Buffer.concat(this.#pending);
      const rest = all.subarray(METADATA_BLOCK);
      await this.#store(all.subarray(0, METADATA_BLOCK));
      this.#pending = [rest];
      this.#pendingLength = rest.length;
    }
  }

  /** The whole table as it is stored. */
  async finish(): Promise<Uint8Array> {
    if (this.#pendingLength > 0) await this.#store(Buffer.concat(this.#pending));
    this.#pending = [];
    this.#pendingLength = 0;
    return Buffer.concat(this.#finished);
  }

  async #store(plain: Uint8Array): Promise<void> {
    const packed = await compressBlock(plain, this.compression, this.level);
    const isSmaller = packed.length < plain.length;
    const content = isSmaller ? packed : plain;
    const header = Uint8Array.of(content.length & 0xff, content.length >> 8);
    if (!isSmaller) header[1] = (header[1] ?? 0) | (METADATA_PLAIN >> 8);
    this.#finished.push(header, new Uint8Array(content));
    this.#length += 2 + content.length;
  }
}
