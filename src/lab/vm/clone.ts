import { randomUUID } from "node:crypto";
import { vmArgument } from "../event/event-log.ts";
import { invalidArgument, notSupported } from "../fault.ts";
import { Datastore } from "../inventory/datastore.ts";
import { checkedName, refuseDuplicate } from "../inventory/entity.ts";
import { Folder } from "../inventory/folder.ts";
import { placementOf } from "../inventory/placement.ts";
import { ResourcePool } from "../inventory/resource-pool.ts";
import type { DataObject, Reference } from "../model/data.ts";
import { formatDatastorePath, parseDatastorePath } from "../storage/datastore-path.ts";
import { applySettings, refuseUnknownSettings } from "./config-spec.ts";
import type { Configuration } from "./configuration.ts";
import type { Device, Disk } from "./device/device.ts";
import { planDeviceChanges } from "./device/device-changes.ts";
import { deviceEnvironment } from "./device-environment.ts";
import { describeDisk, makeDiskFiles } from "./disk-files.ts";
import { copyDisk } from "../storage/thick-disk.ts";
import { chooseHome, type Home, install, type MadeDisks } from "./provisioning.ts";
import { machineDisks } from "./snapshot/create-snapshot.ts";
import { followsSnapshots } from "./snapshot/delta-disks.ts";
import { Snapshot } from "./snapshot/snapshot.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/** How a clone comes by a disk: a copy of the content, a child of the source's disk, or a copy of one link of a chain. */
type DiskMove = "copy" | "child" | "link";
const MOVES: Readonly<Record<string, DiskMove>> = {
  moveAllDiskBackingsAndDisallowSharing: "copy",
  moveAllDiskBackingsAndAllowSharing: "copy",
  moveAllDiskBackingsAndConsolidate: "copy",
  createNewChildDiskBacking: "child",
  moveChildMostDiskBacking: "link",
};

/** Fields of a RelocateSpec that the lab applies to a clone. */
const LOCATION = new Set([
  "_type",
  "folder",
  "datastore",
  "diskMoveType",
  "pool",
  "host",
  "disk",
  "deviceChange",
  "transform",
]);

export function refuseUnknownLocation(location: DataObject, known: ReadonlySet<string> = LOCATION): void {
  for (const [name, value] of Object.entries(location)) {
    if (known.has(name) || (Array.isArray(value) && value.length === 0)) continue;
    throw notSupported(`'${name}' of the location; leave it out.`);
  }
}

/** Where a VM goes: what the location leaves out is as with the source. */
export function placeOf(source: VirtualMachine, location: Readonly<Record<string, unknown>>) {
  const { context } = source;
  const { registry } = context;
  const pool = location.pool === undefined ? source.pool : registry.getAs(ResourcePool, location.pool, "location.pool");
  const store =
    location.datastore === undefined
      ? source.home.folder.name
      : registry.getAs(Datastore, location.datastore, "location.datastore").folder.name;
  const placement = { ...placementOf(context, pool, location.host, "location.host"), preferred: source.host };
  return { placement, store };
}

/** CloneVM: a new VM with the source's configuration, or that of one of its snapshots. */
export async function cloneVirtualMachine(
  source: VirtualMachine,
  folder: Reference,
  givenName: string,
  spec: DataObject,
): Promise<Reference> {
  const { context } = source;
  const location = spec.location as DataObject;
  refuseUnknownLocation(location);
  if (spec.customization !== undefined) throw notSupported("guest customization needs VMware Tools in the guest.");
  if (spec.memory === true) throw notSupported("a clone with memory; clone without it, or use InstantClone_Task.");
  const config = spec.config as DataObject | undefined;
  if (config) refuseUnknownSettings(config);
  const parent = context.registry.getAs(Folder, folder, "folder");
  const snapshot = snapshotOf(source, spec.snapshot);
  const { placement, store } = placeOf(source, location);
  const name = checkedName(givenName);
  refuseDuplicate(name, context.inventory.virtualMachines);
  const release = context.inventory.reserveName(name);
  try {
    const home = await chooseHome(context, name, formatDatastorePath({ datastore: store, path: "" }));
    const from = snapshot ? source.snapshots.configuration(snapshot.uid) : source.configuration;
    const make = (): Promise<MadeDisks> => makeClone(source, from, snapshot !== undefined, name, home, spec);
    const vm = await whileStill(source, snapshot !== undefined, () => install(context, parent, placement, home, make));
    context.events.post("VmClonedEvent", vm, `${source.name} cloned to ${name} on ${vm.host.name}`, {
      sourceVm: vmArgument(source),
    });
    if (spec.powerOn === true) await vm.power.on();
    return vm.reference;
  } finally {
    release();
  }
}

/** A running source's own disks are copied while its guest stands still; those of a snapshot do not change. */
async function whileStill<T>(source: VirtualMachine, fromSnapshot: boolean, work: () => Promise<T>): Promise<T> {
  if (!source.machine || fromSnapshot) return work();
  let result: { value: T } | undefined;
  await source.machine.checkpoint({
    work: async () => {
      result = { value: await work() };
      return machineDisks(source, source.configuration);
    },
  });
  if (!result) throw new Error("The checkpoint did not run");
  return result.value;
}

function snapshotOf(source: VirtualMachine, reference: unknown): Snapshot | undefined {
  if (reference === undefined) return undefined;
  const snapshot = source.registry.getAs(Snapshot, reference, "spec.snapshot");
  if (snapshot.vm !== source) throw invalidArgument("spec.snapshot", "It is a snapshot of another VM.");
  return snapshot;
}

interface DiskJob {
  move: DiskMove;
  from: string;
  to: string;
  /** Of a copy: it has all of its room, as its source. */
  thick: boolean;
}

async function makeClone(
  source: VirtualMachine,
  from: Configuration,
  fromSnapshot: boolean,
  name: string,
  home: Home,
  spec: DataObject,
): Promise<MadeDisks> {
  const { context } = source;
  const location = spec.location as DataObject;
  const environment = deviceEnvironment(context, home.vmPathName, undefined);
  const jobs: DiskJob[] = [];
  const taken = new Set<string>();
  const macs = new Set<string>();
  const devices: Device[] = [];
  for (const device of from.devices) {
    if (device.kind === "disk") {
      const made = await cloneDisk(device, fromSnapshot, location);
      devices.push(made);
    } else if (device.kind === "nic") {
      const macAddress = context.inventory.newMacAddress(macs, undefined);
      macs.add(macAddress);
      devices.push({ ...device, connected: false, macAddress, addressType: "assigned" });
    } else devices.push("connected" in device ? { ...device, connected: false } : device);
  }
  async function cloneDisk(disk: Disk, shareable: boolean, where: DataObject): Promise<Disk> {
    const locator = ((where.disk as DataObject[] | undefined) ?? []).find(({ diskId }) => diskId === disk.key);
    const moveName = String(locator?.diskMoveType ?? where.diskMoveType ?? "moveAllDiskBackingsAndAllowSharing");
    const move = MOVES[moveName];
    if (move === undefined) throw invalidArgument("spec.location.diskMoveType", `There is no '${moveName}'.`);
    if (move === "child" && !shareable && !from.template) {
      throw invalidArgument(
        "spec.location.diskMoveType",
        "createNewChildDiskBacking needs a snapshot: the disk of a VM that can run would change under its child.",
      );
    }
    const datastore =
      locator === undefined
        ? undefined
        : formatDatastorePath({
            datastore: context.registry.getAs(Datastore, locator.datastore, "disk.datastore").folder.name,
            path: parseDatastorePath(home.vmPathName).path.replace(/\/[^/]*$/, ""),
          });
    const path = await environment.newDiskPath(datastore, taken);
    taken.add(path);
    const above = await describeDisk(context, disk.path);
    // A disk without parents has only one link; a disk whose writes are thrown away is looked at by others.
    const actual: DiskMove = move === "link" && above.parents.length === 0 ? "copy" : move;
    jobs.push({ move: followsSnapshots(disk) ? actual : "copy", from: disk.path, to: path, thick: above.thick });
    const parents = actual === "child" ? [disk.path, ...above.parents] : actual === "link" ? above.parents : [];
    return { ...disk, path, parents, thick: above.thick, capacityBytes: above.capacityBytes, uuid: randomUUID() };
  }
  const config = (spec.config as DataObject | undefined) ?? ({ _type: "VirtualMachineConfigSpec" } as DataObject);
  const changes = [
    ...((location.deviceChange as DataObject[] | undefined) ?? []),
    ...((config.deviceChange as DataObject[] | undefined) ?? []),
  ];
  const now = new Date();
  const blank: Configuration = {
    ...from,
    name,
    uuid: randomUUID(),
    instanceUuid: randomUUID(),
    createDate: now,
    modified: now,
    changes: 1,
    suspendFile: undefined,
    template: spec.template === true,
    extraConfig: new Map(from.extraConfig),
  };
  const plan = await planDeviceChanges(devices, changes, environment);
  const configuration = { ...applySettings(blank, config), devices: plan.devices };
  const cloned = await runJobs(source, jobs, home);
  try {
    const added = await makeDiskFiles(context, plan, home.vmPathName);
    return {
      configuration,
      keep: async () => {
        await added.keep();
        await cloned.keep();
      },
      undo: async () => {
        await added.undo();
        await cloned.undo();
      },
    };
  } catch (error) {
    await cloned.undo();
    throw error;
  }
}

async function runJobs(source: VirtualMachine, jobs: readonly DiskJob[], home: Home) {
  const { disks, inventory, locks } = source.context;
  const files = await Promise.all(jobs.map(({ to }) => inventory.resolve(to)));
  const vmxFile = await inventory.resolve(home.vmPathName);
  const done = await inventory.journal.begin({ kind: "make", vmxFile, files });
  const made: string[] = [];
  const undo = async (): Promise<void> => {
    for (const file of made) {
      await disks.remove(file);
      inventory.relations.remove(file);
    }
    await done();
  };
  try {
    for (const [index, { move, from, to, thick }] of jobs.entries()) {
      const file = files[index] ?? (await inventory.resolve(to));
      const origin = await inventory.resolve(from);
      const writer = `clone of ${source.name}`;
      if (!source.machine) locks.acquire(writer, { read: [origin], write: [] }, inventory.display);
      try {
        if (move === "copy") await copyDisk(disks, origin, file, thick);
        else if (move === "link") await disks.copyLink(origin, file);
        else await disks.createChild(file, origin);
      } finally {
        locks.releaseFile(writer, origin);
      }
      made.push(file);
      const parent = move === "child" ? origin : move === "link" ? inventory.relations.parentOf(origin) : undefined;
      if (parent !== undefined) inventory.relations.add(file, parent);
    }
  } catch (error) {
    await undo();
    throw error;
  }
  return { undo, keep: done };
}
