import { copyFile } from "node:fs/promises";
import { LabFault } from "../../fault.ts";
import type { Reference } from "../../model/data.ts";
import { writeAtomically } from "../../state-file.ts";
import type { Configuration } from "../configuration.ts";
import type { Disk } from "../device/device.ts";
import { disksOf } from "../device/device-changes.ts";
import { machineDisk } from "../machine-definition.ts";
import type { VirtualMachine } from "../virtual-machine.ts";
import { toVmx } from "../vmx-configuration.ts";
import { formatVmx } from "../vmx-file.ts";
import { followsSnapshots, newDeltaPath } from "./delta-disks.ts";
import { snapshotName } from "./snapshot-name.ts";
import { checkSnapshotCount, type StoredSnapshot } from "./vmsd.ts";

/** Longest chain of snapshots, as on vSphere. */
const DEPTH_LIMIT = 32;

export interface SnapshotRequest {
  name: string;
  description: string;
  memory: boolean;
}

/**
 * Keeps the VM as it is now: its disks become parents of new ones that the VM goes on with, and the memory of a running VM is saved
 * when asked for. A guest without VMware Tools cannot be quiesced, so `quiesce` has no effect, as on vSphere.
 */
export async function createSnapshot(vm: VirtualMachine, request: SnapshotRequest): Promise<Reference> {
  const name = snapshotName(request.name);
  const { list } = vm.snapshots;
  if (vm.snapshots.depth >= DEPTH_LIMIT || !checkSnapshotCount(list)) {
    throw new LabFault("TooManySnapshotLevels", `A VM can have ${DEPTH_LIMIT} levels of snapshots.`);
  }
  const before = vm.configuration;
  const withMemory = vm.powerState === "suspended" || (vm.powerState === "poweredOn" && request.memory);
  if (withMemory) requireNoIndependentDisks(before);
  const uid = list.lastUid + 1;
  const snapshot: StoredSnapshot = {
    uid,
    id: vm.snapshots.newId(uid),
    name,
    description: request.description,
    created: new Date(),
    state: withMemory && vm.powerState !== "poweredOff" ? vm.powerState : "poweredOff",
    quiesced: false,
    parent: list.current,
    configurationFile: `${vm.fileStem}-Snapshot${uid}.vmsn`,
    memoryFile: withMemory ? `${vm.fileStem}-Snapshot${uid}.vmem` : undefined,
    disks: disksOf(before.devices)
      .filter(followsSnapshots)
      .map((disk) => disk.path),
  };
  const after = await withDeltas(vm, before);
  await keep(vm, snapshot, before, after);
  const object = vm.snapshots.object(uid);
  if (!object) throw new Error("The snapshot is not in the inventory");
  return object.reference;
}

function requireNoIndependentDisks(configuration: Configuration): void {
  if (disksOf(configuration.devices).every(followsSnapshots)) return;
  throw new LabFault(
    "MemorySnapshotOnIndependentDisk",
    "Cannot take a memory snapshot, since the virtual machine is configured with independent disks.",
  );
}

/** The configuration with a new child on each disk that follows snapshots. */
async function withDeltas(vm: VirtualMachine, before: Configuration): Promise<Configuration> {
  const taken = new Set<string>();
  const devices = [];
  for (const device of before.devices) {
    if (device.kind !== "disk" || !followsSnapshots(device)) {
      devices.push(device);
      continue;
    }
    const path = await newDeltaPath(vm, device.path, taken);
    taken.add(path);
    devices.push({ ...device, path, parents: [device.path, ...device.parents] });
  }
  return { ...before, devices, modified: new Date(), changes: before.changes + 1 };
}

async function keep(
  vm: VirtualMachine,
  snapshot: StoredSnapshot,
  before: Configuration,
  after: Configuration,
): Promise<void> {
  const { context } = vm;
  const { resolve, relations, journal } = context.inventory;
  const deltas = disksOf(after.devices).filter((disk) => followsSnapshots(disk));
  const files = await Promise.all(deltas.map(({ path }) => resolve(path)));
  const configurationFile = await vm.resolveOwn(snapshot.configurationFile);
  const memoryFile = snapshot.memoryFile === undefined ? undefined : await vm.resolveOwn(snapshot.memoryFile);
  const own = [configurationFile, ...(memoryFile === undefined ? [] : [memoryFile])];
  const done = await journal.begin({ kind: "make", vmxFile: await resolve(vm.vmPathName), files: [...files, ...own] });
  const makeDeltas = async (): Promise<void> => {
    for (const [index, disk] of deltas.entries()) {
      const [file, parent] = [files[index], disk.parents[0]];
      if (file === undefined || parent === undefined) continue;
      const parentFile = await resolve(parent);
      await context.disks.createChild(file, parentFile);
      relations.add(file, parentFile);
    }
    // The VM writes to its new disks from here on: only then may a snapshot name the old ones.
    await vm.store(after);
    if (vm.machine) await vm.power.relock();
  };
  try {
    await writeAtomically(configurationFile, formatVmx(toVmx({ ...before, suspendFile: undefined })));
    if (vm.machine) {
      await vm.machine.checkpoint({
        ...(memoryFile === undefined ? {} : { stateFile: memoryFile }),
        work: async () => {
          await makeDeltas();
          return machineDisks(vm, after);
        },
      });
    } else {
      if (memoryFile !== undefined && before.suspendFile !== undefined) {
        await copyFile(await vm.resolveOwn(before.suspendFile), memoryFile);
      }
      await makeDeltas();
    }
  } catch (error) {
    if (vm.configuration !== after) {
      for (const file of files) {
        if (await Bun.file(file).exists()) await context.disks.remove(file);
        relations.remove(file);
      }
      for (const file of own) await Bun.file(file).delete().catch(ignoreMissing);
      await done();
    }
    throw error;
  }
  const { list } = vm.snapshots;
  await vm.snapshots.store(
    { lastUid: snapshot.uid, current: snapshot.uid, snapshots: [...list.snapshots, snapshot] },
    { uid: snapshot.uid, configuration: before },
  );
  await done();
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
}

/** A running machine's disks as a configuration names them. */
export function machineDisks(vm: VirtualMachine, configuration: Configuration) {
  return Promise.all(
    disksOf(configuration.devices).map((disk: Disk) =>
      machineDisk(disk, configuration.devices, vm.context.inventory.resolve),
    ),
  );
}
