import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { vmArgument } from "../event/event-log.ts";
import { invalidArgument, LabFault, localizedFault } from "../fault.ts";
import { checkedName, refuseDuplicate } from "../inventory/entity.ts";
import { Folder } from "../inventory/folder.ts";
import { placementOf } from "../inventory/placement.ts";
import type { DataObject, Reference } from "../model/data.ts";
import { formatDatastorePath } from "../storage/datastore-path.ts";
import { placeOf, refuseUnknownLocation } from "./clone.ts";
import { applySettings } from "./config-spec.ts";
import type { Configuration } from "./configuration.ts";
import type { Device } from "./device/device.ts";
import { disksOf, planDeviceChanges } from "./device/device-changes.ts";
import { deviceEnvironment } from "./device-environment.ts";
import { invalidPowerState } from "./power-control.ts";
import { chooseHome, type Home, install, type MadeDisks } from "./provisioning.ts";
import { machineDisks } from "./snapshot/create-snapshot.ts";
import { followsSnapshots, newDeltaPath } from "./snapshot/delta-disks.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

const LOCATION = new Set(["_type", "folder", "pool", "host", "datastore", "deviceChange"]);
const STATE_FILE = "instant-clone.vmss";

/**
 * InstantClone: the clone runs on from where the source is at this moment. Both go on with children of the source's disks; the clone
 * gets the source's memory. As on vSphere, its guest knows nothing of its new addresses until it asks.
 */
export async function instantClone(source: VirtualMachine, spec: DataObject): Promise<Reference> {
  const { context } = source;
  const { machine } = source;
  const location = spec.location as DataObject;
  refuseUnknownLocation(location, LOCATION);
  if (source.powerState !== "poweredOn" || !machine) throw invalidPowerState("poweredOn", source.powerState);
  if (!disksOf(source.configuration.devices).every(followsSnapshots)) {
    const why = "A VM with independent disks cannot be cloned instantly.";
    throw new LabFault("DisallowedMigrationDeviceAttached", why, {
      fault: localizedFault(new LabFault("DeviceNotSupported", why, { device: "Independent disk" })),
    });
  }
  const { placement, store } = placeOf(source, location);
  // Source and clone share memory pages on vSphere, so that both are on one host.
  placementOf(context, placement.pool, source.host.reference, "spec.location.pool");
  if (placement.host && placement.host !== source.host) {
    throw invalidArgument("spec.location.host", "An instant clone is on its source's host.");
  }
  const parent =
    location.folder === undefined
      ? source.parent
      : context.registry.getAs(Folder, location.folder, "spec.location.folder");
  if (!parent) throw new Error(`${source.name} has no folder`);
  const name = checkedName(spec.name as string);
  refuseDuplicate(name, context.inventory.virtualMachines);
  const release = context.inventory.reserveName(name);
  try {
    const home = await chooseHome(context, name, formatDatastorePath({ datastore: store, path: "" }));
    const clone = await install(context, parent, { ...placement, host: source.host }, home, () =>
      fork(source, name, home, spec),
    );
    const stateFile = await clone.resolveOwn(STATE_FILE);
    context.events.post("VmClonedEvent", clone, `${source.name} cloned to ${name} on ${clone.host.name}`, {
      sourceVm: vmArgument(source),
    });
    try {
      await clone.power.on({ stateFile });
    } finally {
      await rm(stateFile, { force: true });
    }
    return clone.reference;
  } finally {
    release();
  }
}

async function fork(source: VirtualMachine, name: string, home: Home, spec: DataObject): Promise<MadeDisks> {
  const { context } = source;
  const { resolve, relations, journal } = context.inventory;
  const before = source.configuration;
  const environment = deviceEnvironment(context, home.vmPathName, undefined);
  const taken = new Set<string>();
  const ofSource: Device[] = [];
  const ofClone: Device[] = [];
  const children: { path: string; parent: string }[] = [];
  for (const device of before.devices) {
    if (device.kind === "disk") {
      const delta = await newDeltaPath(source, device.path, taken);
      const path = await environment.newDiskPath(undefined, taken);
      taken.add(delta).add(path);
      const parents = [device.path, ...device.parents];
      ofSource.push({ ...device, path: delta, parents });
      ofClone.push({ ...device, path, parents, uuid: randomUUID() });
      children.push({ path: delta, parent: device.path }, { path, parent: device.path });
    } else {
      ofSource.push(device);
      const macAddress = device.kind === "nic" ? context.inventory.newMacAddress(taken, undefined) : "";
      if (device.kind === "nic") taken.add(macAddress);
      ofClone.push(device.kind === "nic" ? { ...device, macAddress, addressType: "assigned" } : device);
    }
  }
  const changes = ((spec.location as DataObject).deviceChange as DataObject[] | undefined) ?? [];
  const plan = await planDeviceChanges(ofClone, changes, environment);
  if (plan.createDisks.length + plan.extendDisks.length + plan.deleteDisks.length > 0) {
    throw new LabFault("NotSupported", "An instant clone has the source's disks; add others later.");
  }
  const now = new Date();
  const base: Configuration = {
    ...before,
    name,
    uuid: typeof spec.biosUuid === "string" && spec.biosUuid !== "" ? spec.biosUuid.toLowerCase() : randomUUID(),
    instanceUuid: randomUUID(),
    createDate: now,
    modified: now,
    changes: 1,
  };
  const extraConfig = (spec.config as DataObject[] | undefined) ?? [];
  const settings = applySettings(base, { _type: "VirtualMachineConfigSpec", extraConfig });
  const configuration: Configuration = { ...settings, devices: plan.devices };
  const files = await Promise.all(children.map(({ path }) => resolve(path)));
  const stateFile = await resolve(home.vmPathName.replace(/[^/]*$/, STATE_FILE));
  const sourceFile = await resolve(source.vmPathName);
  const cloneFile = await resolve(home.vmPathName);
  const doneSource = await journal.begin({
    kind: "make",
    vmxFile: sourceFile,
    files: files.filter((_, i) => i % 2 === 0),
  });
  const doneClone = await journal.begin({
    kind: "make",
    vmxFile: cloneFile,
    files: [...files.filter((_, index) => index % 2 === 1), stateFile],
  });
  const after = { ...before, devices: ofSource, modified: now, changes: before.changes + 1 };
  const made: string[] = [];
  const undo = async (): Promise<void> => {
    for (const [index, file] of made.entries()) {
      // The source may be running on its new disks already; those stay.
      if (index % 2 === 0 && source.configuration === after) continue;
      await context.disks.remove(file);
      relations.remove(file);
    }
    await rm(stateFile, { force: true });
    await doneSource();
    await doneClone();
  };
  try {
    await source.machine?.checkpoint({
      stateFile,
      work: async () => {
        for (const [index, { parent }] of children.entries()) {
          const file = files[index];
          if (file === undefined) continue;
          const parentFile = await resolve(parent);
          await context.disks.createChild(file, parentFile);
          relations.add(file, parentFile);
          made.push(file);
        }
        await source.store(after);
        await source.power.relock();
        return machineDisks(source, after);
      },
    });
  } catch (error) {
    await undo();
    throw error;
  }
  await doneSource();
  return { configuration, undo, keep: doneClone };
}
