import type { IsoContent } from "../src/format/iso9660";

/** A file's content that stays where it is until the image is written. */
export interface StoredContent extends IsoContent {
  /** SHA-256 in hexadecimal; computed once. */
  digest(): Promise<string>;
  bytes(): Promise<Uint8Array>;
  /** Its first bytes. */
  start(length: number): Promise<Uint8Array>;
}

/** Content that lies in a file of this machine. */
export function fileContent(file: string): StoredContent {
  return blobContent(() => Bun.file(file));
}

function blobContent(open: () => Blob): StoredContent {
  return stored({
    size: open().size,
    stream: () => open().stream(),
    bytes: () => open().bytes(),
    start: (length) => open().slice(0, length).bytes(),
  });
}

/** Content in memory. */
export function memoryContent(bytes: Uint8Array): StoredContent {
  return stored({
    size: bytes.length,
    stream: () => [bytes],
    bytes: async () => bytes,
    start: async (length) => bytes.subarray(0, length),
  });
}

/** Content of a Blob, or of a file by its path. @throws Error naming it when there is no such file */
export async function givenContent(source: string | Blob, what: string): Promise<StoredContent> {
  if (typeof source !== "string") return blobContent(() => source);
  if (!(await Bun.file(source).exists())) throw new Error(`the ${what} ${source} does not exist`);
  return fileContent(source);
}

function stored(content: Omit<StoredContent, "digest">): StoredContent {
  let digest: Promise<string> | undefined;
  return { ...content, digest: () => (digest ??= sha256(content)) };
}

/** SHA-256 of a content, in hexadecimal. */
export async function sha256(content: Pick<IsoContent, "stream">): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of content.stream()) hash.update(chunk);
  return hash.digest("hex");
}

/** SHA-256 of a file's content, taken from where it is known already. */
export function digestOf(content: IsoContent): Promise<string> {
  return "digest" in content ? (content as StoredContent).digest() : sha256(content);
}

/** The whole of a content, for what must be in memory: modules, kernels, boot stubs. */
export async function bytesOf(source: Pick<IsoContent, "stream">): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.stream()) chunks.push(chunk.slice());
  const [only] = chunks;
  return chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks);
}
