/** Contents of files on their way into layers: one temporary file, read by position. Bounded by the free space of its disk. */
import { randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { EngineError } from "../../errors.ts";
import { SPOOL_CHECK_INTERVAL, SPOOL_LIMIT, SPOOL_RESERVE } from "../limits.ts";

/** A stretch of a spool. */
export interface SpooledContent {
  offset: number;
  length: number;
  /** SHA-256, hexadecimal. */
  digest: string;
}

const READ_LENGTH = 256 * 1024;

export class Spool implements AsyncDisposable {
  #length = 0;
  #checkedAt = -SPOOL_CHECK_INTERVAL;

  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
    private readonly limitBytes: number,
  ) {}

  static async create(directory: string, limitBytes = SPOOL_LIMIT): Promise<Spool> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const path = join(directory, `${randomBytes(12).toString("hex")}.spool`);
    return new Spool(path, await open(path, "wx+", 0o600), limitBytes);
  }

  /** One writer at a time. Throws EngineError when the limit or the disk's space is used up. */
  async write(content: AsyncIterable<Uint8Array>): Promise<SpooledContent> {
    const offset = this.#length;
    const hash = new Bun.CryptoHasher("sha256");
    for await (const bytes of content) {
      await this.#makeRoom(bytes.length);
      hash.update(bytes);
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.handle.write(bytes, done, bytes.length - done, this.#length);
        done += bytesWritten;
        this.#length += bytesWritten;
      }
    }
    return { offset, length: this.#length - offset, digest: hash.digest("hex") };
  }

  async *read({
    offset,
    length,
  }: Pick<SpooledContent, "offset" | "length">): AsyncGenerator<Uint8Array, void, undefined> {
    for (let done = 0; done < length; ) {
      const buffer = new Uint8Array(Math.min(READ_LENGTH, length - done));
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, offset + done);
      if (bytesRead === 0)
        throw new EngineError("internal", "the spooled build context was cut short by somebody else");
      yield buffer.subarray(0, bytesRead);
      done += bytesRead;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close();
    await rm(this.path, { force: true });
  }

  async #makeRoom(bytes: number): Promise<void> {
    if (this.#length + bytes > this.limitBytes)
      throw new EngineError(
        "invalid",
        `the files of the build unpack to more than ${this.limitBytes} bytes: leave out what the build does not need with a .dockerignore file`,
      );
    if (this.#length - this.#checkedAt < SPOOL_CHECK_INTERVAL) return;
    const { bavail, bsize } = await statfs(this.path);
    if (bavail * bsize - SPOOL_RESERVE < SPOOL_CHECK_INTERVAL + bytes)
      throw new EngineError(
        "internal",
        `no space left on the endpoint's disk for the files of the build (${this.path}): free some, or leave out what the build does not need with a .dockerignore file`,
      );
    this.#checkedAt = this.#length;
  }
}
