import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { IsoNode } from "../src/format/iso9660";
import { compressionOf } from "../src/format/stream/decompress";
import { KernelConfiguration } from "./kernel-configuration";
import { type PackageReading, type ReadPackage, readPackage } from "./package-files";
import { fileContent, type StoredContent } from "./stored-content";

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
  image: StoredContent;
  /** Loadable modules, not compressed, by their path below `lib/modules/VERSION/`. */
  modules: Map<string, StoredContent>;
  /** `modules.builtin`: paths of what the kernel itself contains. */
  builtin: string[];
  configuration: KernelConfiguration;
  package?: Pick<ReadPackage, "kind" | "name" | "version" | "architecture" | "sha256" | "signedBy">;
}

/** The largest modules take a few megabytes. */
const MAX_MODULE = 256 * 1024 ** 2;
const MODULES_AT_ONCE = 16;
/** A kernel of a distribution has some thousand modules. */
const MAX_FILES = 100_000;
const MAX_CONFIGURATION = 16 * 1024 ** 2;
const wantedFiles = /^(usr\/)?(boot\/(vmlinuz|config-)|lib\/modules\/)/;

/** @throws Error when the source has no kernel or several, or the kernel lacks something essential */
export async function openKernel(source: KernelSource, reading: Omit<PackageReading, "wanted">): Promise<Kernel> {
  if (source.kind === "directory") return assemble(await listDirectory(source.path), source.path, reading);
  const read = await readPackage(source.path, { ...reading, wanted: (path) => wantedFiles.test(path) });
  const files = new Map<string, StoredContent>();
  for (const [path, node] of read.files) {
    const file = spooled(node);
    if (file !== undefined) files.set(path, file);
  }
  const { files: _, ...described } = read;
  return { ...(await assemble(files, source.path, reading)), package: described };
}

function spooled(node: IsoNode): StoredContent | undefined {
  return node.type === "file" && "digest" in node.content ? (node.content as StoredContent) : undefined;
}

/** Symlinks are not followed: `build` beside the modules leads out of the folder. */
async function listDirectory(root: string): Promise<Map<string, StoredContent>> {
  const files = new Map<string, StoredContent>();
  const visit = async (inside: string): Promise<void> => {
    for (const entry of await readdir(join(root, inside), { withFileTypes: true })) {
      const path = join(inside, entry.name);
      if (entry.isDirectory()) await visit(path);
      else if (entry.isFile()) files.set(path, fileContent(join(root, path)));
      if (files.size > MAX_FILES)
        throw new Error(`${root} holds more than ${MAX_FILES} files; give a folder of the kernel's`);
    }
  };
  await visit("");
  return files;
}

async function assemble(
  files: ReadonlyMap<string, StoredContent>,
  origin: string,
  reading: Omit<PackageReading, "wanted">,
): Promise<Kernel> {
  const images = [...files].filter(([path]) => /^((usr\/)?(boot|lib\/modules\/[^/]+)\/)?vmlinuz(-[^/]+)?$/.test(path));
  const [image] = images;
  if (image === undefined || images.length > 1) {
    throw new Error(
      `${origin} must contain exactly one kernel image named vmlinuz or boot/vmlinuz-VERSION, not ${images.length}`,
    );
  }
  const inModules = /^(?:usr\/)?lib\/modules\/([^/]+)\/(.+)$/;
  const modules = new Map<string, StoredContent>();
  const versions = new Set<string>();
  let builtin: string[] = [];
  for (const [path, file] of files) {
    const [, version, inside] = inModules.exec(path) ?? [];
    if (version === undefined || inside === undefined) continue;
    versions.add(version);
    if (/\.ko(\.(xz|gz|zst))?$/.test(inside)) modules.set(inside, file);
    if (inside === "modules.builtin") builtin = (await textOf(file)).split("\n").filter(Boolean);
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
  const configuration = new KernelConfiguration(config && (await textOf(config)));
  configuration.requireEssentials();
  return { version, image: image[1], modules: await plainModules(modules, reading), builtin, configuration };
}

async function textOf(content: StoredContent): Promise<string> {
  return Buffer.from(await content.bytes()).toString("utf8");
}

/** The medium holds modules plain: the kernel loads them without help, and the medium compresses all alike. */
async function plainModules(
  stored: ReadonlyMap<string, StoredContent>,
  { spool, inflate }: Pick<PackageReading, "spool" | "inflate">,
): Promise<Map<string, StoredContent>> {
  const modules = new Map<string, StoredContent>();
  const plain = async ([path, content]: [string, StoredContent]): Promise<void> => {
    const compression = compressionOf(path);
    const name = path.replace(/\.(xz|gz|zst)$/, "");
    if (compression === "none") {
      modules.set(name, content);
      return;
    }
    const stream = inflate(piecesOf(content), compression, MAX_MODULE);
    modules.set(name, await spool.keepBytes(Buffer.concat(await Array.fromAsync(stream))));
  };
  const all = [...stored];
  while (all.length > 0) await Promise.all(all.splice(0, MODULES_AT_ONCE).map(plain));
  return modules;
}

async function* piecesOf(content: StoredContent): AsyncGenerator<Uint8Array> {
  yield* content.stream();
}
