/** Turns what the engine wants of a VM into vSphere's configuration specifications. */
import { type VirtualMachineChanges, type VirtualMachineSpec, VSphereFault } from "./contract.ts";
import {
  type Change,
  cdrom,
  disk,
  isDisk,
  networkAdapter,
  newScsiKey,
  remove,
  scsiController,
  scsiControllers,
  serialPort,
} from "./devices.ts";
import type { Networks } from "./networks.ts";
import type { OptionValue, VirtualDevice, VirtualMachineConfigSpec } from "./vim25/index.ts";

/** The oldest virtual hardware that every server speaking API 7.0 has. */
const HARDWARE_VERSION = "vmx-17";
const GUEST_ID = "otherGuest64";

/** Questions that vSphere would stop the VM with, answered in advance, and what the guest needs of its hardware. */
const FIXED_OPTIONS: Record<string, string> = {
  // Children of one image disk share its UUID.
  "answer.msg.disk.duplicateUUID": "Yes",
  "answer.msg.serial.file.open": "Append",
  // The guest finds its disks by serial number.
  "disk.EnableUUID": "TRUE",
  "tools.upgrade.policy": "manual",
};

export function options(values: Record<string, string>): OptionValue[] {
  return Object.entries(values).map(([key, value]) => ({ _type: "OptionValue", key, value }));
}

export async function createSpec(
  spec: VirtualMachineSpec,
  networks: Networks,
  hardware7: boolean,
): Promise<VirtualMachineConfigSpec> {
  // The first controller is always there: disks can be plugged into a running VM, controllers not on every host.
  const buses = [...new Set([0, ...spec.disks.map(({ bus }) => bus)])].sort((a, b) => a - b);
  const adapters = await Promise.all(
    spec.networkAdapters.map(async (adapter, index) =>
      networkAdapter(adapter, index, await networks.backing(adapter.network)),
    ),
  );
  const changes: Change[] = [
    ...buses.map(scsiController),
    ...(spec.cdrom === undefined ? [] : cdromOf(spec.cdrom)),
    ...spec.disks.map((wanted) => disk(wanted, newScsiKey(wanted.bus))),
    ...adapters,
    ...spec.serialPorts.map(serialPort),
  ];
  const shares = spec.cpuShares;
  return {
    name: spec.name,
    ...(hardware7 ? { version: HARDWARE_VERSION } : {}),
    uuid: spec.uuid,
    guestId: GUEST_ID,
    annotation: spec.annotation,
    files: { vmPathName: `${spec.directory.replace(/\/+$/, "")}/${fileName(spec.directory)}.vmx` },
    numCPUs: spec.cpus,
    memoryMB: spec.memoryMB,
    deviceChange: changes,
    cpuAllocation: {
      ...(spec.cpuLimitMhz === undefined ? {} : { limit: spec.cpuLimitMhz }),
      ...(shares === undefined ? {} : { shares: { shares, level: "custom" } }),
    },
    memoryAllocation: { ...(spec.memoryReservationMB === undefined ? {} : { reservation: spec.memoryReservationMB }) },
    extraConfig: options({ ...FIXED_OPTIONS, ...spec.extraConfig }),
    // Never boot from a disk: what is on it belongs to the container.
    ...(spec.cdrom === undefined
      ? {}
      : { bootOptions: { bootOrder: [{ _type: "VirtualMachineBootOptionsBootableCdromDevice" }] } }),
    firmware: spec.firmware,
  };
}

function cdromOf(wanted: NonNullable<VirtualMachineSpec["cdrom"]>): Change[] {
  return typeof wanted === "string" ? cdrom(wanted, "ide") : cdrom(wanted.path, wanted.bus);
}

/** The VM's files are named after its directory, which unlike its name needs no escaping. */
function fileName(directory: string): string {
  const name = /([^/\]\s][^/\]]*)\/*$/.exec(directory)?.[1];
  if (name === undefined)
    throw new VSphereFault("InvalidDatastorePath", `"${directory}" names no directory for the VM`);
  return name;
}

export function changesDevices(changes: VirtualMachineChanges): boolean {
  const lists = [changes.addDisks, changes.removeDisks, changes.addNetworkAdapters, changes.removeNetworkAdapters];
  return lists.some((list) => list !== undefined && list.length > 0);
}

export async function reconfigureSpec(
  changes: VirtualMachineChanges,
  devices: readonly VirtualDevice[],
  networks: Networks,
): Promise<VirtualMachineConfigSpec> {
  const spec: VirtualMachineConfigSpec = {};
  if (changes.changeVersion !== undefined) spec.changeVersion = changes.changeVersion;
  if (changes.name !== undefined) spec.name = changes.name;
  if (changes.annotation !== undefined) spec.annotation = changes.annotation;
  if (changes.cpus !== undefined) spec.numCPUs = changes.cpus;
  if (changes.memoryMB !== undefined) spec.memoryMB = changes.memoryMB;
  if (changes.allocation !== undefined) {
    const { cpuLimitMhz, cpuShares, memoryReservationMB } = changes.allocation;
    spec.cpuAllocation = {
      ...(cpuLimitMhz === undefined ? {} : { limit: cpuLimitMhz }),
      ...(cpuShares === undefined ? {} : { shares: { shares: cpuShares, level: "custom" } }),
    };
    if (memoryReservationMB !== undefined) spec.memoryAllocation = { reservation: memoryReservationMB };
  }
  if (changes.extraConfig !== undefined) spec.extraConfig = options(changes.extraConfig);
  if (changesDevices(changes)) {
    spec.deviceChange = [
      ...removals(changes, devices),
      ...diskAdditions(changes, devices),
      ...(await adapterAdditions(changes, networks)),
    ];
  }
  return spec;
}

function diskAt(devices: readonly VirtualDevice[], { bus, unit }: { bus: number; unit: number }) {
  const controllerKey = scsiControllers(devices).get(bus);
  const found = devices
    .filter(isDisk)
    .find((device) => device.controllerKey === controllerKey && device.unitNumber === unit);
  if (!found) throw new VSphereFault("DeviceNotFound", `The VM has no disk at SCSI ${bus}:${unit}`);
  return found;
}

function removals(changes: VirtualMachineChanges, devices: readonly VirtualDevice[]): Change[] {
  const disks = (changes.removeDisks ?? []).map((place) => remove(diskAt(devices, place)));
  const adapters = (changes.removeNetworkAdapters ?? []).map(({ macAddress }) => {
    const found = devices.find(
      (device) => "macAddress" in device && device.macAddress?.toLowerCase() === macAddress.toLowerCase(),
    );
    if (!found) throw new VSphereFault("DeviceNotFound", `The VM has no network adapter ${macAddress}`);
    return remove(found);
  });
  return [...disks, ...adapters];
}

function diskAdditions(changes: VirtualMachineChanges, devices: readonly VirtualDevice[]): Change[] {
  const controllers = scsiControllers(devices);
  const additions: Change[] = [];
  for (const wanted of changes.addDisks ?? []) {
    let controllerKey = controllers.get(wanted.bus);
    if (controllerKey === undefined) {
      controllerKey = newScsiKey(wanted.bus);
      controllers.set(wanted.bus, controllerKey);
      additions.push(scsiController(wanted.bus));
    }
    additions.push(disk(wanted, controllerKey));
  }
  return additions;
}

async function adapterAdditions(changes: VirtualMachineChanges, networks: Networks): Promise<Change[]> {
  const wanted = changes.addNetworkAdapters ?? [];
  return Promise.all(
    wanted.map(async (adapter, index) => networkAdapter(adapter, index, await networks.backing(adapter.network))),
  );
}
