import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { IsoNode } from "../src/format/iso9660";
import type { RpmKeys } from "../src/format/rpm";
import { compressionOf, decompress } from "../src/format/stream/decompress";
import { KernelConfiguration } from "./kernel-configuration";
import { type ReadPackage, readPackage } from "./package-files";
import { type Spool, type SpooledFile, spooledFile } from "./spool";

/** Where the kernel comes from. */
export type KernelSource =
  /** A Debian kernel package, `linux-image-VERSION_….deb`. */
  | { kind: "deb"; path: string }
  /** An RPM kernel package, `linux-esx-VERSION.x86_64.rpm`. */
  | { kind: "rpm"; path: string }
  /** A folder with `boot/vmlinuz-VERSION` (or `vmlinuz`) and `lib/modules/VERSION`. */
  | { kind: "directory"; path: string };

export interface Kernel {
  version: string;
  image: SpooledFile;
  /** Loadable modules, not compressed, by their path below `lib/modules/VERSION/`. */
  modules: Map<string, SpooledFile>;
  /** `modules.builtin`: paths of what the kernel itself contains. */
  builtin: string[];
  configuration: KernelConfiguration;
  package?: Pick<ReadPackage, "kind" | "name" | "version" | "architecture" | "sha256" | "signedBy">;
}

/** The largest modules take a few megabytes. */
const MAX_MODULE = 256 * 1024 ** 2;
const MAX_CONFIGURATION = 16 * 1024 ** 2;
const wantedFiles = /^(usr\/)?(boot\/(vmlinuz|config-)|lib\/modules\/)/;

/** @throws Error when the source has no kernel or several, or the kernel lacks something essential */
export async function openKernel(
  source: KernelSource,
  spool: Spool,
  architectures: ReadonlySet<string>,
  rpmKeys?: RpmKeys,
): Promise<Kernel> {
  if (source.kind === "directory") return assemble(await listDirectory(source.path), source.path, spool);
  const read = await readPackage(source.path, {
    spool,
    wanted: (path) => wantedFiles.test(path),
    architectures,
    ...(rpmKeys !== undefined && { rpmKeys }),
  });
  const files = new Map<string, SpooledFile>();
  for (const [path, node] of read.files) {
    const file = spooled(node);
    if (file !== undefined) files.set(path, file);
  }
  const { files: _, ...described } = read;
  return { ...(await assemble(files, source.path, spool)), package: described };
}

function spooled(node: IsoNode): SpooledFile | undefined {
  return node.type === "file" && "file" in node.content ? (node.content as SpooledFile) : undefined;
}

async function listDirectory(root: string): Promise<Map<string, SpooledFile>> {
  const files = new Map<string, SpooledFile>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(root.replace(/\/+$/, "").length + 1), spooledFile(path));
  }
  return files;
}

async function assemble(files: ReadonlyMap<string, SpooledFile>, origin: string, spool: Spool): Promise<Kernel> {
  const images = [...files].filter(([path]) => /^((usr\/)?(boot|lib\/modules\/[^/]+)\/)?vmlinuz(-[^/]+)?$/.test(path));
  const [image] = images;
  if (image === undefined || images.length > 1) {
    throw new Error(
      `${origin} must contain exactly one kernel image named vmlinuz or boot/vmlinuz-VERSION, not ${images.length}`,
    );
  }
  const inModules = /^(?:usr\/)?lib\/modules\/([^/]+)\/(.+)$/;
  const modules = new Map<string, SpooledFile>();
  const versions = new Set<string>();
  let builtin: string[] = [];
  for (const [path, file] of files) {
    const [, version, inside] = inModules.exec(path) ?? [];
    if (version === undefined || inside === undefined) continue;
    versions.add(version);
    if (/\.ko(\.(xz|gz|zst))?$/.test(inside)) {
      modules.set(inside.replace(/\.(xz|gz|zst)$/, ""), await uncompressed(file, inside, spool));
    }
    if (inside === "modules.builtin") builtin = (await Bun.file(file.file).text()).split("\n").filter(Boolean);
  }
  const [version] = versions;
  if (version === undefined || versions.size > 1) {
    throw new Error(`${origin} must contain lib/modules for exactly one kernel version, not ${versions.size}`);
  }
  const config = [...files].find(([path]) =>
    /^((usr\/)?(boot|lib\/modules\/[^/]+)\/)?config(-[^/]+)?$/.test(path),
  )?.[1];
  if (config !== undefined && config.size > MAX_CONFIGURATION)
    throw new Error(`${origin}: the kernel's config is too large`);
  const configuration = new KernelConfiguration(config && (await Bun.file(config.file).text()));
  configuration.requireEssentials();
  return { version, image: image[1], modules, builtin, configuration };
}

/** The medium holds modules plain: the kernel loads them without help, and the medium compresses all alike. */
async function uncompressed(file: SpooledFile, name: string, spool: Spool): Promise<SpooledFile> {
  const compression = compressionOf(name);
  if (compression === "none") return file;
  return spool.keep(decompress(Bun.file(file.file).stream(), compression, MAX_MODULE));
}
