import { type PublicKeys, readPublicKeys } from "../src/format/openpgp/keys";
import { resolveDependencies } from "./rpm-dependencies";
import { RpmRepositories } from "./rpm-repository";

/** A kernel named by a Photon release: `photon:5.0`, `photon:5.0:6.1.81-2.ph5`, `photon:5.0/linux-rt`. */
export interface PhotonKernel {
  release: string;
  /** Name of the kernel's package. */
  flavour: string;
  version?: string;
}

const DEFAULT_FLAVOUR = "linux-esx";
/** Where Broadcom publishes Photon; `$releasever` and `$basearch` as in tdnf's configuration. */
const publicRepositories: readonly string[] = [
  "https://packages.broadcom.com/photon/$releasever/photon_release_$releasever_$basearch",
  "https://packages.broadcom.com/photon/$releasever/photon_updates_$releasever_$basearch",
];
/** What the guest needs besides the kernel: programs that make and check file systems. */
const guestPackages: readonly string[] = ["e2fsprogs"];

/** @returns `undefined` when the text does not start with `photon:` @throws Error when it does and is not valid */
export function parsePhotonKernel(text: string): PhotonKernel | undefined {
  if (!text.startsWith("photon:")) return undefined;
  const [, release, flavour = DEFAULT_FLAVOUR, version] =
    /^photon:(\d+\.\d+)(?:\/([a-z0-9][a-z0-9+.-]*))?(?::([\w.+~^-]+))?$/.exec(text) ?? [];
  if (release === undefined) {
    throw new Error(
      `kernel "${text}": write photon:RELEASE[/PACKAGE][:VERSION], such as photon:5.0 or photon:5.0:6.1.81-2.ph5`,
    );
  }
  return { release, flavour, ...(version !== undefined && { version }) };
}

export interface RpmSources {
  /** Locations of repositories, with `$releasever` and `$basearch` filled in here; Photon's own when there are none. */
  repositories: readonly string[];
  /** Files of OpenPGP public keys that packages must be signed by. */
  keyFiles: readonly string[];
  architecture: "x86_64" | "aarch64";
  /** Where packages are kept. */
  cacheFolder: string;
  log: (line: string) => void;
}

/** Reads key files; `undefined` when there are none, and nothing is to be checked. */
export async function readKeyFiles(files: readonly string[]): Promise<PublicKeys | undefined> {
  if (files.length === 0) return undefined;
  const keys = await Promise.all(
    files.map(async (file) => {
      const source = Bun.file(file);
      if (!(await source.exists())) throw new Error(`the key file ${file} does not exist`);
      return readPublicKeys(await source.bytes());
    }),
  );
  return keys.flat();
}

/** Fetches a kernel, and what the guest needs around it, out of a Photon repository. */
export async function fetchPhoton(
  kernel: PhotonKernel,
  added: readonly string[],
  sources: RpmSources,
): Promise<{ kernel: string; packages: string[] }> {
  const { architecture, cacheFolder, log } = sources;
  const locations = sources.repositories.length > 0 ? sources.repositories : publicRepositories;
  const filled = locations.map((location) =>
    location.replaceAll("$releasever", kernel.release).replaceAll("$basearch", architecture),
  );
  for (const location of filled) log(`reading the package repository ${location}`);
  const repositories = await RpmRepositories.open(
    filled,
    architecture,
    cacheFolder,
    await readKeyFiles(sources.keyFiles),
  );
  const offered = repositories.newest(kernel.flavour, kernel.version);
  log(`kernel package ${offered.name} ${offered.version}-${offered.release}`);
  const needed = resolveDependencies(repositories, [...guestPackages, ...added]);
  const packages: string[] = [];
  for (const one of needed) packages.push(await repositories.fetch(one, cacheFolder));
  return { kernel: await repositories.fetch(offered, cacheFolder), packages };
}

/** Fetches packages and what they need out of RPM repositories, for an image whose kernel comes from elsewhere. */
export async function fetchRpmPackages(names: readonly string[], sources: RpmSources): Promise<string[]> {
  const repositories = await RpmRepositories.open(
    sources.repositories,
    sources.architecture,
    sources.cacheFolder,
    await readKeyFiles(sources.keyFiles),
  );
  const packages: string[] = [];
  for (const one of resolveDependencies(repositories, names)) {
    packages.push(await repositories.fetch(one, sources.cacheFolder));
  }
  return packages;
}
