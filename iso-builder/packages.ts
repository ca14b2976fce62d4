import { join } from "node:path";
import { type Architecture, factsOf } from "./architecture";
import { type ArchiveOptions, DebianArchive } from "./debian/archive";
import type { DebianPackage } from "./debian/packages-index";
import { MissingFile } from "./repository-file";

/** Boot loaders for BIOS and UEFI, and a shell that needs no library: for images of any distribution's packages. */
export const bootPackages = (architecture: Architecture = "x86_64"): string[] => [
  ...(factsOf(architecture).hasBios ? ["isolinux", "syslinux-common"] : []),
  "systemd-boot-efi",
  "busybox-static",
];

/** What the bootstrap ISO is made of on a Debian machine. */
export const defaultPackages = (architecture: Architecture = "x86_64"): string[] => [
  ...bootPackages(architecture),
  "libc6",
  "e2fsprogs",
  "libext2fs2",
  "libcom-err2",
  "libblkid1",
  "libuuid1",
  "libss2",
];

/** Package that always depends on the newest kernel for virtual machines. */
export const defaultKernelPackage = (architecture: Architecture = "x86_64"): string =>
  factsOf(architecture).kernelPackage;

/** A package in the cache. */
export interface FetchedPackage {
  name: string;
  path: string;
  sha256: string;
}

/**
 * Obtains Debian packages from the archives that this machine's apt is configured with, checked by its keys. For building
 * only, never while a VCH runs. Packages that are in the cache in the newest version are not fetched again.
 *
 * A kernel metapackage (`linux-image-cloud-amd64`) is replaced by the kernel it depends on.
 * @throws Error on a machine without package sources, or when a package cannot be had
 */
export async function fetchDebianPackages(
  cacheDirectory: string,
  names: readonly string[],
  architecture: Architecture = "x86_64",
  more: Pick<ArchiveOptions, "configurationFolder" | "log"> = {},
): Promise<FetchedPackage[]> {
  const options = { ...more, architecture, cacheFolder: cacheDirectory };
  const fetchFrom = async (archive: DebianArchive): Promise<FetchedPackage[]> => {
    const fetched: FetchedPackage[] = [];
    for (const name of names) {
      const wanted = withKernel(archive, name);
      fetched.push({ name: wanted.name, path: await archive.fetch(wanted), sha256: wanted.sha256 });
    }
    return fetched;
  };
  let fetched: FetchedPackage[];
  try {
    fetched = await fetchFrom(await DebianArchive.open(options));
  } catch (error) {
    // The lists are older than what the archive still has.
    if (!(error instanceof MissingFile)) throw error;
    fetched = await fetchFrom(await DebianArchive.open({ ...options, refresh: true }));
  }
  await Bun.write(join(cacheDirectory, "packages.json"), `${JSON.stringify(fetched, null, 2)}\n`);
  return fetched;
}

/** The packages that Debian packages need, themselves included, by name. @throws Error when one cannot be had */
export async function debianDependencies(
  cacheDirectory: string,
  names: readonly string[],
  architecture: Architecture = "x86_64",
  more: Pick<ArchiveOptions, "configurationFolder" | "log"> = {},
): Promise<string[]> {
  if (names.length === 0) return [];
  for (const name of names) {
    if (!/^[a-z0-9][a-z0-9.+-]+$/.test(name)) throw new Error(`"${name}" is not the name of a Debian package`);
  }
  const archive = await DebianArchive.open({ ...more, architecture, cacheFolder: cacheDirectory });
  return archive.withDependencies(names).map(({ name }) => name);
}

function withKernel(archive: DebianArchive, name: string): DebianPackage {
  const found = archive.newest(name);
  if (!/^linux-image-[a-z]/.test(name)) return found;
  const kernel = found.depends.flat().find((need) => /^linux-image-[0-9]/.test(need.name));
  if (kernel === undefined) throw new Error(`the package ${name} does not depend on a kernel`);
  return archive.newest(kernel.name);
}
