import { makeFat } from "../src/format/fat/writer";
import { addPeSections, peSection, readPe, type SecureBootSigner, signPe } from "../src/format/pe";
import type { ArchitectureFacts } from "./architecture";
import type { ReadPackage } from "./package-files";
import { bytesOf } from "./stored-content";

/** Packages of which only the boot stub is taken. */
export const efiStubPackages: ReadonlySet<string> = new Set(["systemd-boot-efi"]);
/** The boot image for UEFI: a FAT file system with one program that holds stub, kernel, initramfs and command line. */
export interface EfiImage {
  bytes: Uint8Array;
  /** Where the kernel and the initramfs begin in it, multiples of 2048. */
  kernelOffset: number;
  initrdOffset: number;
}

/** The stub among the packages, or `undefined`. @throws Error when it is not for this architecture */
export async function findEfiStub(
  packages: readonly ReadPackage[],
  { name, efi }: ArchitectureFacts,
): Promise<Uint8Array | undefined> {
  for (const read of packages) {
    for (const [path, node] of read.files) {
      if (!efi.stubFile.test(path) || node.type !== "file") continue;
      const stub = await bytesOf(node.content);
      if (readPe(stub).machine !== efi.machine) throw new Error(`${path} of ${read.name} is not for ${name}`);
      return stub;
    }
  }
  return undefined;
}

/**
 * A unified kernel image on a FAT file system. One signature covers everything that boots, so that with Secure Boot
 * neither kernel, initramfs nor command line can be exchanged.
 * Section names: "UAPI.5 Unified Kernel Image" of the UAPI group.
 */
export function makeEfiImage(
  defaultProgram: string,
  parts: { stub: Uint8Array; kernel: Uint8Array; initrd: Uint8Array; commandLine: string; release: string },
  signer: SecureBootSigner | undefined,
  time: number,
): EfiImage {
  const { image, offsets } = addPeSections(parts.stub, [
    { name: ".osrel", content: Buffer.from(parts.release) },
    { name: ".cmdline", content: Buffer.from(parts.commandLine) },
    { name: ".linux", content: parts.kernel },
    { name: ".initrd", content: parts.initrd },
  ]);
  const program = signer === undefined ? image : signPe(image, signer);
  const fat = makeFat([{ path: defaultProgram, content: program }], 0x5643_4821, time);
  const start = fat.offsetOf(defaultProgram);
  return {
    bytes: fat.bytes,
    kernelOffset: start + (offsets.get(".linux") ?? 0),
    initrdOffset: start + (offsets.get(".initrd") ?? 0),
  };
}

const ownSections = new Set([".osrel", ".cmdline", ".linux", ".initrd"]);

/** SHA-256 of the stub's sections, the same before and after ours were added. */
export function stubDigest(program: Uint8Array): string {
  const hash = new Bun.CryptoHasher("sha256");
  for (const { name } of readPe(program).sections) {
    if (!ownSections.has(name)) hash.update(`${name}\n`).update(peSection(program, name) ?? "");
  }
  return hash.digest("hex");
}

/** What names the image where firmware or tools list it. */
export function osRelease(kernelVersion: string): string {
  return `ID=vch-bootstrap\nNAME="vch bootstrap"\nPRETTY_NAME="vch bootstrap (Linux ${kernelVersion})"\nVERSION_ID=${kernelVersion}\n`;
}
