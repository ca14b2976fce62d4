import { rename, rm } from "node:fs/promises";
import { bytesContent, type IsoContent, type IsoFile, planIso } from "../src/format/iso9660";
import { kernelCommandLine } from "./command-line";
import { makeInitramfs } from "./initramfs";
import { ModuleIndex, moduleName } from "./kernel-modules";
import { type KernelSource, openKernel } from "./kernel-source";
import { EARLY_MODULE_PARAMETERS, selectModules } from "./module-selection";
import { type ReadPackage, readPackage } from "./package-files";
import { RootTree } from "./root-tree";
import { Spool, sha256 } from "./spool";

export type { KernelSource } from "./kernel-source";

export interface IsoBuildOptions {
  kernel: KernelSource;
  /** Debian packages by path: isolinux and syslinux-common for booting, the others are unpacked into the image. */
  packages: string[];
  /** The program that becomes `/sbin/tether`. */
  tether: string | Blob;
  /** The static program that becomes `/sbin/launcher`. */
  launcher: string | Blob;
  /** The compiled `init/init.c` for the architecture. */
  init: string | Blob;
  /** Where the image is to be; it appears there only when it is complete. */
  out: string;
  /** Further kernel arguments, after the default ones. */
  kernelArguments?: string[];
  /** Further files for the image by their path in it. */
  addFiles?: { path: string; content: string | Blob; mode: number }[];
  architecture?: "x86_64";
  log?: (line: string) => void;
}

export interface BuiltIso {
  path: string;
  size: number;
  sha256: string;
  kernelVersion: string;
}

/** Where the image says what it was made of. */
export const MANIFEST_PATH = "/etc/vch/manifest.json";

/** Everything on the medium has this time, so that equal inputs give equal bytes: 2000-01-01T00:00:00Z. */
const MEDIUM_TIME = 946_684_800;
const LOADER_PACKAGES = new Set(["isolinux", "syslinux-common"]);
const LOADER_FILES: Readonly<Record<string, string>> = {
  "usr/lib/ISOLINUX/isolinux.bin": "isolinux.bin",
  "usr/lib/syslinux/modules/bios/ldlinux.c32": "ldlinux.c32",
};
/** What packages carry for people, for other languages, or for building software. */
const leftOut =
  /^usr\/(share\/(doc|man|locale|info|lintian|bug|doc-base|initramfs-tools)|lib\/[^/]+\/(gconv|audit))\/|^(usr\/)?lib\/(systemd|udev)\/|^(usr\/lib|lib)\/[^/]+\/gconv\//;
const busyboxCommands = [
  "bin/sh",
  "bin/mount",
  "bin/umount",
  "bin/ip",
  "bin/dmesg",
  "bin/ls",
  "bin/cat",
  "bin/ps",
  "sbin/modprobe",
  "sbin/insmod",
  "sbin/poweroff",
];

/**
 * Builds the bootstrap ISO of container VMs. Needs no root and runs no other program; the same inputs give the same
 * bytes. Large files are streamed from disk to disk; a folder `OUT.build` holds them in between.
 *
 * @throws Error that names the input which is missing or does not fit
 */
export async function buildIso(options: IsoBuildOptions): Promise<BuiltIso> {
  if ((options.architecture ?? "x86_64") !== "x86_64") {
    throw new Error(`images for ${options.architecture} cannot be built yet; use x86_64`);
  }
  const spool = await Spool.create(`${options.out}.build`);
  try {
    return await build(options, spool);
  } finally {
    await spool.remove();
  }
}

async function build(options: IsoBuildOptions, spool: Spool): Promise<BuiltIso> {
  const log = options.log ?? (() => undefined);
  const commandLine = kernelCommandLine(options.kernelArguments ?? []);
  log(`reading the kernel from ${options.kernel.path}`);
  const kernel = await openKernel(options.kernel, spool);
  const index = await ModuleIndex.of(kernel);
  const selection = selectModules(index, kernel.modules.keys());
  log(
    `kernel ${kernel.version}: ${selection.early.length} modules early, ${selection.late.length} late, ${selection.kept.length} in all`,
  );

  const packages = await readPackages(options.packages, spool, log);
  const tree = new RootTree();
  const loader = addLoader(tree, packages);
  const initramfs = placeholder();
  const boot = tree.directory("isolinux");
  boot.entries.set("isolinux.cfg", textFile(loaderConfiguration(commandLine)));
  boot.entries.set("vmlinuz", { type: "file", mode: 0o644, content: kernel.image });
  boot.entries.set("initrd", initramfs);

  addRoot(tree, packages);
  const tether = await content(options.tether, "tether");
  const launcher = await content(options.launcher, "launcher");
  tree.add("sbin/tether", { type: "file", mode: 0o755, content: tether });
  tree.add("sbin/launcher", { type: "file", mode: 0o755, content: launcher });
  for (const file of options.addFiles ?? []) {
    tree.add(file.path, { type: "file", mode: file.mode & 0o777, content: await content(file.content, file.path) });
  }

  const modulesFolder = `lib/modules/${kernel.version}`;
  for (const path of selection.kept) {
    const module = kernel.modules.get(path);
    if (module !== undefined) tree.add(`${modulesFolder}/${path}`, { type: "file", mode: 0o644, content: module });
  }
  tree.addText(`${modulesFolder}/modules.dep`, index.dependencyFile(selection.kept));
  tree.addText(`${modulesFolder}/modules.alias`, index.aliasFile(selection.kept));
  tree.addText(`${modulesFolder}/modules.softdep`, index.softDependencyFile(selection.kept));
  tree.addText(`${modulesFolder}/modules.builtin`, kernel.builtin.map((path) => `${path}\n`).join(""));
  tree.addText("modules.late.list", selection.late.map((path) => `/${modulesFolder}/${path}\n`).join(""));

  const init = await content(options.init, "init");
  const manifest = {
    format: 1,
    architecture: "x86_64",
    kernel: { version: kernel.version, commandLine, sha256: await sha256(kernel.image), package: kernel.package },
    packages: packages.map(({ name, version, architecture, sha256 }) => ({ name, version, architecture, sha256 })),
    modules: { early: selection.early.map(moduleName), late: selection.late.map(moduleName) },
    files: await digests(tree, new Set([initramfs, loader])),
    init: await sha256(init),
  };
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  tree.addText(MANIFEST_PATH, text);
  // The manifest knows every input, so its digest identifies the medium.
  const mediumId = new Bun.CryptoHasher("sha256").update(text).digest("hex");
  const early = selection.early.map(async (path) => ({
    path: `/modules/${path.slice(path.lastIndexOf("/") + 1)}`,
    content: await bytesOf(kernel.modules.get(path)),
    parameters: EARLY_MODULE_PARAMETERS,
  }));
  const stage = { init: await bytesOf(init), modules: await Promise.all(early), mediumId };
  initramfs.content = bytesContent(makeInitramfs(stage, kernel.unpacksZstd ? "zstd" : "none"));

  const image = planIso({
    volumeId: "VCH_BOOTSTRAP",
    volumeSetId: mediumId,
    time: MEDIUM_TIME,
    root: tree.root,
    boot: [{ platform: "bios", file: loader, loadSectors: 4 }],
    bootInformation: [loader],
  });
  log(`writing ${options.out}, ${Math.round(image.size / 1_000_000)} MB`);
  const digest = await writeFile(options.out, image.stream());
  return { path: options.out, size: image.size, sha256: digest, kernelVersion: kernel.version };
}

async function readPackages(
  paths: readonly string[],
  spool: Spool,
  log: (line: string) => void,
): Promise<ReadPackage[]> {
  const packages: ReadPackage[] = [];
  for (const path of [...paths].sort()) {
    const read = await readPackage(path, spool, (file) => !leftOut.test(file));
    if (read.architecture !== "amd64" && read.architecture !== "all") {
      throw new Error(`package ${path} is for ${read.architecture}, but the image is for x86_64 (amd64)`);
    }
    log(`package ${read.name} ${read.version}`);
    packages.push(read);
  }
  return packages.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Puts the boot loader where it looks for itself, first on the medium. */
function addLoader(tree: RootTree, packages: readonly ReadPackage[]): IsoFile {
  const files = new Map(packages.flatMap((read) => (LOADER_PACKAGES.has(read.name) ? [...read.files] : [])));
  let loader: IsoFile | undefined;
  for (const [source, target] of Object.entries(LOADER_FILES)) {
    const file = files.get(source);
    if (file?.type !== "file") {
      throw new Error(
        `the boot loader file ${source} is missing; give the Debian packages isolinux and syslinux-common`,
      );
    }
    tree.add(`isolinux/${target}`, file);
    if (target === "isolinux.bin") loader = file;
  }
  if (loader === undefined) throw new Error("the boot loader has no boot image");
  return loader;
}

/** Starts the one kernel without a prompt or a delay. */
function loaderConfiguration(commandLine: string): string {
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

/** The packages' files, mount points, and the few files that programs expect. */
function addRoot(tree: RootTree, packages: readonly ReadPackage[]): void {
  for (const path of ["dev", "proc", "sys", "run", "mnt", "root", "var"]) tree.directory(path);
  tree.directory("tmp", 0o1777);
  tree.add("var/tmp", { type: "symlink", target: "/tmp" });
  tree.add("var/run", { type: "symlink", target: "/run" });
  for (const read of packages) {
    if (LOADER_PACKAGES.has(read.name)) continue;
    for (const [path, node] of read.files) tree.add(path, node);
    if (!read.files.has("bin/busybox") && !read.files.has("usr/bin/busybox")) continue;
    for (const command of busyboxCommands) tree.add(command, { type: "symlink", target: "/bin/busybox" });
  }
  tree.addText("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
  tree.addText("etc/group", "root:x:0:\n");
  tree.addText("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
  tree.addText("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
  tree.add("etc/mtab", { type: "symlink", target: "/proc/mounts" });
  tree.add("etc/resolv.conf", { type: "symlink", target: "/run/resolv.conf" });
}

/** SHA-256 of every file of the tree by its path, except those that change until they are on the medium. */
async function digests(tree: RootTree, except: ReadonlySet<IsoFile>): Promise<Record<string, string>> {
  const files: [string, string][] = [];
  const visit = async (directory: typeof tree.root, path: string): Promise<void> => {
    for (const [name, node] of directory.entries) {
      if (node.type === "directory") await visit(node, `${path}/${name}`);
      if (node.type === "file" && !except.has(node)) files.push([`${path}/${name}`, await sha256(node.content)]);
    }
  };
  await visit(tree.root, "");
  return Object.fromEntries(files.sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function content(source: string | Blob, what: string): Promise<IsoContent> {
  if (typeof source !== "string") return { size: source.size, stream: () => source.stream() };
  const file = Bun.file(source);
  if (!(await file.exists())) throw new Error(`the ${what} ${source} does not exist`);
  return { size: file.size, stream: () => Bun.file(source).stream() };
}

function textFile(text: string): IsoFile {
  return { type: "file", mode: 0o644, content: bytesContent(Buffer.from(text)) };
}

function placeholder(): IsoFile {
  return textFile("");
}

async function bytesOf(source: IsoContent | undefined): Promise<Uint8Array> {
  if (source === undefined) return new Uint8Array(0);
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.stream()) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

/** Writes beside the target and renames, so that a broken build never looks like a finished one. */
async function writeFile(path: string, stream: AsyncIterable<Uint8Array>): Promise<string> {
  const partial = `${path}.partial`;
  const hash = new Bun.CryptoHasher("sha256");
  const writer = Bun.file(partial).writer({ highWaterMark: 1024 * 1024 });
  try {
    for await (const chunk of stream) {
      hash.update(chunk);
      writer.write(chunk);
      await writer.flush();
    }
    await writer.end();
    await rename(partial, path);
  } catch (error) {
    await writer.end();
    await rm(partial, { force: true });
    throw error;
  }
  return hash.digest("hex");
}
