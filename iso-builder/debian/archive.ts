import { copyFile, mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { fitsDependency } from "../../src/format/deb/dependency";
import { compressionOf } from "../../src/format/stream/decompress";
import { type ArchitectureFacts, factsOf, type Architecture } from "../architecture";
import { Inflater } from "../inflate";
import { fetchChecked, fitsChecksum } from "../repository-file";
import { AptConfiguration } from "./apt-configuration";
import type { AptSource } from "./apt-sources";
import { type DebianPackage, PackagesIndex } from "./packages-index";
import { distributionPath, readRelease, type Release } from "./release";

export interface ArchiveOptions {
  architecture: Architecture;
  /** Where lists and packages are kept. */
  cacheFolder: string;
  /** Where apt is configured; `/etc/apt` unless given. */
  configurationFolder?: string;
  /** Fetches all lists anew. */
  refresh?: boolean;
  log?: (line: string) => void;
}

/** Lists are asked for anew after this time: packages of a version go away some time after the next one came. */
const LISTS_AGE_MS = 24 * 60 * 60_000;
const KEEP_LISTS_MS = 7 * LISTS_AGE_MS;
const MAX_LIST = 512 * 1024 ** 2;
const MAX_PLAIN_LIST = 2 * 1024 ** 3;
const MAX_PACKAGE = 2 * 1024 ** 3;
const MAX_DEPENDENCIES = 200;
/** Where apt keeps what it fetched. */
const APT_CACHE = "/var/cache/apt/archives";
/** Packages that configure a running system; the image is none. */
const notForImages = /^(debconf|cdebconf|debconf-2\.0|dpkg|perl-base|install-info|init-system-helpers|lsb-base|tar)$/;

/**
 * The package archives that a Debian machine's apt is configured with, read over HTTP by this program: the signature of
 * each distribution's list of lists is checked by apt's keys, each list by its checksum there, each package by its
 * checksum in the list.
 */
export class DebianArchive {
  private constructor(
    private readonly index: PackagesIndex,
    private readonly configuration: AptConfiguration,
    private readonly options: ArchiveOptions,
  ) {}

  /** @throws Error on a machine without sources, or when none of them can be read */
  static async open(options: ArchiveOptions): Promise<DebianArchive> {
    const configuration = await AptConfiguration.read(options.configurationFolder);
    const machine = factsOf(options.architecture);
    const sources = configuration.sources.filter(
      ({ architectures }) => architectures === undefined || architectures.includes(machine.debianName),
    );
    if (sources.length === 0) {
      throw new Error(
        "this machine has no package sources of Debian in /etc/apt; elsewhere pass --kernel and --package with local files",
      );
    }
    await mkdir(join(options.cacheFolder, "lists"), { recursive: true });
    const index = new PackagesIndex(machine.packageNames);
    using inflater = new Inflater();
    const problems: string[] = [];
    for (const source of sources) {
      try {
        await addSource(index, source, { configuration, machine, inflater, options });
      } catch (error) {
        const problem = `${source.uri} ${source.suite}: ${error instanceof Error ? error.message : String(error)}`;
        options.log?.(`the package source ${problem}; it is left out`);
        problems.push(problem);
      }
    }
    await removeOldLists(join(options.cacheFolder, "lists"));
    if (problems.length === sources.length)
      throw new Error(`no package source of this machine can be used: ${problems.join("; ")}`);
    return new DebianArchive(index, configuration, options);
  }

  /** The newest package of a name. @throws Error when there is none */
  newest(name: string): DebianPackage {
    const found = this.index.newest(name);
    if (found === undefined) throw new Error(`the package sources of this machine have no package ${name}`);
    return found;
  }

  /**
   * The packages that packages need, themselves included, ordered by name; without what only a running system needs.
   * @throws Error that names what nobody offers, and who needs it
   */
  withDependencies(names: readonly string[]): DebianPackage[] {
    const chosen = new Map<string, DebianPackage>();
    const queue = names.map((name) => this.newest(name));
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      if (chosen.has(next.name)) continue;
      chosen.set(next.name, next);
      if (chosen.size > MAX_DEPENDENCIES)
        throw new Error(`${names.join(", ")} need more than ${MAX_DEPENDENCIES} packages`);
      for (const alternatives of next.depends) {
        if (alternatives.some(({ name }) => notForImages.test(name))) continue;
        if (alternatives.some((need) => isChosen(chosen, need))) continue;
        const found = alternatives
          .map((need) => this.index.fitting(need, (version) => fitsDependency(version, need)))
          .find((candidate) => candidate !== undefined);
        if (found === undefined)
          throw new Error(
            `no package is ${alternatives.map(({ name }) => name).join(" or ")}, which ${next.name} needs`,
          );
        queue.push(found);
      }
    }
    return [...chosen.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Fetches a package. What is in the cache, or in apt's, is not fetched again. @returns its path */
  async fetch(wanted: DebianPackage): Promise<string> {
    // As apt names files: a colon in a version is escaped.
    const name = `${wanted.name}_${wanted.version.replaceAll(":", "%3a")}_${wanted.architecture}.deb`;
    const path = join(this.options.cacheFolder, name);
    const checksum = { algorithm: "sha256", value: wanted.sha256 };
    if (await fitsChecksum(path, checksum)) return path;
    const ofApt = join(APT_CACHE, name);
    if (await fitsChecksum(ofApt, checksum).catch(() => false)) {
      const partial = `${path}.${process.pid}.partial`;
      await copyFile(ofApt, partial);
      await rename(partial, path);
      return path;
    }
    const { proxyFor } = this.configuration;
    await fetchChecked(wanted.uri, wanted.filename, checksum, Math.min(wanted.size, MAX_PACKAGE), path, { proxyFor });
    return path;
  }
}

function isChosen(chosen: ReadonlyMap<string, DebianPackage>, need: Parameters<typeof fitsDependency>[1]): boolean {
  const found = chosen.get(need.name);
  return found !== undefined && fitsDependency(found.version, need);
}

/** Removes lists that no build has read for some time: each is one of a day. */
async function removeOldLists(folder: string): Promise<void> {
  const oldest = Date.now() - KEEP_LISTS_MS;
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (mtimeMs < oldest) await rm(path, { force: true });
  }
}

interface Adding {
  configuration: AptConfiguration;
  machine: ArchitectureFacts;
  inflater: Inflater;
  options: ArchiveOptions;
}

/** Reads the lists of one source into the index. */
async function addSource(index: PackagesIndex, source: AptSource, adding: Adding): Promise<void> {
  const { configuration, machine, inflater, options } = adding;
  const uri = source.uri.replaceAll("$(ARCH)", machine.debianName);
  if (!/^(https?|file):/.test(uri)) throw new Error("only http, https and file are supported");
  const named = { ...source, uri };
  const lists = join(options.cacheFolder, "lists");
  const kept = join(lists, `${Bun.hash(`${uri} ${source.suite}`).toString(16)}.InRelease`);
  const release = await readRelease(named, configuration, kept, options.refresh === true ? 0 : LISTS_AGE_MS);
  const folders = source.suite.endsWith("/")
    ? [""]
    : source.components.map((component) => `${component}/binary-${machine.debianName}/`);
  for (const folder of folders) {
    const path = await fetchList(named, folder, release, lists, configuration);
    const plain = inflater.decompress(Bun.file(path).stream(), compressionOf(path), MAX_PLAIN_LIST);
    await index.add(plain, uri, release.notAutomatic);
  }
}

/** @returns where the list of packages of a folder is, checked */
async function fetchList(
  source: AptSource,
  folder: string,
  { files, byHash }: Release,
  lists: string,
  { proxyFor }: AptConfiguration,
): Promise<string> {
  const suffix = [".xz", ".gz", ".zst", ".bz2", ""].find((one) => files.has(`${folder}Packages${one}`));
  const listed = suffix === undefined ? undefined : files.get(`${folder}Packages${suffix}`);
  if (listed === undefined) throw new Error(`it has no list of packages ${folder}Packages`);
  const path = join(lists, `${listed.sha256}${suffix}`);
  const checksum = { algorithm: "sha256", value: listed.sha256 };
  if (await fitsChecksum(path, checksum)) {
    await utimes(path, new Date(), new Date());
    return path;
  }
  const name = byHash ? `${folder}by-hash/SHA256/${listed.sha256}` : `${folder}Packages${suffix}`;
  const limit = Math.min(listed.size, MAX_LIST);
  await fetchChecked(source.uri, `${distributionPath(source)}${name}`, checksum, limit, path, { proxyFor });
  return path;
}
