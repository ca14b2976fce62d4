import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import {
  compareRpmVersions,
  formatRpmVersion,
  type PrimaryPackage,
  parseRpmVersion,
  type RepositoryFile,
  readPrimary,
  readRepomd,
} from "../src/format/rpm";
import { compressionOf, decompress } from "../src/format/stream/decompress";
import { Spool } from "./spool";

/** A package and the repository that offers it. */
export interface OfferedPackage extends PrimaryPackage {
  repository: string;
}

const REQUEST_TIMEOUT_MS = 10 * 60_000;
const MAX_REPOMD = 1024 ** 2;
const MAX_PRIMARY = 256 * 1024 ** 2;
const MAX_PLAIN_PRIMARY = 2 * 1024 ** 3;
const MAX_PACKAGE = 2 * 1024 ** 3;

/** Package repositories as Photon publishes them (`repodata/repomd.xml`), on web servers or in folders. */
export class RpmRepositories {
  private constructor(readonly packages: readonly OfferedPackage[]) {}

  /**
   * Reads the lists of packages, each checked by its checksum.
   * @param locations `https://…`, `http://…`, `file:///…` or a folder
   * @throws Error that names the repository and what is wrong with it
   */
  static async open(locations: readonly string[], architecture: string, cacheFolder: string): Promise<RpmRepositories> {
    const packages: OfferedPackage[] = [];
    for (const location of locations) {
      try {
        for (const found of await listPackages(location, architecture, cacheFolder)) {
          packages.push({ ...found, repository: location });
        }
      } catch (error) {
        throw new Error(`package repository ${location}: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
    }
    return new RpmRepositories(packages);
  }

  /**
   * The newest package of a name.
   * @param version `VERSION` or `VERSION-RELEASE`, where a certain one is wanted
   * @throws Error when there is none; it says which versions there are
   */
  newest(name: string, version?: string): OfferedPackage {
    const named = this.packages.filter((offered) => offered.name === name);
    const wanted = version === undefined ? undefined : parseRpmVersion(version);
    const fitting = named.filter((offered) => {
      if (wanted === undefined) return true;
      // A version without an epoch means any epoch.
      return compareRpmVersions({ ...offered, epoch: wanted.epoch }, wanted) === 0;
    });
    const newest = fitting.sort(compareRpmVersions).at(-1);
    if (newest !== undefined) return newest;
    const versions = named.sort(compareRpmVersions).slice(-5).map(formatRpmVersion).join(", ");
    throw new Error(
      `the repositories have no package ${name}${version === undefined ? "" : ` ${version}`}` +
        `${versions === "" ? "" : `; the newest versions are ${versions}`}`,
    );
  }

  /** Fetches a package into a folder, checked by size and checksum. What is there already is not fetched again. */
  async fetch(offered: OfferedPackage, folder: string): Promise<string> {
    const name = basename(offered.location);
    if (!/^[\w.+~^-]+\.rpm$/.test(name)) throw new Error(`${JSON.stringify(name)} is not a name for a package file`);
    await mkdir(folder, { recursive: true });
    const path = join(folder, name);
    const limit = Number.isSafeInteger(offered.size) ? Math.min(offered.size, MAX_PACKAGE) : MAX_PACKAGE;
    if (
      (await Bun.file(path).exists()) &&
      (await digestOf(path, offered.checksum.algorithm)) === offered.checksum.value
    ) {
      return path;
    }
    await fetchChecked(offered.repository, offered.location, offered.checksum, limit, path);
    return path;
  }
}

async function listPackages(location: string, architecture: string, cacheFolder: string): Promise<PrimaryPackage[]> {
  const repomd = await open(location, "repodata/repomd.xml");
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of repomd) {
    size += chunk.length;
    if (size > MAX_REPOMD) throw new Error("repomd.xml is larger than 1 MiB");
    chunks.push(new Uint8Array(chunk));
  }
  const primary = readRepomd(Buffer.concat(chunks)).find(({ type }) => type === "primary");
  if (primary === undefined) throw new Error("repomd.xml names no list of packages (primary)");
  await mkdir(cacheFolder, { recursive: true });
  // Read only after the whole of it was found to fit its checksum.
  const file = join(cacheFolder, `primary-${process.pid}-${Bun.hash(location).toString(16)}.partial`);
  try {
    await fetchChecked(location, primary.location, primary.checksum, primary.size ?? MAX_PRIMARY, file);
    const plain = decompress(Bun.file(file).stream(), compressionOf(primary.location), MAX_PLAIN_PRIMARY);
    return await readPrimary(plain, [architecture, "noarch"]);
  } finally {
    await rm(file, { force: true });
  }
}

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

async function digestOf(path: string, algorithm: string): Promise<string> {
  const hash = hasher(algorithm);
  for await (const chunk of Bun.file(path).stream()) hash.update(chunk);
  return hash.digest("hex");
}

/** Copies a file of a repository beside its target, and renames it once size and checksum fit. */
async function fetchChecked(
  base: string,
  relative: string,
  checksum: RepositoryFile["checksum"],
  limit: number,
  target: string,
): Promise<void> {
  const hash = hasher(checksum.algorithm);
  const spool = await Spool.create(`${target}.download`);
  try {
    const source = await open(base, relative);
    let size = 0;
    async function* checked() {
      for await (const chunk of source) {
        size += chunk.length;
        if (size > limit) throw new Error(`${relative} is larger than the ${limit} bytes that the repository states`);
        hash.update(chunk);
        yield chunk;
      }
    }
    const file = await spool.keepFile(checked());
    if (hash.digest("hex") !== checksum.value.toLowerCase()) {
      throw new Error(
        `${relative} does not fit its ${checksum.algorithm} checksum; it is damaged or was tampered with`,
      );
    }
    await rename(file, target);
  } finally {
    await spool.remove();
  }
}

/** Opens a file of a repository; its name comes out of metadata, so it must stay inside. */
async function open(base: string, relative: string): Promise<AsyncIterable<Uint8Array>> {
  if (/^https?:/.test(base)) {
    const root = new URL(base.endsWith("/") ? base : `${base}/`);
    const url = new URL(relative, root);
    if (url.origin !== root.origin) throw new Error(`${relative} lies on another server`);
    const response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    if (!response.ok || response.body === null) throw new Error(`${url}: ${response.status} ${response.statusText}`);
    return response.body;
  }
  const root = resolve(base.startsWith("file:") ? fileURLToPath(base) : base);
  const path = resolve(root, relative);
  if (!path.startsWith(root.endsWith(sep) ? root : root + sep))
    throw new Error(`${relative} lies outside the repository`);
  const file = Bun.file(path);
  if (!(await file.exists())) throw new Error(`${path} does not exist`);
  return file.stream();
}
