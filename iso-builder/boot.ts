import { X509Certificate } from "node:crypto";
import { bytesContent, type IsoFile } from "../src/format/iso9660";
import type { ArchitectureFacts } from "./architecture";
import { addBiosLoader, isolinuxConfiguration, isolinuxDigest } from "./boot-bios";
import { type EfiImage, findEfiStub, makeEfiImage, osRelease, stubDigest } from "./boot-efi";
import type { Kernel } from "./kernel-source";
import { type Manifest, MEDIUM_TIME } from "./manifest";
import type { IsoBuildOptions } from "./options";
import type { ReadPackage } from "./package-files";
import type { RootTree } from "./root-tree";
import { bytesOf } from "./stored-content";

/** What the firmware starts, and what of it can be finished only when the manifest is known. */
export async function addBoot(
  medium: RootTree,
  packages: readonly ReadPackage[],
  kernel: Kernel,
  commandLine: string,
  machine: ArchitectureFacts,
  { secureBoot }: IsoBuildOptions,
) {
  const bios = machine.hasBios ? addBiosLoader(medium, packages) : undefined;
  const stub = await findEfiStub(packages, machine);
  if (bios === undefined && stub === undefined) {
    throw new Error(
      `there is no boot loader; give the Debian package systemd-boot-efi for UEFI${machine.hasBios ? ", or isolinux and syslinux-common for BIOS" : ""}`,
    );
  }
  if (stub !== undefined && kernel.configuration.isKnown && !kernel.configuration.has("EFI_STUB")) {
    throw new Error(
      "the kernel lacks CONFIG_EFI_STUB=y, without which UEFI cannot start it; use another kernel, or leave the package systemd-boot-efi out for an image that BIOSes start",
    );
  }
  if (secureBoot !== undefined && stub === undefined) {
    throw new Error("signing for Secure Boot needs the UEFI boot stub; give the package systemd-boot-efi");
  }
  const folder = medium.directory("isolinux");
  const configuration = bytesContent(Buffer.from(isolinuxConfiguration(commandLine)));
  folder.entries.set("isolinux.cfg", { type: "file", mode: 0o644, content: configuration });
  const vmlinuz: IsoFile = { type: "file", mode: 0o644, content: kernel.image };
  const initrd: IsoFile = { type: "file", mode: 0o644, content: bytesContent(new Uint8Array(0)) };
  folder.entries.set("vmlinuz", vmlinuz);
  folder.entries.set("initrd", initrd);
  const efi: IsoFile | undefined = stub && { type: "file", mode: 0o644, content: bytesContent(new Uint8Array(0)) };
  if (efi !== undefined) medium.add("boot/efi.img", efi);
  const manifest: Manifest["boot"] = {
    ...(bios !== undefined && { bios: { sha256: isolinuxDigest(await bytesOf(bios.content)) } }),
    ...(stub !== undefined && {
      efi: {
        stubSha256: stubDigest(stub),
        ...(secureBoot !== undefined && {
          signedBy: new X509Certificate(secureBoot.certificatePem).fingerprint256.replaceAll(":", "").toLowerCase(),
        }),
      },
    }),
  };
  return {
    manifest,
    unfinished: new Set([initrd, bios, efi].filter((file) => file !== undefined)),
    patched: bios === undefined ? [] : [bios],
    images: [
      ...(bios === undefined ? [] : [{ platform: "bios" as const, file: bios, loadSectors: 4 }]),
      ...(efi === undefined ? [] : [{ platform: "efi" as const, file: efi, loadSectors: 0 }]),
    ],
    async finish(firstStage: Uint8Array): Promise<void> {
      initrd.content = bytesContent(firstStage);
      if (efi === undefined || stub === undefined) return;
      const parts = { stub, kernel: await bytesOf(kernel.image), initrd: firstStage, commandLine };
      const image: EfiImage = makeEfiImage(
        machine.efi.program,
        { ...parts, release: osRelease(kernel.version) },
        secureBoot,
        MEDIUM_TIME,
      );
      efi.content = bytesContent(image.bytes);
      // Kernel and initramfs are stored once: isolinux reads them out of the UEFI image.
      vmlinuz.partOf = { file: efi, offset: image.kernelOffset };
      initrd.partOf = { file: efi, offset: image.initrdOffset };
    },
  };
}
