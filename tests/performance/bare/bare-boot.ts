/** The yardstick: the same kernel in the same machine, with an init that does nothing but switch off. */
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { makeInitramfs } from "../../../iso-builder/initramfs.ts";
import {
  bytesContent,
  type IsoDirectory,
  type IsoFile,
  planIso,
  readIso,
  readIsoFile,
} from "../../../src/format/iso9660/index.ts";
import type { Hypervisor, MachineDefinition } from "../../../src/lab/hypervisor/contract.ts";
import { createDiskStore, createHypervisor } from "../../../src/lab/hypervisor/index.ts";

const SOURCE = resolve(import.meta.dir, "init.c");
const PORT_GROUP = "bare";
const DISK_BYTES = 10 * 2 ** 30;

async function compileInit(out: string): Promise<Uint8Array> {
  const flags = ["-std=c11", "-Os", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-pic"];
  const link = ["-nostdlib", "-static", "-fuse-ld=lld", "-Wl,--build-id=none,--strip-all,-z,noexecstack"];
  const child = Bun.spawn(["clang", "--target=x86_64-linux-gnu", ...flags, ...link, "-o", out, SOURCE]);
  if ((await child.exited) !== 0) throw new Error("clang cannot compile the bare init");
  return await Bun.file(out).bytes();
}

/** An ISO that is like the bootstrap ISO up to the initramfs. */
async function makeBareIso(bootstrapIso: string, folder: string): Promise<string> {
  const source = Bun.file(bootstrapIso);
  const isolinux: IsoDirectory = { type: "directory", mode: 0o755, entries: new Map() };
  const root: IsoDirectory = { type: "directory", mode: 0o755, entries: new Map([["isolinux", isolinux]]) };
  let loader: IsoFile | undefined;
  for await (const entry of readIso(source)) {
    if (entry.type !== "file" || !entry.path.startsWith("/isolinux/")) continue;
    const bytes = Buffer.concat(await Array.fromAsync(readIsoFile(source, entry)));
    const file: IsoFile = { type: "file", mode: 0o644, content: bytesContent(bytes) };
    const name = entry.path.slice("/isolinux/".length);
    isolinux.entries.set(name, file);
    if (name === "isolinux.bin") loader = file;
  }
  if (loader === undefined) throw new Error(`${bootstrapIso} is not started by isolinux`);
  const init = await compileInit(join(folder, "init"));
  const initramfs = makeInitramfs({ init, modules: [], mediumId: "0".repeat(64) }, "zstd");
  isolinux.entries.set("initrd", { type: "file", mode: 0o644, content: bytesContent(initramfs) });
  const image = planIso({
    volumeId: "BARE",
    time: 0,
    root,
    boot: [{ platform: "bios", file: loader, loadSectors: 4 }],
    bootInformation: [loader],
  });
  const out = join(folder, "bare.iso");
  const writer = Bun.file(out).writer();
  for await (const chunk of image.stream()) writer.write(chunk);
  await writer.end();
  return out;
}

/** Milliseconds. */
export interface BareTimes {
  /** The hypervisor's power-on: QEMU starts, its control connection answers, networks are connected. */
  powerOn: number;
  /** Firmware, boot loader, and the kernel's unpacking of itself. */
  firmware: number;
  /** From there to the first instruction of init. */
  kernel: number;
  /** Power-off, until the process is gone. */
  powerOff: number;
  total: number;
}

export interface BareMachine {
  readonly accelerator: Hypervisor["accelerator"];
  boot(): Promise<BareTimes>;
  close(): Promise<void>;
}

/** A machine of the lab's hypervisor with the devices of a container VM; `folder` holds what it needs. */
export async function makeBareMachine(options: {
  bootstrapIso: string;
  folder: string;
  cpus: number;
  memoryMB: number;
  /** As the lab does it, or by firmware and boot loader. */
  directBoot: boolean;
}): Promise<BareMachine> {
  const { folder, cpus, memoryMB } = options;
  await mkdir(folder, { recursive: true });
  const iso = await makeBareIso(options.bootstrapIso, folder);
  const disk = join(folder, "disk.vmdk");
  const parent = join(folder, "parent.vmdk");
  const disks = createDiskStore();
  await disks.create(parent, DISK_BYTES);
  await disks.createChild(disk, parent);
  let stopped = Promise.withResolvers<void>();
  const hypervisor = await createHypervisor({
    stateDirectory: join(folder, "state"),
    runDirectory: join(folder, "run"),
    diskRoots: [folder],
    events: {
      stopped: () => stopped.resolve(),
      outOfSpace: () => undefined,
      guestInfo: () => ({ get: () => undefined, set: () => undefined }),
    },
    log: () => undefined,
    directBoot: options.directBoot,
  });
  await hypervisor.makePortGroup(PORT_GROUP);
  const console = join(folder, "console.log");
  const definition: MachineDefinition = {
    id: "bare-1",
    name: "bare",
    uuid: "564d0000-0000-0000-0000-000000000001",
    directory: folder,
    firmware: "bios",
    cpus,
    memoryMB,
    cpuLimitMhz: -1,
    scsiControllers: [{ key: 1000, bus: 0, model: "pvscsi" }],
    disks: [{ key: 2000, bus: "scsi", controller: 0, unit: 0, file: disk, discardWrites: false }],
    cdroms: [{ key: 3000, bus: "ide", controller: 0, unit: 0, file: iso }],
    networkAdapters: [
      { key: 4000, model: "vmxnet3", macAddress: "00:50:56:00:00:01", portGroup: PORT_GROUP, connected: true },
    ],
    serialPorts: [{ key: 9000, unit: 0, backing: { kind: "file", file: console }, connected: true }],
  };
  const boot = async (): Promise<BareTimes> => {
    await Bun.write(console, "");
    stopped = Promise.withResolvers();
    const begun = performance.now();
    await hypervisor.powerOn(definition);
    const powerOn = performance.now() - begun;
    await stopped.promise;
    const total = performance.now() - begun;
    const said = /VCH_BARE firmware=(\d+) kernel=(\d+)/.exec(await Bun.file(console).text());
    if (said === null) throw new Error(`the bare machine did not boot: see ${console}`);
    const [firmware, kernel] = [Number(said[1]), Number(said[2])];
    return { powerOn, firmware, kernel, powerOff: total - powerOn - firmware - kernel, total };
  };
  return {
    accelerator: hypervisor.accelerator,
    boot,
    close: () => hypervisor.dispose({ stopMachines: true }),
  };
}
