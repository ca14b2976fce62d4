import { ftruncateSync, writeSync } from "node:fs";

/** Small pieces of a file are joined to writes of this length; runs of zeros of this length become holes. */
const WRITE_LENGTH = 256 * 1024;
const ZEROS = Buffer.alloc(WRITE_LENGTH);

const isZero = (bytes: Uint8Array): boolean =>
  bytes[0] === 0 && Buffer.compare(bytes, ZEROS.subarray(0, bytes.length)) === 0;

/** Writes the content of new files, one after the other, in large writes and with holes. */
export class FileWriter {
  readonly #buffer = Buffer.allocUnsafeSlow(WRITE_LENGTH);
  #fd = -1;
  /** Place in the file of the buffer's first byte, and how much of the buffer is filled. */
  #start = 0;
  #filled = 0;
  /** How long the file is by what was written to it. */
  #length = 0;

  /** `fd` is an empty file and stays the caller's. */
  begin(fd: number): void {
    this.#fd = fd;
    this.#start = 0;
    this.#filled = 0;
    this.#length = 0;
  }

  /** Pieces come in ascending order. The data may be reused by its owner afterwards. */
  add(offset: number, data: Uint8Array): void {
    if (offset !== this.#start + this.#filled) this.#flush(offset);
    for (let done = 0; done < data.length; ) {
      const left = data.length - done;
      if (this.#filled === 0 && left >= WRITE_LENGTH) {
        this.#write(data.subarray(done, done + WRITE_LENGTH), this.#start);
        this.#start += WRITE_LENGTH;
        done += WRITE_LENGTH;
        continue;
      }
      const count = Math.min(left, WRITE_LENGTH - this.#filled);
      this.#buffer.set(data.subarray(done, done + count), this.#filled);
      this.#filled += count;
      done += count;
      if (this.#filled === WRITE_LENGTH) this.#flush(this.#start + WRITE_LENGTH);
    }
  }

  /** Makes the file `size` bytes long, with a hole at the end if need be. */
  finish(size: number): void {
    this.#flush(0);
    if (this.#length < size) ftruncateSync(this.#fd, size);
  }

  #flush(next: number): void {
    if (this.#filled > 0) this.#write(this.#buffer.subarray(0, this.#filled), this.#start);
    this.#start = next;
    this.#filled = 0;
  }

  #write(bytes: Uint8Array, offset: number): void {
    if (bytes.length === WRITE_LENGTH && isZero(bytes)) return;
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#fd, bytes, done, bytes.length - done, offset + done);
    }
    this.#length = offset + bytes.length;
  }
}
