import type { IsoFile, IsoNode } from "../src/format/iso9660";
import type { ReadPackage } from "./package-files";
import type { RootTree } from "./root-tree";

/** Packages that hold the BIOS boot loader. */
export const biosLoaderPackages: ReadonlySet<string> = new Set(["isolinux", "syslinux-common"]);
const loaderFiles: Readonly<Record<string, string>> = {
  "usr/lib/ISOLINUX/isolinux.bin": "isolinux.bin",
  "usr/lib/syslinux/modules/bios/ldlinux.c32": "ldlinux.c32",
};

/**
 * Puts isolinux where it looks for itself, first on the medium.
 * @returns what BIOSes load, or `undefined` when the packages hold no isolinux
 * @throws Error when only a part of it is there
 */
export function addBiosLoader(tree: RootTree, packages: readonly ReadPackage[]): IsoFile | undefined {
  const given = packages.filter(({ name }) => biosLoaderPackages.has(name));
  if (given.length === 0) return undefined;
  const files = new Map<string, IsoNode>(given.flatMap((read) => [...read.files]));
  let loader: IsoFile | undefined;
  for (const [source, target] of Object.entries(loaderFiles)) {
    const file = files.get(source);
    if (file?.type !== "file") {
      throw new Error(
        `the boot loader file ${source} is missing; give the Debian packages isolinux and syslinux-common`,
      );
    }
    tree.add(`isolinux/${target}`, file);
    if (target === "isolinux.bin") loader = file;
  }
  return loader;
}

/** Starts the one kernel without a prompt or a delay. */
export function isolinuxConfiguration(commandLine: string): string {
  return [
    "DEFAULT vch",
    "PROMPT 0",
    "TIMEOUT 0",
    "LABEL vch",
    "  LINUX /isolinux/vmlinuz",
    "  INITRD /isolinux/initrd",
    `  APPEND ${commandLine}`,
    "",
  ].join("\n");
}

/** SHA-256 of isolinux without the table that is filled in on each medium: its bytes 8 to 63. */
export function isolinuxDigest(loader: Uint8Array): string {
  const hash = new Bun.CryptoHasher("sha256").update(loader.subarray(0, 8)).update(loader.subarray(64));
  return hash.digest("hex");
}
