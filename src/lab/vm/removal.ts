import { readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { disksOf } from "./device/device-changes.ts";
import { discardsWrites } from "./machine-definition.ts";
import { invalidPowerState } from "./power-control.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/** Files that belong to a VM besides its disks. */
const OWN_FILE = /\.(vmx|vmxf|vmsd|vmsn|nvram|vmss|vmem|vswp|REDO)$|^vmware(-\d+)?\.log$/;

/** Takes the VM out of the inventory and keeps its files. */
export async function unregisterVirtualMachine(vm: VirtualMachine): Promise<void> {
  const { context } = vm;
  const { inventory } = context.store;
  inventory.virtualMachines = inventory.virtualMachines.filter(({ id }) => id !== vm.reference.value);
  await context.store.save();
  vm.volatileInfo.clear();
  vm.snapshots.dispose();
  context.inventory.removeVirtualMachine(vm);
  context.events.post("VmRemovedEvent", vm, `Removed ${vm.name} on ${vm.host.name}`);
}

/** Takes the VM out of the inventory and deletes its files and attached disks, but never a disk that others are children of. */
export async function destroyVirtualMachine(vm: VirtualMachine): Promise<void> {
  const { context } = vm;
  if (vm.powerState === "poweredOn") throw invalidPowerState("poweredOff", vm.powerState);
  const { folder, path } = vm.home;
  const directory = await folder.resolve(path);
  const disks = await disksToDelete(vm);
  const done = await context.inventory.journal.begin({ kind: "remove", files: disks, directory });
  await unregisterVirtualMachine(vm);
  for (const file of disks) {
    await context.disks.remove(file);
    context.inventory.relations.remove(file);
  }
  await removeOwnFiles(directory);
  await done();
}

/** Deletes a VM's own files, and its directory when nothing else is in it. */
export async function removeOwnFiles(directory: string): Promise<void> {
  try {
    for (const name of await readdir(directory))
      if (OWN_FILE.test(name)) await rm(join(directory, name), { force: true });
    await rmdir(directory);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    // Other files stay, and with them the directory; a directory that is gone is what we wanted.
    if (code !== "ENOTEMPTY" && code !== "ENOENT") throw error;
  }
}

/** First class disks outlive the VMs that have them: those that are to be kept, and of the others their place in the catalog goes. */
async function keptDisks(vm: VirtualMachine): Promise<Set<string>> {
  const { datastores, firstClassDisks } = vm.context.inventory;
  const attached = new Set(disksOf(vm.configuration.devices).flatMap(({ path, parents }) => [path, ...parents]));
  const kept = new Set<string>();
  for (const store of datastores) {
    const catalog = firstClassDisks.catalog(store);
    for (const { id, path, keepAfterDeleteVm, snapshots } of await catalog.list()) {
      const display = store.folder.format(path);
      if (!attached.has(display)) continue;
      if (keepAfterDeleteVm)
        for (const one of [path, ...snapshots.map((s) => s.path)]) kept.add(store.folder.format(one));
      else await catalog.remove(id);
    }
  }
  return kept;
}

/** The VM's disks and those of its snapshots, children before parents. What others are children of stays, and with it its parents. */
async function disksToDelete(vm: VirtualMachine): Promise<string[]> {
  const { inventory, locks } = vm.context;
  const candidates = new Set<string>();
  const own = [vm.configuration, ...vm.snapshots.list.snapshots.map(({ uid }) => vm.snapshots.configuration(uid))];
  const kept = await keptDisks(vm);
  for (const disk of own.flatMap(({ devices }) => disksOf(devices))) {
    if (kept.has(disk.path)) continue;
    // A disk that is only looked at is somebody else's.
    if (discardsWrites(disk) || !(await inventory.exists(disk.path))) continue;
    const file = await inventory.resolve(disk.path);
    if (!inventory.relations.hasChildren(file)) locks.requireFree(file, vm.reference.value, disk.path);
    candidates.add(file);
  }
  const disks: string[] = [];
  for (let progress = true; progress; ) {
    progress = false;
    for (const file of candidates) {
      if (!inventory.relations.childrenOf(file).every((child) => disks.includes(child))) continue;
      candidates.delete(file);
      disks.push(file);
      progress = true;
    }
  }
  return disks;
}
