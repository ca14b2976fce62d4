import { copyFile } from "node:fs/promises";
import type { Configuration } from "../configuration.ts";
import { disksOf } from "../device/device-changes.ts";
import { describeDisk } from "../disk-files.ts";
import type { VirtualMachine } from "../virtual-machine.ts";
import { followsSnapshots, isDelta, newDeltaPath } from "./delta-disks.ts";

/** Makes the VM what it was at the snapshot. What was written since is thrown away; independent disks stay as they are. */
export async function revertToSnapshot(vm: VirtualMachine, uid: number, suppressPowerOn: boolean): Promise<void> {
  const snapshot = vm.snapshots.find(uid);
  if (!snapshot) throw new Error(`There is no snapshot ${uid}`);
  if (vm.powerState !== "poweredOff") await vm.power.off();
  const { context } = vm;
  const { resolve, relations, journal } = context.inventory;
  const old = vm.configuration;
  const then = vm.snapshots.configuration(uid);
  const taken = new Set<string>();
  const children: { path: string; parent: string }[] = [];
  const devices = [];
  for (const device of then.devices) {
    if (device.kind !== "disk") {
      devices.push("connected" in device ? { ...device, connected: false } : device);
      continue;
    }
    const described = await describeDisk(context, device.path);
    if (!followsSnapshots(device)) {
      devices.push({ ...device, ...described });
      continue;
    }
    const path = await newDeltaPath(vm, device.path, taken);
    taken.add(path);
    children.push({ path, parent: device.path });
    const parents = [device.path, ...described.parents];
    devices.push({ ...device, path, capacityBytes: described.capacityBytes, parents });
  }
  const suspendFile = snapshot.state === "suspended" && !suppressPowerOn ? `${vm.fileStem}-${uid}.vmss` : undefined;
  const after: Configuration = {
    ...then,
    name: old.name,
    uuid: old.uuid,
    instanceUuid: old.instanceUuid,
    devices,
    suspendFile,
    modified: new Date(),
    changes: old.changes + 1,
  };
  const files = await Promise.all(children.map(({ path }) => resolve(path)));
  const done = await journal.begin({ kind: "make", vmxFile: await resolve(vm.vmPathName), files });
  try {
    for (const [index, { parent }] of children.entries()) {
      const file = files[index];
      if (file === undefined) continue;
      const parentFile = await resolve(parent);
      await context.disks.createChild(file, parentFile);
      relations.add(file, parentFile);
    }
    if (suspendFile !== undefined && snapshot.memoryFile !== undefined) {
      await copyFile(await vm.resolveOwn(snapshot.memoryFile), await vm.resolveOwn(suspendFile));
    }
    await vm.store(after);
  } catch (error) {
    for (const file of files) {
      if (await Bun.file(file).exists()) await context.disks.remove(file);
      relations.remove(file);
    }
    await done();
    throw error;
  }
  await done();
  await vm.snapshots.store({ ...vm.snapshots.list, current: uid });
  if (suspendFile !== undefined) vm.power.suspended();
  await dropUnusedDeltas(vm, old);
  if (snapshot.state === "poweredOn" && snapshot.memoryFile !== undefined && !suppressPowerOn) {
    await vm.power.on({ stateFile: await vm.resolveOwn(snapshot.memoryFile) });
  }
}

/** Deletes what the VM wrote since its last snapshot: child disks that nothing refers to any more. */
async function dropUnusedDeltas(vm: VirtualMachine, old: Configuration): Promise<void> {
  const { context } = vm;
  const { resolve, relations, journal } = context.inventory;
  const used = vm.snapshots.diskPaths;
  for (const disk of disksOf(vm.configuration.devices)) used.add(disk.path);
  const files: string[] = [];
  for (const disk of disksOf(old.devices)) {
    const file = await resolve(disk.path);
    if (isDelta(vm, disk.path) && !used.has(disk.path) && !relations.hasChildren(file)) files.push(file);
  }
  if (files.length === 0) return;
  const done = await journal.begin({ kind: "remove", files });
  for (const file of files) {
    await context.disks.remove(file);
    relations.remove(file);
  }
  await done();
}
