import { mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { PublicKeys } from "../src/format/openpgp/keys";
import { verifyDetached } from "../src/format/openpgp/signed-text";
import {
  compareRpmVersions,
  formatRpmVersion,
  type PrimaryPackage,
  parseRpmVersion,
  readPrimary,
  readRepomd,
} from "../src/format/rpm";
import { compressionOf, decompress } from "../src/format/stream/decompress";
import { fetchChecked, fetchSmall, fitsChecksum } from "./repository-file";

/** A package and the repository that offers it. */
export interface OfferedPackage extends PrimaryPackage {
  repository: string;
}

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
   * @param keys where given, a signature of `repomd.xml` that is there must be by one of them
   * @throws Error that names the repository and what is wrong with it
   */
  static async open(
    locations: readonly string[],
    architecture: string,
    cacheFolder: string,
    keys?: PublicKeys,
  ): Promise<RpmRepositories> {
    const packages: OfferedPackage[] = [];
    for (const location of locations) {
      try {
        for (const found of await listPackages(location, architecture, cacheFolder, keys)) {
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
    if (await fitsChecksum(path, offered.checksum)) return path;
    await fetchChecked(offered.repository, offered.location, offered.checksum, limit, path);
    return path;
  }
}

/**
 * Checks the signature of the list of lists, where the repository has one; the packages' own are checked in any case.
 * @throws FormatError when none of the keys has signed it
 */
async function verifyRepomd(location: string, repomd: Uint8Array, keys: PublicKeys): Promise<void> {
  const name = "repodata/repomd.xml.asc";
  // Servers have several ways to say that there is none.
  const signature = await fetchSmall(location, name, MAX_REPOMD, { attempts: 1 }).catch(() => undefined);
  if (signature === undefined) return;
  try {
    await verifyDetached(repomd, signature, keys);
  } catch (error) {
    throw new Error(`repomd.xml: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

async function listPackages(
  location: string,
  architecture: string,
  cacheFolder: string,
  keys: PublicKeys | undefined,
): Promise<PrimaryPackage[]> {
  const repomd = await fetchSmall(location, "repodata/repomd.xml", MAX_REPOMD);
  if (keys !== undefined) await verifyRepomd(location, repomd, keys);
  const primary = readRepomd(repomd).find(({ type }) => type === "primary");
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
