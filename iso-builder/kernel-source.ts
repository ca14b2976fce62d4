import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { IsoNode } from "../src/format/iso9660";
import { readPackage } from "./package-files";
import { type Spool, type SpooledFile, spooledFile } from "./spool";

/** Where the kernel comes from. */
export type KernelSource =
  /** A Debian kernel package, `linux-image-VERSION_….deb`. */
  | { kind: "deb"; path: string }
  /** A folder with `boot/vmlinuz-VERSION` (or `vmlinuz`) and `lib/modules/VERSION`. */
  | { kind: "directory"; path: string };

export interface Kernel {
  version: string;
  image: SpooledFile;
  /** Loadable modules by their path below `lib/modules/VERSION/`. */
  modules: Map<string, SpooledFile>;
  /** `modules.builtin`: paths of what the kernel itself contains. */
  builtin: string[];
  /** Whether its configuration, where the source has it, says that it unpacks a zstd initramfs. */
  unpacksZstd: boolean;
  package?: { name: string; version: string; sha256: string };
}

/** @throws Error when the source has no kernel, several, or compressed modules */
export async function openKernel(source: KernelSource, spool: Spool): Promise<Kernel> {
  if (source.kind === "directory") return assemble(await listDirectory(source.path), source.path);
  const read = await readPackage(source.path, spool, (path) =>
    /^(usr\/)?(boot\/(vmlinuz|config-)|lib\/modules\/)/.test(path),
  );
  const files = new Map<string, SpooledFile>();
  for (const [path, node] of read.files) {
    const file = spooled(node);
    if (file !== undefined) files.set(path, file);
  }
  return {
    ...(await assemble(files, source.path)),
    package: { name: read.name, version: read.version, sha256: read.sha256 },
  };
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

async function assemble(files: ReadonlyMap<string, SpooledFile>, origin: string): Promise<Kernel> {
  const images = [...files].filter(([path]) => /^((usr\/)?boot\/)?vmlinuz(-[^/]+)?$/.test(path));
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
    if (/\.ko\.(xz|gz|zst)$/.test(inside)) {
      throw new Error(
        `${origin} has compressed modules (${inside}), which are not supported; unpack them to .ko first`,
      );
    }
    if (inside.endsWith(".ko")) modules.set(inside, file);
    if (inside === "modules.builtin") builtin = (await Bun.file(file.file).text()).split("\n").filter(Boolean);
  }
  const [version] = versions;
  if (version === undefined || versions.size > 1) {
    throw new Error(`${origin} must contain lib/modules for exactly one kernel version, not ${versions.size}`);
  }
  const config = [...files].find(([path]) => /^((usr\/)?boot\/)?config(-[^/]+)?$/.test(path))?.[1];
  const unpacksZstd = config !== undefined && /^CONFIG_RD_ZSTD=y$/m.test(await Bun.file(config.file).text());
  return { version, image: image[1], modules, builtin, unpacksZstd };
}
