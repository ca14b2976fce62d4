import { X509Certificate } from "node:crypto";
import { rename, rm } from "node:fs/promises";
import { elfInterpreter } from "../src/format/elf/interpreter";
import { bytesContent, type IsoContent, type IsoFile, type IsoNode, planIso } from "../src/format/iso9660";
import { planSquashfs } from "../src/format/squashfs";
import { factsOf } from "./architecture";
import { addBoot } from "./boot";
import { kernelCommandLine } from "./command-line";
import { chooseCompression } from "./compression";
import { Inflater } from "./inflate";
import { makeInitramfs } from "./initramfs";
import { ModuleIndex, moduleName } from "./kernel-modules";
import { type Kernel, openKernel } from "./kernel-source";
import { digests, MANIFEST_FORMAT, MANIFEST_PATH, type Manifest, MEDIUM_TIME, manifestPackage } from "./manifest";
import { EARLY_MODULE_PARAMETERS, type ModuleSelection, selectModules } from "./module-selection";
import type { BuiltIso, IsoBuildOptions } from "./options";
import { type PackageReading, type ReadPackage, readPackage } from "./package-files";
import { addRoot, leftOut } from "./root";
import { RootTree } from "./root-tree";
import { Spool, writeStream } from "./spool";
import { bytesOf, fileContent, givenContent, memoryContent, type StoredContent } from "./stored-content";

export { type Architecture, parseArchitecture } from "./architecture";
export type { MediumCompression } from "./compression";
export type { KernelSource } from "./kernel-source";
export { MANIFEST_FORMAT, MANIFEST_PATH, type Manifest } from "./manifest";
export type { BuiltIso, IsoBuildOptions } from "./options";

/** Boot programs and modules are held in memory. */
const MAX_KERNEL_IMAGE = 96 * 1024 ** 2;
const MAX_CERTIFICATES = 4 * 1024 ** 2;
const PACKAGES_AT_ONCE = 2;
/** So that some of a large file is written while the next of it is hashed. */
const HASHED_AT_ONCE = 4 * 1024 ** 2;

/**
 * Builds the bootstrap ISO of container VMs. Needs no root and runs no other program; the same inputs give the same
 * bytes. Contents are held in memory up to a limit and in a folder `OUT.build` beyond.
 *
 * @throws Error that names the input which is missing or does not fit
 */
export async function buildIso(options: IsoBuildOptions): Promise<BuiltIso> {
  const spool = await Spool.create(`${options.out}.build`);
  using inflater = new Inflater(await options.xzDecoder?.bytes());
  try {
    return await build(options, { spool, inflate: inflater.decompress });
  } finally {
    await spool.remove();
  }
}

async function build(options: IsoBuildOptions, { spool, inflate }: Reading): Promise<BuiltIso> {
  const log = options.log ?? (() => undefined);
  const machine = factsOf(options.architecture ?? "x86_64");
  const commandLine = kernelCommandLine(machine, options.kernelArguments ?? []);
  log(`reading the kernel from ${options.kernel.path}`);
  const reading: PackageReading = {
    spool,
    inflate,
    wanted: packageFilter(options.timezone),
    architectures: machine.packageNames,
    ...(options.rpmKeys !== undefined && { rpmKeys: options.rpmKeys }),
  };
  // Its digest is computed while threads decompress the kernel.
  const tether = loadTether(options.tether);
  const [kernel, packages] = await allEnded([
    openKernel(options.kernel, reading),
    readPackages(options.packages, reading),
    tether,
  ]);
  if (kernel.image.size > MAX_KERNEL_IMAGE) throw new Error("the kernel image is larger than 96 MiB");
  const squashfs = chooseCompression(options.compression ?? { method: "none" }, kernel.configuration);
  const fileSystem = squashfs === undefined ? "iso9660" : "squashfs";
  const index = await ModuleIndex.of(kernel);
  const selection = selectModules(index, kernel.modules.keys(), {
    machine,
    fileSystem,
    further: options.modules ?? [],
  });
  log(
    `kernel ${kernel.version}: ${selection.early.length} modules early, ${selection.late.length} late, ${selection.kept.length} in all`,
  );

  for (const { name, version, signedBy } of packages)
    log(`package ${name} ${version}${signedBy === undefined ? "" : `, signed by ${signedBy}`}`);
  const root = new RootTree();
  const medium = squashfs === undefined ? root : new RootTree(false);
  const boot = await addBoot(medium, packages, kernel, commandLine, machine, options);
  addRoot(root, packages, timezoneFile(options.timezone, packages));
  await addGuestPrograms(root, await tether, options);
  addModules(root, kernel, index, selection);

  const init = await givenContent(options.init, "init");
  const files = await digests(root, boot.unfinished);
  const manifest: Manifest = {
    format: MANIFEST_FORMAT,
    architecture: machine.name,
    kernel: {
      version: kernel.version,
      commandLine,
      sha256: await kernel.image.digest(),
      ...(kernel.package !== undefined && { package: manifestPackage(kernel.package) }),
    },
    boot: boot.manifest,
    root: { fileSystem, ...squashfs },
    tether: { version: options.tetherVersion ?? "unknown", sha256: files["/usr/sbin/tether"] ?? "" },
    packages: packages.map(manifestPackage),
    modules: { early: selection.early.map(moduleName), late: selection.late.map(moduleName) },
    cdrom: selection.cdrom,
    files,
    init: await init.digest(),
  };
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  root.addText(MANIFEST_PATH, text);
  if (medium !== root) medium.addText(MANIFEST_PATH, text);
  // The manifest knows every input, so its digest identifies the medium.
  const mediumId = new Bun.CryptoHasher("sha256").update(text).digest("hex");
  await boot.finish(await makeFirstStage(kernel, selection, init, mediumId, fileSystem));

  const describe = (systemArea?: () => Uint8Array) =>
    planIso({
      volumeId: "VCH_BOOTSTRAP",
      volumeSetId: mediumId,
      time: MEDIUM_TIME,
      root: medium.root,
      boot: boot.images,
      bootInformation: boot.patched,
      ...(systemArea !== undefined && { systemArea }),
    });
  let image = describe();
  if (squashfs !== undefined) {
    log(`compressing the root file system with ${squashfs.compression}`);
    // Last on the medium: where it begins depends on everything before it, and on nothing of itself.
    const rootFile: IsoFile = { type: "file", mode: 0o644, content: bytesContent(new Uint8Array(0)) };
    medium.add("root.squashfs", rootFile);
    const plan = planSquashfs({ root: root.root, ...squashfs, time: MEDIUM_TIME, base: describe().offsetOf(rootFile) });
    rootFile.content = fileContent(await spool.keepFile(plan.stream()));
    // Its addresses count from the start of the medium, where ISO 9660 leaves room: the kernel mounts either of the two.
    image = describe(() => plan.superblock());
  }
  log(`writing ${options.out}, ${Math.round(image.size / 1_000_000)} MB`);
  const digest = await writeFile(options.out, image.stream());
  return { path: options.out, size: image.size, sha256: digest, kernelVersion: kernel.version };
}

type Reading = Pick<PackageReading, "spool" | "inflate">;

function packageFilter(timezone: string | undefined): (file: string) => boolean {
  const isZone = (file: string): boolean => /^usr\/share\/zoneinfo\//.test(file);
  return (file) => (isZone(file) ? file === `usr/share/zoneinfo/${timezone}` : !leftOut.test(file));
}

/** The results, or the first failure, but not before all have ended: they use what is removed after a failure. */
async function allEnded<T extends readonly unknown[]>(work: T) {
  await Promise.allSettled(work);
  return Promise.all(work);
}

/** The packages ordered by name. */
async function readPackages(paths: readonly string[], reading: PackageReading): Promise<ReadPackage[]> {
  const packages: ReadPackage[] = [];
  const left = [...new Set(paths)].sort();
  const readNext = async (): Promise<void> => {
    for (let path = left.shift(); path !== undefined; path = left.shift())
      packages.push(await readPackage(path, reading));
  };
  await allEnded(Array.from({ length: PACKAGES_AT_ONCE }, readNext));
  return packages.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The tether's content with its digest. */
async function loadTether(source: IsoBuildOptions["tether"]): Promise<StoredContent> {
  const given = await source;
  const content = given instanceof Uint8Array ? memoryContent(given) : await givenContent(given, "tether");
  await content.digest();
  return content;
}

function timezoneFile(timezone: string | undefined, packages: readonly ReadPackage[]): IsoNode | undefined {
  if (timezone === undefined) return undefined;
  if (!/^[A-Za-z0-9+_-]+(\/[A-Za-z0-9+_-]+)*$/.test(timezone))
    throw new Error(`${timezone} is not the name of a time zone`);
  const name = `usr/share/zoneinfo/${timezone}`;
  const found = packages.find(({ files }) => files.has(name));
  if (found === undefined)
    throw new Error(`no package has the time zone ${timezone}; add the package tzdata, or use UTC`);
  return { type: "symlink", target: `/${name}` };
}

async function addGuestPrograms(root: RootTree, tether: StoredContent, options: IsoBuildOptions): Promise<void> {
  root.add("sbin/tether", { type: "file", mode: 0o755, content: tether });
  await requireInterpreter(root, tether);
  root.add("sbin/launcher", { type: "file", mode: 0o755, content: await givenContent(options.launcher, "launcher") });
  for (const file of options.addFiles ?? []) {
    root.add(file.path, {
      type: "file",
      mode: file.mode & 0o777,
      content: await givenContent(file.content, file.path),
    });
  }
  const certificates = await Promise.all((options.caCertificates ?? []).map(readCertificates));
  if (certificates.length > 0) root.addText("etc/ssl/certs/ca-certificates.crt", certificates.flat().join(""));
}

/** The certificates of a PEM file, each checked to be one. */
async function readCertificates(path: string): Promise<string[]> {
  const file = Bun.file(path);
  if (!(await file.exists()) || file.size > MAX_CERTIFICATES)
    throw new Error(`the certificate file ${path} does not exist or is too large`);
  const blocks = (await file.text()).match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error(`${path} holds no certificate in PEM form`);
  return blocks.map((block) => {
    try {
      return new X509Certificate(block).toString();
    } catch (error) {
      throw new Error(`${path} holds something that is not a certificate`, { cause: error });
    }
  });
}

/** The tether is linked to the C library, which comes out of a package. */
async function requireInterpreter(root: RootTree, tether: StoredContent): Promise<void> {
  const interpreter = elfInterpreter(await tether.start(4096));
  if (interpreter === undefined || root.has(interpreter)) return;
  throw new Error(
    `no package brings ${interpreter}, which starts the tether; give the package of the C library (Debian: libc6, Photon: glibc)`,
  );
}

function addModules(root: RootTree, kernel: Kernel, index: ModuleIndex, selection: ModuleSelection): void {
  const folder = `lib/modules/${kernel.version}`;
  for (const path of selection.kept) {
    const module = kernel.modules.get(path);
    if (module !== undefined) root.add(`${folder}/${path}`, { type: "file", mode: 0o644, content: module });
  }
  root.addText(`${folder}/modules.dep`, index.dependencyFile(selection.kept));
  root.addText(`${folder}/modules.alias`, index.aliasFile(selection.kept));
  root.addText(`${folder}/modules.softdep`, index.softDependencyFile(selection.kept));
  root.addText(`${folder}/modules.builtin`, kernel.builtin.map((path) => `${path}\n`).join(""));
  root.addText("modules.late.list", selection.late.map((path) => `/${folder}/${path}\n`).join(""));
}

async function makeFirstStage(
  kernel: Kernel,
  selection: ModuleSelection,
  init: IsoContent,
  mediumId: string,
  fileSystem: Manifest["root"]["fileSystem"],
): Promise<Uint8Array> {
  const modules: { path: string; content: Uint8Array; parameters: string }[] = [];
  for (const path of selection.early) {
    const module = kernel.modules.get(path);
    if (module === undefined) continue;
    modules.push({
      path: `/modules/${path.slice(path.lastIndexOf("/") + 1)}`,
      content: await bytesOf(module),
      parameters: EARLY_MODULE_PARAMETERS,
    });
  }
  const { configuration } = kernel;
  const compression = configuration.has("RD_ZSTD") ? "zstd" : configuration.has("RD_GZIP") ? "gzip" : "none";
  return makeInitramfs({ init: await bytesOf(init), modules, mediumId, fileSystem }, compression);
}

/** Writes beside the target and renames, so that a broken build never looks like a finished one. */
async function writeFile(path: string, stream: AsyncIterable<Uint8Array>): Promise<string> {
  const partial = `${path}.partial`;
  const hash = new Bun.CryptoHasher("sha256");
  async function* hashed() {
    for await (const chunk of stream) {
      for (let at = 0; at < chunk.length; at += HASHED_AT_ONCE) {
        const piece = chunk.subarray(at, at + HASHED_AT_ONCE);
        hash.update(piece);
        yield piece;
      }
    }
  }
  try {
    // Contents in memory and of files stay as they are.
    await writeStream(partial, hashed(), true);
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  return hash.digest("hex");
}
