import type { IsoDirectory, IsoFile } from "../src/format/iso9660";
import type { ReadPackage } from "./package-files";
import type { RootTree } from "./root-tree";
import { digestOf } from "./stored-content";

/** Where the image says what it was made of. */
export const MANIFEST_PATH = "/etc/vch/manifest.json";

/** Everything on the medium has this time, so that equal inputs give equal bytes: 2000-01-01T00:00:00Z. */
export const MEDIUM_TIME = 946_684_800;

/** Raised when an image of an earlier version of this program lacks what this one needs to know. */
export const MANIFEST_FORMAT = 2;

/** A package that the image was made of. */
export type ManifestPackage = Pick<ReadPackage, "kind" | "name" | "version" | "architecture" | "sha256" | "signedBy">;

/** What a bootstrap ISO is made of. Its SHA-256 is the medium's id, which the first stage looks for. */
export interface Manifest {
  format: typeof MANIFEST_FORMAT;
  architecture: string;
  kernel: { version: string; commandLine: string; sha256: string; package?: ManifestPackage };
  /** What starts it: isolinux for BIOS, a unified kernel image for UEFI. */
  boot: {
    bios?: { sha256: string };
    efi?: { stubSha256: string /** SHA-256 of the certificate, DER. */; signedBy?: string };
  };
  root: { fileSystem: "iso9660" | "squashfs"; compression?: string; level?: number; blockSize?: number };
  tether: { version: string; sha256: string };
  packages: ManifestPackage[];
  modules: { early: string[]; late: string[] };
  /** CD-ROM controllers that the kernel has drivers for. */
  cdrom: ("ide" | "sata")[];
  /** SHA-256 of every file of the root file system by its path, except this one. */
  files: Record<string, string>;
  /** SHA-256 of the first stage. */
  init: string;
}

/** Those properties of a package that the manifest keeps, in a fixed order. */
export function manifestPackage(read: ManifestPackage): ManifestPackage {
  const { kind, name, version, architecture, sha256, signedBy } = read;
  return { kind, name, version, architecture, sha256, ...(signedBy !== undefined && { signedBy }) };
}

/** SHA-256 of every file of a tree by its path, except those that change until they are on the medium. */
export async function digests(tree: RootTree, except: ReadonlySet<IsoFile>): Promise<Record<string, string>> {
  const files: [string, string][] = [];
  const visit = async (directory: IsoDirectory, path: string): Promise<void> => {
    for (const [name, node] of directory.entries) {
      if (node.type === "directory") await visit(node, `${path}/${name}`);
      if (node.type === "file" && !except.has(node)) files.push([`${path}/${name}`, await digestOf(node.content)]);
    }
  };
  await visit(tree.root, "");
  return Object.fromEntries(files.sort(([a], [b]) => (a < b ? -1 : 1)));
}
