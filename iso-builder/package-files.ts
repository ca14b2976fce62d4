import type { PublicKeys } from "../src/format/openpgp/keys";
import { type DebControl, readDeb } from "../src/format/deb/reader";
import type { IsoNode } from "../src/format/iso9660";
import { type RpmPackage, readRpm, rpmPackageVersion, verifyRpmSignature } from "../src/format/rpm";
import type { Decompress } from "../src/format/stream/decompress";
import type { Spool } from "./spool";
import { fileContent } from "./stored-content";

/** A package whose files were taken over. */
export interface ReadPackage {
  kind: "deb" | "rpm";
  name: string;
  version: string;
  architecture: string;
  sha256: string;
  /** Fingerprint of the OpenPGP key that signed it, where that was checked. */
  signedBy?: string;
  /** By path without a leading slash; directories are left out. */
  files: Map<string, IsoNode>;
}

export interface PackageReading {
  spool: Spool;
  inflate: Decompress;
  /** Which files to take. */
  wanted: (path: string) => boolean;
  /** Names of the architectures that the package may be for. */
  architectures: ReadonlySet<string>;
  /** Where given, an RPM package must be signed by one of them. */
  rpmKeys?: PublicKeys;
}

const RPM_MAGIC = [0xed, 0xab, 0xee, 0xdb];

/**
 * Takes those files of a Debian or RPM package that are wanted. Further names of a file share its content.
 * @throws Error when the package is missing, damaged, or not signed as it should be
 */
export async function readPackage(path: string, reading: PackageReading): Promise<ReadPackage> {
  const file = Bun.file(path);
  if (!(await file.exists())) throw new Error(`package ${path} does not exist`);
  const start = await file.slice(0, RPM_MAGIC.length).bytes();
  const isRpm = RPM_MAGIC.every((byte, index) => start[index] === byte);
  try {
    const read = isRpm ? await readRpmPackage(path, reading) : await readDebPackage(path, reading);
    return { ...read, sha256: await fileContent(path).digest() };
  } catch (error) {
    throw new Error(`package ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function requireArchitecture({ architecture }: { architecture: string }, fitting: ReadonlySet<string>): void {
  if (!fitting.has(architecture))
    throw new Error(`it is for ${architecture}, but the image is for ${[...fitting].join(", ")}`);
}

type Unhashed = Omit<ReadPackage, "sha256">;

async function readDebPackage(
  path: string,
  { spool, wanted, architectures, inflate }: PackageReading,
): Promise<Unhashed> {
  const files = new Map<string, IsoNode>();
  let control: DebControl | undefined;
  const onControl = (read: DebControl): void => {
    requireArchitecture(read, architectures);
    control = read;
  };
  const entries = readDeb(Bun.file(path).stream(), onControl, inflate);
  for await (const { header, body } of entries) {
    const name = header.name.replace(/^(\.?\/)+/, "").replace(/\/+$/, "");
    if (!wanted(name)) continue;
    if (name.split("/").includes("..")) throw new Error(`it contains the unsafe path ${name}`);
    if (header.type === "symlink") {
      files.set(name, { type: "symlink", target: header.linkName });
    } else if (header.type === "link") {
      const target = files.get(header.linkName.replace(/^(\.?\/)+/, ""));
      if (target === undefined) throw new Error(`${name} links to a file that is not taken`);
      files.set(name, target);
    } else if (header.type === "file") {
      // Set-id bits mean nothing on a medium that is mounted nosuid.
      files.set(name, { type: "file", mode: header.mode & 0o755, content: await spool.keep(body, header.size) });
    }
  }
  if (control === undefined) throw new Error("it has no control data");
  const { package: name, version, architecture } = control;
  return { kind: "deb", name, version, architecture, files };
}

async function readRpmPackage(
  path: string,
  { spool, wanted, architectures, rpmKeys, inflate }: PackageReading,
): Promise<Unhashed> {
  const files = new Map<string, IsoNode>();
  /** Names of files with several names; the last one that comes brings the content. */
  const linked = new Map<number, string[]>();
  let described: RpmPackage | undefined;
  let signedBy: string | undefined;
  const onPackage = async (read: RpmPackage): Promise<void> => {
    requireArchitecture(read, architectures);
    if (read.isSource) throw new Error("it is a source package");
    if (rpmKeys !== undefined) signedBy = await verifyRpmSignature(read, rpmKeys);
    described = read;
  };
  const entries = readRpm(Bun.file(path).stream(), onPackage, inflate);
  for await (const file of entries) {
    if (file.type === "symlink" && wanted(file.path))
      files.set(file.path, { type: "symlink", target: file.target ?? "" });
    if (file.type !== "file") continue;
    const names = file.linkGroup === undefined ? [] : (linked.get(file.linkGroup) ?? []);
    names.push(file.path);
    if (file.linkGroup !== undefined) linked.set(file.linkGroup, names);
    const taken = names.filter(wanted);
    if (taken.length === 0 || (file.linkGroup !== undefined && file.size === 0)) continue;
    const node: IsoNode = { type: "file", mode: file.mode & 0o755, content: await spool.keep(file.body, file.size) };
    for (const name of taken) files.set(name, node);
  }
  if (described === undefined) throw new Error("it has no header");
  const { name, architecture } = described;
  return {
    kind: "rpm",
    name,
    version: rpmPackageVersion(described),
    architecture,
    ...(signedBy !== undefined && { signedBy }),
    files,
  };
}
