import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { factsOf } from "./architecture";
import { KernelConfiguration } from "./kernel-configuration";
import { ModuleIndex } from "./kernel-modules";
import type { Kernel } from "./kernel-source";
import { selectModules } from "./module-selection";

const wishes = { machine: factsOf("x86_64"), fileSystem: "iso9660" as const };

import { fileContent } from "./stored-content";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-modules-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The smallest 64-bit ELF file with a `.modinfo` section. */
function moduleFile(information: string): Uint8Array {
  const names = Buffer.from("\0.modinfo\0.shstrtab\0");
  const content = Buffer.from(information);
  const table = 64 + content.length + names.length;
  const file = Buffer.alloc(table + 3 * 64);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeBigUInt64LE(BigInt(table), 40);
  for (const [index, value] of [64, 3, 2].entries()) file.writeUInt16LE(value, 58 + index * 2);
  file.set(content, 64);
  file.set(names, 64 + content.length);
  const section = (index: number, name: number, offset: number, size: number) => {
    file.writeUInt32LE(name, table + index * 64);
    file.writeBigUInt64LE(BigInt(offset), table + index * 64 + 24);
    file.writeBigUInt64LE(BigInt(size), table + index * 64 + 32);
  };
  section(1, 1, 64, content.length);
  section(2, 10, 64 + content.length, names.length);
  return file;
}

async function kernel(modules: Record<string, string>, builtin: string[]): Promise<Kernel> {
  const files = new Map<string, ReturnType<typeof fileContent>>();
  for (const [path, information] of Object.entries(modules)) {
    const file = join(folder, path.replaceAll("/", "_"));
    await Bun.write(file, moduleFile(information));
    files.set(path, fileContent(file));
  }
  return {
    version: "6",
    image: fileContent("/dev/null"),
    modules: files,
    builtin,
    configuration: new KernelConfiguration(undefined),
  };
}

const modules = {
  "kernel/drivers/ata/ata_piix.ko": "depends=libata\0",
  "kernel/drivers/ata/libata.ko": "depends=scsi_mod\0",
  "kernel/drivers/scsi/scsi_mod.ko": "depends=\0softdep=pre: scsi-common other post: later\0",
  "kernel/drivers/scsi/scsi-common.ko": "depends=\0",
  "kernel/drivers/scsi/sr_mod.ko": "depends=scsi_mod\0alias=scsi:t-0x05*\0",
  "kernel/drivers/scsi/vmw_pvscsi.ko": "depends=scsi_mod\0",
  "kernel/drivers/net/vmxnet3/vmxnet3.ko": "depends=\0",
  "kernel/drivers/gpu/huge.ko": "depends=\0",
  "kernel/fs/overlayfs/overlay.ko": "depends=\0",
};
const builtin = ["kernel/fs/isofs/isofs.ko", "kernel/drivers/scsi/sd_mod.ko", "kernel/fs/ext4/ext4.ko"];

describe("kernel modules", () => {
  test("are put into load order, without what is built in", async () => {
    const index = await ModuleIndex.of(await kernel(modules, builtin));
    const { early, late, kept } = selectModules(index, Object.keys(modules), wishes);
    expect(early.map((path) => path.split("/").pop())).toEqual([
      "scsi-common.ko",
      "scsi_mod.ko",
      "libata.ko",
      "ata_piix.ko",
      "sr_mod.ko",
      "vmw_pvscsi.ko",
      "vmxnet3.ko",
    ]);
    expect(late).toEqual(["kernel/fs/overlayfs/overlay.ko"]);
    expect(kept).not.toContain("kernel/drivers/gpu/huge.ko");
    expect(index.dependencyFile(kept)).toContain(
      "ata_piix.ko: kernel/drivers/ata/libata.ko kernel/drivers/scsi/scsi_mod.ko",
    );
    expect(index.aliasFile(kept)).toBe("alias scsi:t-0x05* sr_mod\n");
  });

  test("that are missing are named", async () => {
    const { "kernel/drivers/net/vmxnet3/vmxnet3.ko": _, ...others } = modules;
    const without = await ModuleIndex.of(await kernel(others, builtin));
    expect(() => selectModules(without, Object.keys(others), wishes)).toThrow("no module vmxnet3");
    const all = await ModuleIndex.of(await kernel(modules, builtin));
    expect(() => selectModules(all, Object.keys(modules), { ...wishes, further: ["no-such"] })).toThrow(
      "no module no-such, neither loadable nor built in, which was asked for",
    );
    const bare = await ModuleIndex.of(await kernel({}, builtin));
    expect(() => selectModules(bare, [], wishes)).toThrow(
      "no driver for a CD-ROM controller, ata_piix (CONFIG_ATA_PIIX) or ahci (CONFIG_SATA_AHCI)",
    );
  });
});
