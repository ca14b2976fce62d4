/** The yardstick: two VMs with the devices, the kernel and the root of containers, on a Linux bridge with no rules at all. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { MachineDefinition } from "../../../src/lab/hypervisor/contract.ts";
import { createDiskStore, createHypervisor } from "../../../src/lab/hypervisor/index.ts";
import type { GuestConfiguration } from "../../../src/link/guest-configuration.ts";
import { encodeConfiguration } from "../../../src/link/guest-configuration-codec.ts";
import { containerOf } from "../../tether/guest.ts";

const PORT_GROUP = "bare";
const PREFIX_LENGTH = 24;
const LIMIT_MILLISECONDS = 120_000;

export interface BareOptions {
  bootstrapIso: string;
  folder: string;
  /** The datastore's directory, and a disk in it that the VMs' disks become children of. */
  datastore: string;
  imageDisk: string;
  cpus: number;
  memoryMB: number;
  /** A bridge of the caller's. */
  bridge: string;
  addresses: readonly string[];
  command: readonly string[];
}

async function run(...command: string[]): Promise<void> {
  const child = Bun.spawn(command, { stdout: "ignore", stderr: "pipe" });
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")}: ${await child.stderr.text()}`);
}

function configurationOf(options: BareOptions, address: string, mac: string): GuestConfiguration {
  const container = containerOf("");
  return {
    ...container,
    process: { ...container.process, arguments: [...options.command], environment: ["PATH=/usr/bin:/bin"] },
    link: { carrier: "net", endpoints: [], serverFingerprint: "0".repeat(64), token: "0".repeat(64) },
    network: {
      interfaces: [{ mac, name: "eth0", addresses: [{ address, prefixLength: PREFIX_LENGTH }] }],
      nameservers: [],
      search: [],
      options: [],
      hosts: [],
    },
  };
}

/** Starts a VM per address. `close` ends them. */
export async function startBareMachines(options: BareOptions): Promise<{ close(): Promise<void> }> {
  const { folder } = options;
  await mkdir(folder, { recursive: true });
  const stores = new Map<string, Map<string, string>>();
  const hypervisor = await createHypervisor({
    stateDirectory: join(folder, "state"),
    runDirectory: join(folder, "run"),
    diskRoots: [folder, options.datastore],
    events: {
      stopped: (id, { detail }) => console.error(`${id} stopped: ${detail}`),
      outOfSpace: () => undefined,
      guestInfo: (id) => ({
        get: (key) => stores.get(id)?.get(key),
        set: (key, value) => void stores.get(id)?.set(key, value),
      }),
    },
    log: () => undefined,
    directBoot: true,
  });
  const close = (): Promise<void> => hypervisor.dispose({ stopMachines: true });
  try {
    const group = await hypervisor.makePortGroup(PORT_GROUP);
    const disks = createDiskStore();
    for (const [index, address] of options.addresses.entries()) {
      const [id, mac] = [`bare-${index}`, `00:50:56:00:0b:0${index}`];
      stores.set(id, new Map(Object.entries(encodeConfiguration(configurationOf(options, address, mac)))));
      const directory = join(folder, id);
      await mkdir(directory);
      const disk = join(directory, "disk.vmdk");
      await disks.createChild(disk, options.imageDisk);
      await hypervisor.powerOn(definitionOf(options, { id, index, mac, directory, disk }));
    }
    const taps = (await readFileNames(`/sys/class/net/${group.bridge}/brif`)).filter((name) => name !== "");
    if (taps.length !== options.addresses.length) throw new Error(`${taps.length} taps on ${group.bridge}`);
    // On the caller's bridge a port learns and floods as any other.
    for (const tap of taps) {
      await run("ip", "link", "set", "dev", tap, "nomaster");
      await run("ip", "link", "set", "dev", tap, "master", options.bridge, "up");
    }
    return { close };
  } catch (error) {
    await close();
    throw error;
  }
}

const readFileNames = async (directory: string): Promise<string[]> =>
  Array.fromAsync(new Bun.Glob("*").scan({ cwd: directory, onlyFiles: false }));

function definitionOf(
  options: BareOptions,
  vm: { id: string; index: number; mac: string; directory: string; disk: string },
): MachineDefinition {
  return {
    id: vm.id,
    name: vm.id,
    uuid: `564d0000-0000-0000-0000-00000000000${vm.index}`,
    directory: vm.directory,
    firmware: "bios",
    cpus: options.cpus,
    memoryMB: options.memoryMB,
    cpuLimitMhz: -1,
    scsiControllers: [{ key: 1000, bus: 0, model: "pvscsi" }],
    disks: [{ key: 2000, bus: "scsi", controller: 0, unit: 0, file: vm.disk, discardWrites: false }],
    cdroms: [{ key: 3000, bus: "ide", controller: 0, unit: 0, file: options.bootstrapIso }],
    networkAdapters: [{ key: 4000, model: "vmxnet3", macAddress: vm.mac, portGroup: PORT_GROUP, connected: true }],
    serialPorts: [
      { key: 9000, unit: 0, backing: { kind: "file", file: join(vm.directory, "console.log") }, connected: true },
    ],
  };
}

/** The disk of an image in the store of a VCH. */
export async function imageDiskOf(vchDirectory: string, imageId: string): Promise<string> {
  const marker = join(vchDirectory, "images/images", imageId.replace("sha256:", ""), "image.json");
  const { disk } = JSON.parse(await readFile(marker, "utf8")) as { disk: string };
  return join(vchDirectory, "images/disks", disk, "disk.vmdk");
}

/** Resolves when something listens there. */
export async function untilListening(host: string, port: number): Promise<void> {
  const deadline = Date.now() + LIMIT_MILLISECONDS;
  for (;;) {
    try {
      const socket = await Bun.connect({ hostname: host, port, socket: { data: () => undefined } });
      socket.end();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`nothing listens on ${host}:${port}: ${error}`);
      await Bun.sleep(200);
    }
  }
}
