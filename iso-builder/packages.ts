import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Apt } from "./apt";
import { type Architecture, type ArchitectureFacts, factsOf } from "./architecture";
import { fileContent } from "./stored-content";

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
 * Obtains Debian packages with `apt-get download`, which checks their signatures. For building only, never while a VCH
 * runs. Packages that are in the cache in the version that apt would fetch are not fetched again.
 *
 * A kernel metapackage (`linux-image-cloud-amd64`) is replaced by the kernel it depends on.
 * @throws Error on a machine without apt, or when a package cannot be had
 */
export async function fetchDebianPackages(
  cacheDirectory: string,
  names: readonly string[],
  architecture: Architecture = "x86_64",
): Promise<FetchedPackage[]> {
  if (Bun.which("apt-get") === null || Bun.which("apt-cache") === null) {
    throw new Error(
      "packages can be fetched on Debian machines only; elsewhere pass --kernel and --package with local files",
    );
  }
  await mkdir(cacheDirectory, { recursive: true });
  const apt = await Apt.of(architecture, cacheDirectory);
  const fetched: FetchedPackage[] = [];
  for (const name of names) {
    const resolved = /^linux-image-[a-z]/.test(name) ? await kernelBehind(apt, name) : name;
    const path = await fetchOne(apt, cacheDirectory, resolved);
    fetched.push({ name: resolved, path, sha256: await fileContent(path).digest() });
  }
  await Bun.write(join(cacheDirectory, "packages.json"), `${JSON.stringify(fetched, null, 2)}\n`);
  return fetched;
}

/** Packages that configure a running system; the image is none. */
const notForImages = /^(debconf|cdebconf|debconf-2\.0|dpkg|perl-base|install-info|init-system-helpers|lsb-base|tar)$/;
const MAX_DEPENDENCIES = 200;

/** The packages that Debian packages need, themselves included, by name. @throws Error on a machine without apt */
export async function debianDependencies(
  cacheDirectory: string,
  names: readonly string[],
  architecture: Architecture = "x86_64",
): Promise<string[]> {
  if (names.length === 0) return [];
  for (const name of names) {
    if (!/^[a-z0-9][a-z0-9.+-]+$/.test(name)) throw new Error(`"${name}" is not the name of a Debian package`);
  }
  const kinds = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
  const apt = await Apt.of(architecture, cacheDirectory);
  const text = await apt.cache(["depends", "--recurse", ...kinds.map((kind) => `--no-${kind}`), ...names]);
  const found = text
    .split("\n")
    .filter((line) => /^[a-z0-9][a-z0-9.+-]+(:\w+)?$/.test(line) && !line.endsWith(":i386"));
  const needed = [...new Set([...names, ...found])].filter((name) => !notForImages.test(name) && !name.includes(":"));
  if (needed.length > MAX_DEPENDENCIES)
    throw new Error(`${names.join(", ")} need more than ${MAX_DEPENDENCIES} packages`);
  return needed;
}

async function kernelBehind(apt: Apt, metapackage: string): Promise<string> {
  const text = await apt.cache(["depends", "--important", metapackage]);
  const kernel = /Depends:\s+(linux-image-[0-9]\S*)/.exec(text)?.[1];
  if (kernel === undefined)
    throw new Error(`the package ${metapackage} does not depend on a kernel; run apt-get update and try again`);
  return kernel;
}

async function fetchOne(apt: Apt, cacheDirectory: string, name: string): Promise<string> {
  const version = /^Version: (\S+)$/m.exec(await apt.cache(["show", "--no-all-versions", name]))?.[1];
  if (version === undefined) throw new Error(`apt knows no package ${name}; run apt-get update and try again`);
  // As apt names files: a colon in a version is escaped.
  const prefix = `${name}_${version.replaceAll(":", "%3a")}_`;
  const cached = await find(cacheDirectory, prefix, apt.architecture);
  if (cached !== undefined) return cached;
  // In a folder of its own, so that an interrupted download is never taken for a package.
  const folder = join(cacheDirectory, `${name}.download`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  try {
    const file = await apt.download(name, version, folder);
    await rename(join(folder, file), join(cacheDirectory, file));
    return join(cacheDirectory, file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function find(folder: string, prefix: string, { debianName }: ArchitectureFacts): Promise<string | undefined> {
  const file = (await readdir(folder)).find(
    (entry) => entry.startsWith(prefix) && (entry.endsWith(`_${debianName}.deb`) || entry.endsWith("_all.deb")),
  );
  return file === undefined ? undefined : join(folder, file);
}
