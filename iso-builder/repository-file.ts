import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { writeStream } from "./spool";

/** Files of package repositories, on web servers or in folders, checked while they are fetched. */

export interface Checksum {
  /** `sha256`, `sha384` or `sha512`. */
  algorithm: string;
  /** In hexadecimal. */
  value: string;
}

export interface FetchOptions {
  /** The proxy for a URL, where there is one. */
  proxyFor?: (url: URL) => string | undefined;
  /** How often a failure is met by another try. */
  attempts?: number;
}

/** The repository answers, but has no such file. */
export class MissingFile extends Error {}

const REQUEST_TIMEOUT_MS = 10 * 60_000;
/** Mirrors fail for moments. */
const ATTEMPTS = 3;
const PAUSE_MS = 1000;

const algorithms: Readonly<Record<string, Bun.SupportedCryptoAlgorithms>> = {
  sha256: "sha256",
  sha384: "sha384",
  sha512: "sha512",
};

function hasher(algorithm: string): Bun.CryptoHasher {
  const known = algorithms[algorithm];
  if (known === undefined)
    throw new Error(`checksums of the kind "${algorithm}" are too weak; sha256 or better is needed`);
  return new Bun.CryptoHasher(known);
}

/** Whether there is a file at a path, and its content has a checksum. */
export async function fitsChecksum(path: string, { algorithm, value }: Checksum): Promise<boolean> {
  const hash = hasher(algorithm);
  if (!(await Bun.file(path).exists())) return false;
  for await (const chunk of Bun.file(path).stream()) hash.update(chunk);
  return hash.digest("hex") === value.toLowerCase();
}

/** A small file of a repository, with nothing to check it by. @throws MissingFile, or Error when it is too large */
export function fetchSmall(
  base: string,
  relative: string,
  limit: number,
  options: FetchOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  return withAttempts(options, async () => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of await open(base, relative, options)) {
      size += chunk.length;
      if (size > limit) throw new FinalError(`${relative} is larger than ${limit} bytes`);
      chunks.push(chunk.slice());
    }
    return new Uint8Array(Buffer.concat(chunks));
  });
}

/** Copies a file of a repository beside its target, and renames it once size and checksum fit. */
export async function fetchChecked(
  base: string,
  relative: string,
  checksum: Checksum,
  limit: number,
  target: string,
  options: FetchOptions = {},
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  // A name of its own: others may fetch the same.
  const partial = `${target}.${process.pid}-${partials++}.download`;
  const copy = async (): Promise<void> => {
    const hash = hasher(checksum.algorithm);
    const source = await open(base, relative, options);
    async function* checked() {
      let size = 0;
      for await (const chunk of source) {
        size += chunk.length;
        if (size > limit)
          throw new FinalError(`${relative} is larger than the ${limit} bytes that the repository states`);
        hash.update(chunk);
        yield chunk;
      }
    }
    await writeStream(partial, checked());
    if (hash.digest("hex") !== checksum.value.toLowerCase()) {
      throw new FinalError(
        `${relative} does not fit its ${checksum.algorithm} checksum; it is damaged or was tampered with`,
      );
    }
    await rename(partial, target);
  };
  try {
    await withAttempts(options, copy);
  } finally {
    await rm(partial, { force: true });
  }
}

let partials = 0;

/** Trying again would not help. */
class FinalError extends Error {}

async function withAttempts<T>({ attempts = ATTEMPTS }: FetchOptions, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt >= attempts || error instanceof FinalError || error instanceof MissingFile) throw error;
      await Bun.sleep(attempt * PAUSE_MS);
    }
  }
}

/** Opens a file of a repository; its name comes out of metadata, so it must stay inside. */
async function open(base: string, relative: string, { proxyFor }: FetchOptions): Promise<AsyncIterable<Uint8Array>> {
  if (/^https?:/.test(base)) {
    const root = new URL(base.endsWith("/") ? base : `${base}/`);
    const url = new URL(relative, root);
    if (url.origin !== root.origin) throw new FinalError(`${relative} lies on another server`);
    const proxy = proxyFor?.(url);
    const response = await fetch(url, {
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      ...(proxy !== undefined && { proxy }),
    });
    if (response.ok && response.body !== null) return response.body;
    const answer = `${url}: ${response.status} ${response.statusText}`;
    throw response.status === 404 || response.status === 410 ? new MissingFile(answer) : new Error(answer);
  }
  const root = resolve(base.startsWith("file:") ? fileURLToPath(base) : base);
  const path = resolve(root, relative);
  if (!path.startsWith(root.endsWith(sep) ? root : root + sep))
    throw new FinalError(`${relative} lies outside the repository`);
  const file = Bun.file(path);
  if (!(await file.exists())) throw new MissingFile(`${path} does not exist`);
  return file.stream();
}
