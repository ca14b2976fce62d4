/**
 * Merges the child disks of snapshots that are gone into their parents. Every step leaves the chain valid: the child's content goes
 * to the parent while the child still hides it, its children move over, configurations name the parent, and only then the child is
 * deleted. A merge that is broken off is done again by the next one.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomically } from "../../state-file.ts";
import type { Configuration } from "../configuration.ts";
import { disksOf } from "../device/device-changes.ts";
import type { VirtualMachine } from "../virtual-machine.ts";
import { toVmx } from "../vmx-configuration.ts";
import { formatVmx } from "../vmx-file.ts";
import { machineDisks } from "./create-snapshot.ts";
import { isDelta } from "./delta-disks.ts";

type Step = { kind: "merge"; child: string; parent: string } | { kind: "delete"; child: string };

/** Merges and deletes until nothing is left over. FileLocked while another VM's machine uses a disk that has to change. */
export async function consolidate(vm: VirtualMachine): Promise<void> {
  vm.setConsolidationNeeded(true);
  if ((await nextStep(vm)) !== undefined) {
    if (vm.machine) {
      await vm.machine.checkpoint({
        work: async () => {
          await run(vm);
          return machineDisks(vm, vm.configuration);
        },
      });
      await vm.power.relock();
    } else await run(vm);
  }
  vm.setConsolidationNeeded(false);
}

/** Is there anything to consolidate? A VM that uses no disk of a snapshot has nothing. */
export async function needsConsolidation(vm: VirtualMachine): Promise<boolean> {
  if (!disksOf(vm.configuration.devices).some((disk) => isDelta(vm, disk.path))) return false;
  return (await nextStep(vm)) !== undefined;
}

async function run(vm: VirtualMachine): Promise<void> {
  for (let step = await nextStep(vm); step !== undefined; step = await nextStep(vm)) {
    requireUnusedByOthers(vm, step);
    if (step.kind === "merge") await merge(vm, step.child, step.parent);
    const done = await vm.context.inventory.journal.begin({ kind: "remove", files: [step.child] });
    await vm.context.disks.remove(step.child);
    vm.context.inventory.relations.remove(step.child);
    await done();
  }
}

async function nextStep(vm: VirtualMachine): Promise<Step | undefined> {
  const { inventory } = vm.context;
  const { folder, path } = vm.home;
  const points = new Set<string>();
  for (const point of [...vm.snapshots.diskPaths, ...disksOf(vm.configuration.devices).map((disk) => disk.path)]) {
    points.add(await inventory.resolve(point));
  }
  const directory = await folder.resolve(path);
  const names = (await readdir(directory)).filter((name) => isDelta(vm, folder.format(`${path}/${name}`))).sort();
  for (const name of names) {
    const child = join(directory, name);
    const children = inventory.relations.childrenOf(child);
    if (!points.has(child) && children.length === 0) return { kind: "delete", child };
    const parent = inventory.relations.parentOf(child);
    if (parent === undefined || points.has(parent)) continue;
    if (inventory.relations.childrenOf(parent).length === 1) return { kind: "merge", child, parent };
  }
  return undefined;
}

function requireUnusedByOthers(vm: VirtualMachine, step: Step): void {
  const { locks, inventory } = vm.context;
  for (const file of [step.child, ...(step.kind === "merge" ? [step.parent] : [])]) {
    locks.requireFree(file, vm.reference.value, inventory.display(file));
  }
}

async function merge(vm: VirtualMachine, child: string, parent: string): Promise<void> {
  const { context } = vm;
  const { relations, display } = context.inventory;
  const from = display(child);
  const to = display(parent);
  await context.disks.commit(child);
  for (const grandchild of relations.childrenOf(child)) {
    await context.disks.setParent(grandchild, parent);
    relations.remove(grandchild);
    relations.add(grandchild, parent);
  }
  for (const { uid, configurationFile } of vm.snapshots.list.snapshots) {
    const before = vm.snapshots.configuration(uid);
    const after = withoutDisk(before, from, to);
    if (after === before) continue;
    await writeAtomically(await vm.resolveOwn(configurationFile), formatVmx(toVmx(after)));
    vm.snapshots.setConfiguration(uid, after);
  }
  for (const other of context.inventory.virtualMachines) {
    const after = withoutDisk(other.configuration, from, to);
    if (after === other.configuration) continue;
    if (other === vm) await vm.store(after);
    // Only its parents are fewer: nothing that its file tells.
    else other.adopt(after);
  }
}

/** The configuration with `to` in the place of `from`, as a disk or as a parent. */
function withoutDisk(configuration: Configuration, from: string, to: string): Configuration {
  let changed = false;
  const devices = configuration.devices.map((device) => {
    if (device.kind !== "disk" || (device.path !== from && !device.parents.includes(from))) return device;
    changed = true;
    if (device.path !== from) return { ...device, parents: device.parents.filter((parent) => parent !== from) };
    return { ...device, path: to, parents: device.parents.slice(1) };
  });
  return changed ? { ...configuration, devices } : configuration;
}
