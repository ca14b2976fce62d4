import { readCpio } from "../src/format/cpio/newc";
import { FormatError } from "../src/format/format-error";
import type { IsoSource } from "../src/format/iso9660";
import { authenticodeDigest, peSection, readPe } from "../src/format/pe";
import { type Compression, decompress } from "../src/format/stream/decompress";
import { isolinuxConfiguration, isolinuxDigest } from "./boot-bios";
import { stubDigest } from "./boot-efi";
import { type OpenedIso, openIso } from "./inspect";
import { MANIFEST_PATH } from "./manifest";
import { bytesOf, sha256 } from "./stored-content";

const MAX_FIRST_STAGE = 256 * 1024 ** 2;
const MAX_EFI_IMAGE = 256 * 1024 ** 2;

/**
 * Compares everything that is on a bootstrap ISO with its manifest: the id, the kernel, the first stage with its modules,
 * the boot loaders, and each file of the root file system.
 * @returns what does not fit, one line each; empty when all does
 * @throws FormatError when the image cannot be read at all
 */
export async function verifyIso(source: IsoSource): Promise<string[]> {
  const iso = await openIso(source);
  const problems: string[] = [];
  if (iso.statedId !== iso.mediumId) problems.push("the medium's id is not the digest of its manifest");
  await verifyFiles(iso, problems);
  await verifyBoot(iso, problems);
  return problems;
}

async function verifyFiles(iso: OpenedIso, problems: string[]): Promise<void> {
  const expected = new Map(Object.entries(iso.manifest.files));
  const unlisted = new Set([MANIFEST_PATH, "/isolinux/initrd", "/isolinux/isolinux.bin", "/boot/efi.img"]);
  for await (const { path, content } of iso.rootFiles()) {
    const wanted = expected.get(path);
    if (wanted === undefined) {
      if (!unlisted.has(path)) problems.push(`${path} is not in the manifest`);
      continue;
    }
    expected.delete(path);
    if ((await sha256({ stream: content })) !== wanted) problems.push(`${path} does not fit its digest`);
  }
  for (const path of expected.keys()) problems.push(`${path} is missing`);
}

async function verifyBoot(iso: OpenedIso, problems: string[]): Promise<void> {
  const { manifest } = iso;
  const bytes = async (path: string): Promise<Uint8Array | undefined> => {
    const entry = iso.medium.get(path);
    if (entry !== undefined && entry.size > MAX_EFI_IMAGE) return undefined;
    return entry && bytesOf({ stream: () => iso.readMedium(entry) });
  };
  const kernel = await bytes("/isolinux/vmlinuz");
  const initrd = await bytes("/isolinux/initrd");
  if (kernel === undefined || digest(kernel) !== manifest.kernel.sha256)
    problems.push("the kernel does not fit its digest");
  if (initrd === undefined) problems.push("the first stage is missing");
  else await verifyFirstStage(initrd, iso, problems);
  const configuration = Buffer.from((await bytes("/isolinux/isolinux.cfg")) ?? []).toString("latin1");
  if (configuration !== isolinuxConfiguration(manifest.kernel.commandLine)) {
    problems.push("isolinux starts something else, or with another command line");
  }
  const { bios, efi } = manifest.boot;
  if (bios !== undefined) {
    const loader = await bytes("/isolinux/isolinux.bin");
    if (loader === undefined || isolinuxDigest(loader) !== bios.sha256)
      problems.push("isolinux does not fit its digest");
  }
  if (efi === undefined) return;
  const image = await bytes("/boot/efi.img");
  const program = image && findProgram(image);
  if (program === undefined) {
    problems.push("the UEFI image holds no program");
    return;
  }
  const same = (name: string, wanted: Uint8Array | undefined): boolean =>
    wanted !== undefined && Buffer.from(peSection(program, name) ?? []).equals(wanted);
  if (!same(".linux", kernel)) problems.push("UEFI starts another kernel");
  if (!same(".initrd", initrd)) problems.push("UEFI starts another first stage");
  if (!same(".cmdline", Buffer.from(manifest.kernel.commandLine))) {
    problems.push("UEFI starts the kernel with another command line");
  }
  if (stubDigest(program) !== efi.stubSha256) problems.push("the UEFI boot stub does not fit its digest");
  const layout = readPe(program);
  if ((efi.signedBy !== undefined) !== layout.certificateSize > 0) {
    problems.push(`the UEFI program is ${layout.certificateSize > 0 ? "" : "not "}signed, unlike the manifest says`);
  } else if (efi.signedBy !== undefined && !signatureCovers(program, layout.certificateOffset)) {
    problems.push("the UEFI program was changed after it was signed");
  }
}

function signatureCovers(program: Uint8Array, certificateOffset: number): boolean {
  const wanted = Buffer.from(authenticodeDigest(program));
  return Buffer.from(program.subarray(certificateOffset)).includes(wanted);
}

/** The program in the FAT image: its only file, contiguous, at a multiple of 2048. */
function findProgram(image: Uint8Array): Uint8Array | undefined {
  for (let at = 0; at + 64 < image.length; at += 512) {
    if (image[at] !== 0x4d || image[at + 1] !== 0x5a) continue;
    const program = image.subarray(at);
    try {
      const { sections, certificateOffset, certificateSize } = readPe(program);
      const end = Math.max(certificateOffset + certificateSize, ...sections.map((s) => s.rawOffset + s.rawSize));
      return program.subarray(0, Math.ceil(end / 8) * 8);
    } catch (error) {
      // The letters may stand anywhere by chance.
      if (!(error instanceof FormatError)) throw error;
    }
  }
  return undefined;
}

async function verifyFirstStage(initrd: Uint8Array, iso: OpenedIso, problems: string[]): Promise<void> {
  const plain = decompress(
    (async function* () {
      yield initrd;
    })(),
    compressionOfStart(initrd),
    MAX_FIRST_STAGE,
  );
  const digests = new Map(
    Object.entries(iso.manifest.files).map(([path, value]) => [path.slice(path.lastIndexOf("/") + 1), value]),
  );
  const seen = new Set<string>();
  for await (const { header, body } of readCpio(plain)) {
    if ((header.mode & 0o170000) !== 0o100000) continue;
    const content = await bytesOf({ stream: () => body });
    const name = header.name;
    seen.add(name);
    if (name === "init" && digest(content) !== iso.manifest.init)
      problems.push("the first stage's program does not fit its digest");
    if (name === "medium.id" && Buffer.from(content).toString().trim() !== iso.mediumId) {
      problems.push("the first stage looks for another medium");
    }
    if (name.startsWith("modules/") && digests.get(name.slice(8)) !== digest(content)) {
      problems.push(`module ${name.slice(8)} of the first stage does not fit its digest`);
    }
    const known = /^(init|medium\.id|medium\.type|modules\.list|modules\/[^/]+)$/;
    if (!known.test(name)) problems.push(`the first stage has the unknown file ${name}`);
  }
  for (const name of ["init", "medium.id", "modules.list"]) {
    if (!seen.has(name)) problems.push(`the first stage has no ${name}`);
  }
}

function compressionOfStart(bytes: Uint8Array): Compression {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return "gzip";
  return bytes[0] === 0x28 && bytes[1] === 0xb5 ? "zstd" : "none";
}

function digest(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}
