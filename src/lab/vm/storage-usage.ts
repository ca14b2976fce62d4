import { LabFault } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { parseDatastorePath } from "../storage/datastore-path.ts";
import { disksOf } from "./device/device-changes.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/** `st_blocks` counts in these, whatever the file system's block size is. */
const STAT_BLOCK = 512;

interface UsedFile {
  /** `[ds] dir/name` */
  name: string;
  /** VirtualMachineFileLayoutExFileType */
  type: string;
  /** Bytes that are really allocated. */
  size: number;
  /** Of these, what no other VM shares. */
  unique: number;
}

/** Bytes of one VM on one datastore, as in VirtualMachineUsageOnDatastore. */
export interface Usage {
  committed: number;
  /** What its thin disks may still grow by. */
  uncommitted: number;
  unshared: number;
}

/** What a VM took on its datastores when it was measured. */
export interface StorageUsage {
  files: readonly UsedFile[];
  /** Indexes into `files` of each disk's chain, from the root to the disk itself. */
  disks: readonly { key: number; chain: readonly number[] }[];
  /** By the datastore's name. */
  stores: ReadonlyMap<string, Usage>;
  time: Date;
}

const NOTHING: Usage = { committed: 0, uncommitted: 0, unshared: 0 };
export const NOT_MEASURED: StorageUsage = { files: [], disks: [], stores: new Map(), time: new Date(0) };

/** Kinds of files by their ending. A sparse disk is descriptor and extent in one file. */
const TYPES: readonly (readonly [RegExp, string])[] = [
  [/\.vmx$/i, "config"],
  [/\.vmxf$/i, "extendedConfig"],
  [/-flat\.vmdk$/i, "diskExtent"],
  [/\.vmdk$/i, "diskDescriptor"],
  [/\.REDO$/, "diskExtent"],
  [/\.vmsd$/i, "snapshotList"],
  [/\.vmsn$/i, "snapshotData"],
  [/-Snapshot\d+\.vmem$/i, "snapshotMemory"],
  [/\.vmem$/i, "suspendMemory"],
  [/\.vmss$/i, "suspend"],
  [/\.nvram$/i, "nvram"],
  [/\.vswp$/i, "swap"],
  [/^vmware(-\d+)?\.log$/, "log"],
];

const typeOf = (name: string): string | undefined => TYPES.find(([ending]) => ending.test(name))?.[1];

/** Reads what the VM's files and its disks take now. */
export async function measureStorage(vm: VirtualMachine): Promise<StorageUsage> {
  const { folder, path } = vm.home;
  const files: UsedFile[] = [];
  const indexes = new Map<string, number>();
  const add = (file: UsedFile): number => {
    indexes.set(file.name, files.push(file) - 1);
    return files.length - 1;
  };
  for (const { name, directory, blocks } of await listed(folder.list(path))) {
    const type = directory ? undefined : typeOf(name);
    if (type === undefined) continue;
    const size = blocks * STAT_BLOCK;
    add({ name: folder.format(`${path}/${name}`), type, size, unique: size });
  }
  const growth = new Map<string, number>();
  const disks = [];
  for (const disk of disksOf(vm.configuration.devices)) {
    const chain: number[] = [];
    for (const [depth, name] of [disk.path, ...disk.parents].entries()) {
      let index = indexes.get(name);
      if (index === undefined) {
        const { size, shared } = await allocation(vm, name);
        index = add({ name, type: "diskDescriptor", size, unique: shared || depth > 0 ? 0 : size });
      }
      chain.unshift(index);
      if (depth === 0) growth.set(name, Math.max(disk.capacityBytes - (files[index]?.size ?? 0), 0));
    }
    disks.push({ key: disk.key, chain });
  }
  return { files, disks, stores: sums(files, growth), time: new Date() };
}

/** A VM whose directory is gone takes nothing. */
async function listed<T>(list: Promise<T[]>): Promise<T[]> {
  try {
    return await list;
  } catch (error) {
    if (error instanceof LabFault && error.fault === "FileNotFound") return [];
    throw error;
  }
}

/** Of a disk outside of the VM's directory. One that cannot be opened takes nothing that could be told. */
async function allocation(vm: VirtualMachine, name: string): Promise<{ size: number; shared: boolean }> {
  const { inventory, disks } = vm.context;
  try {
    const file = await inventory.resolve(name);
    const { allocatedBytes } = await disks.inspect(file);
    return { size: allocatedBytes, shared: inventory.relations.hasChildren(file) };
  } catch {
    return { size: 0, shared: true };
  }
}

function sums(files: readonly UsedFile[], growth: ReadonlyMap<string, number>): Map<string, Usage> {
  const stores = new Map<string, Usage>();
  for (const { name, size, unique } of files) {
    const { datastore } = parseDatastorePath(name);
    const before = stores.get(datastore) ?? NOTHING;
    stores.set(datastore, {
      committed: before.committed + size,
      uncommitted: before.uncommitted + (growth.get(name) ?? 0),
      unshared: before.unshared + unique,
    });
  }
  return stores;
}

/** Of all datastores together. */
export function totalUsage({ stores }: StorageUsage): Usage {
  let total = NOTHING;
  for (const { committed, uncommitted, unshared } of stores.values()) {
    total = {
      committed: total.committed + committed,
      uncommitted: total.uncommitted + uncommitted,
      unshared: total.unshared + unshared,
    };
  }
  return total;
}

/** `storage` of a VM. */
export const storageInfo = (usage: StorageUsage, datastores: readonly { name: string; reference: Reference }[]) =>
  data("VirtualMachineStorageInfo", {
    perDatastoreUsage: datastores.map(({ name, reference }) =>
      data("VirtualMachineUsageOnDatastore", { datastore: reference, ...(usage.stores.get(name) ?? NOTHING) }),
    ),
    timestamp: usage.time,
  });

/** `layoutEx` of a VM. */
export const layoutEx = ({ files, disks, time }: StorageUsage): DataObject =>
  data("VirtualMachineFileLayoutEx", {
    file: files.map(({ name, type, size, unique }, key) =>
      data("VirtualMachineFileLayoutExFileInfo", { key, name, type, size, uniqueSize: unique, accessible: true }),
    ),
    disk: disks.map(({ key, chain }) =>
      data("VirtualMachineFileLayoutExDiskLayout", {
        key,
        chain: chain.map((index) => data("VirtualMachineFileLayoutExDiskUnit", { fileKey: [index] })),
      }),
    ),
    timestamp: time,
  });
