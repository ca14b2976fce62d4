import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileContent, memoryContent, type StoredContent } from "./stored-content";

/** Larger contents go to a file. */
const MAX_IN_MEMORY = 16 * 1024 ** 2;
/** What all contents may take in memory: a kernel for virtual machines with its modules takes about 100 MiB. */
const MEMORY = 112 * 1024 ** 2;

/**
 * Keeps file contents between reading the packages and writing the image: in memory as far as there is room, the others in
 * a folder.
 */
export class Spool {
  #count = 0;
  #room = MEMORY;

  private constructor(readonly folder: string) {}

  /** Starts empty: what an interrupted build left is removed first. */
  static async create(folder: string): Promise<Spool> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    return new Spool(folder);
  }

  /** Keeps a content whose size is known. */
  async keep(body: AsyncIterable<Uint8Array>, size: number): Promise<StoredContent> {
    if (!this.#takeRoom(size)) return fileContent(await this.keepFile(body));
    const bytes = new Uint8Array(size);
    let at = 0;
    for await (const chunk of body) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return memoryContent(bytes);
  }

  /** Keeps a content that is in memory already, where it stays if there is room. */
  async keepBytes(bytes: Uint8Array): Promise<StoredContent> {
    if (this.#takeRoom(bytes.length)) return memoryContent(bytes);
    async function* body() {
      yield bytes;
    }
    return fileContent(await this.keepFile(body()));
  }

  #takeRoom(size: number): boolean {
    if (size > MAX_IN_MEMORY || size > this.#room) return false;
    this.#room -= size;
    return true;
  }

  /** Keeps a content in a file. Its place is named by a number: names out of packages never become paths here. */
  async keepFile(body: AsyncIterable<Uint8Array>): Promise<string> {
    const file = join(this.folder, String(this.#count++));
    await writeStream(file, body);
    return file;
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Small pieces are written together. */
const WRITE_SIZE = 1024 ** 2;

/**
 * Writes a new file; the next bytes are made while the last ones are written.
 * @param isStable whether chunks stay as they are when the next one is asked for
 */
export async function writeStream(path: string, body: AsyncIterable<Uint8Array>, isStable = false): Promise<void> {
  const file = await open(path, "w");
  let writing: Promise<unknown> = Promise.resolve();
  try {
    let buffer = Buffer.allocUnsafe(WRITE_SIZE);
    let filled = 0;
    const write = async (bytes: Uint8Array): Promise<void> => {
      await writing;
      writing = file.writeFile(bytes);
      // Its failure is met at the next write or at the end.
      writing.catch(() => undefined);
    };
    for await (const chunk of body) {
      if (filled + chunk.length > WRITE_SIZE && filled > 0) {
        await write(buffer.subarray(0, filled));
        buffer = Buffer.allocUnsafe(WRITE_SIZE);
        filled = 0;
      }
      if (chunk.length >= WRITE_SIZE) {
        await write(chunk);
        if (!isStable) await writing;
      } else {
        buffer.set(chunk, filled);
        filled += chunk.length;
      }
    }
    await write(buffer.subarray(0, filled));
    await writing;
  } finally {
    await writing.catch(() => undefined);
    await file.close();
  }
}
