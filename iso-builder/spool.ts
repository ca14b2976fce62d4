import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { IsoContent } from "../src/format/iso9660";

/** A folder that keeps file contents between reading the packages and writing the image, so that memory does not. */
export class Spool {
  #count = 0;

  private constructor(readonly folder: string) {}

  /** Starts empty: what an interrupted build left is removed first. */
  static async create(folder: string): Promise<Spool> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    return new Spool(folder);
  }

  /** Keeps a content. Its place is named by a number: names out of packages never become paths here. */
  async keep(body: AsyncIterable<Uint8Array>): Promise<SpooledFile> {
    const file = join(this.folder, String(this.#count++));
    const writer = Bun.file(file).writer();
    try {
      for await (const chunk of body) {
        writer.write(chunk);
        await writer.flush();
      }
    } finally {
      await writer.end();
    }
    return spooledFile(file);
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Content that lies in a file of this machine. */
export interface SpooledFile extends IsoContent {
  readonly file: string;
}

export function spooledFile(file: string): SpooledFile {
  return { file, size: Bun.file(file).size, stream: () => Bun.file(file).stream() };
}

/** SHA-256 of a content, in hexadecimal. */
export async function sha256(content: Pick<IsoContent, "stream">): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of content.stream()) hash.update(chunk);
  return hash.digest("hex");
}

/** The whole of a content, for what must be in memory: modules, kernels, boot stubs. */
export async function bytesOf(source: Pick<IsoContent, "stream">): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.stream()) chunks.push(new Uint8Array(chunk));
  return Buffer.concat(chunks);
}
