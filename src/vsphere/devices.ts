/** Virtual devices as vSphere wants them. New ones carry negative keys, so that others in the same change can refer to them. */
import type { DiskSpec, NetworkAdapterSpec, SerialPortSpec } from "./contract.ts";
import type { VirtualDevice, VirtualDeviceConfigSpec, VirtualDisk } from "./vim25/index.ts";

/** A SCSI controller sits on its own bus as unit 7. */
export const CONTROLLER_UNIT = 7;
export const UNITS_PER_BUS = 16;
export const BUSES = 4;
/** vSphere gives every VM two IDE controllers; the first has this key. */
export const FIRST_IDE_KEY = 200;
const SCSI_KEY = -1000;
const DISK_KEY = -2000;
const CDROM_KEY = -3000;
const SATA_KEY = -15000;
const NETWORK_KEY = -4000;
const SERIAL_KEY = -9000;

export type Change = VirtualDeviceConfigSpec;
type Backing = NonNullable<VirtualDevice["backing"]>;

export function add(device: VirtualDevice, createFile = false): Change {
  return {
    _type: "VirtualDeviceConfigSpec",
    operation: "add",
    ...(createFile ? { fileOperation: "create" } : {}),
    device,
  };
}

/** Key of the PVSCSI controller for a bus that is made in the same change. */
export function newScsiKey(bus: number): number {
  return SCSI_KEY - bus;
}

export function scsiController(bus: number): Change {
  return add({ _type: "ParaVirtualSCSIController", key: newScsiKey(bus), busNumber: bus, sharedBus: "noSharing" });
}

export function ideController(): Change {
  return add({ _type: "VirtualIDEController", key: FIRST_IDE_KEY, busNumber: 0 });
}

export function checkDiskPlace({ bus, unit, path }: DiskSpec): void {
  if (
    !Number.isInteger(bus) ||
    bus < 0 ||
    bus >= BUSES ||
    !Number.isInteger(unit) ||
    unit < 0 ||
    unit >= UNITS_PER_BUS ||
    unit === CONTROLLER_UNIT
  ) {
    throw new RangeError(
      `${path} cannot be at SCSI ${bus}:${unit}: buses go from 0 to ${BUSES - 1}, units from 0 to 15 without 7`,
    );
  }
}

export function disk(spec: DiskSpec, controllerKey: number): Change {
  checkDiskPlace(spec);
  const { create } = spec;
  const capacityInBytes = create?.capacityBytes;
  const device: VirtualDisk = {
    _type: "VirtualDisk",
    key: DISK_KEY - UNITS_PER_BUS * spec.bus - spec.unit,
    backing: {
      _type: "VirtualDiskFlatVer2BackingInfo",
      fileName: spec.path,
      diskMode: spec.mode,
      ...(create ? { thinProvisioned: true } : {}),
      // Only the name matters: vSphere reads the rest of the chain itself.
      ...(create?.parent === undefined
        ? {}
        : { parent: { _type: "VirtualDiskFlatVer2BackingInfo", fileName: create.parent, diskMode: "persistent" } }),
    },
    controllerKey,
    unitNumber: spec.unit,
    // Required on the wire; 0 leaves it to the parent or to the existing file.
    capacityInKB: capacityInBytes === undefined ? 0 : Math.ceil(capacityInBytes / 1024),
    ...(capacityInBytes === undefined ? {} : { capacityInBytes }),
    ...(spec.ioShares === undefined ? {} : { storageIOAllocation: ioAllocation(spec.ioShares) }),
  };
  return add(device, create !== undefined);
}

const ioAllocation = (shares: number): NonNullable<VirtualDisk["storageIOAllocation"]> => ({
  shares: { shares, level: "custom" },
});

export function sataController(): Change {
  return add({ _type: "VirtualAHCIController", key: SATA_KEY, busNumber: 0 });
}

/** The drive and the controller that it needs. */
export function cdrom(path: string, bus: "ide" | "sata"): Change[] {
  const drive = add({
    _type: "VirtualCdrom",
    key: CDROM_KEY,
    backing: { _type: "VirtualCdromIsoBackingInfo", fileName: path },
    connectable: { startConnected: true, allowGuestControl: true, connected: true },
    controllerKey: bus === "ide" ? FIRST_IDE_KEY : SATA_KEY,
    unitNumber: 0,
  });
  return [bus === "ide" ? ideController() : sataController(), drive];
}

export function networkAdapter(spec: NetworkAdapterSpec, index: number, backing: Backing): Change {
  return add({
    _type: "VirtualVmxnet3",
    key: NETWORK_KEY - index,
    backing,
    connectable: { startConnected: spec.connected, allowGuestControl: true, connected: spec.connected },
    ...(spec.macAddress === undefined
      ? { addressType: "generated" }
      : { addressType: "manual", macAddress: spec.macAddress }),
  });
}

export function serialPort(spec: SerialPortSpec, index: number): Change {
  const connected = spec.kind === "file" || spec.connected;
  return add({
    _type: "VirtualSerialPort",
    key: SERIAL_KEY - index,
    backing: serialBacking(spec),
    connectable: { startConnected: connected, allowGuestControl: true, connected },
    yieldOnPoll: true,
  });
}

function serialBacking(spec: SerialPortSpec): Backing {
  if (spec.kind === "file") return { _type: "VirtualSerialPortFileBackingInfo", fileName: spec.path };
  return {
    _type: "VirtualSerialPortURIBackingInfo",
    serviceURI: spec.serviceUri,
    direction: spec.direction,
    ...(spec.proxyUri === undefined ? {} : { proxyURI: spec.proxyUri }),
  };
}

/** Datastore path of a disk's file; undefined for disks without one. */
export function diskFile(device: VirtualDisk): string | undefined {
  const { backing } = device;
  return backing && "fileName" in backing ? backing.fileName : undefined;
}

export function hasParent(device: VirtualDisk): boolean {
  const { backing } = device;
  return backing !== undefined && "parent" in backing && backing.parent !== undefined;
}

/** Takes a device away and keeps its file. A disk is stripped to what identifies it: a chain of parents would nest too deep. */
export function remove(device: VirtualDevice): Change {
  if (device._type !== "VirtualDisk") return { _type: "VirtualDeviceConfigSpec", operation: "remove", device };
  const { key, controllerKey, unitNumber } = device;
  const fileName = diskFile(device);
  const stripped: VirtualDisk = {
    _type: "VirtualDisk",
    key,
    ...(fileName === undefined
      ? {}
      : { backing: { _type: "VirtualDiskFlatVer2BackingInfo", fileName, diskMode: "persistent" } }),
    ...(controllerKey === undefined ? {} : { controllerKey }),
    ...(unitNumber === undefined ? {} : { unitNumber }),
    capacityInKB: 0,
  };
  return { _type: "VirtualDeviceConfigSpec", operation: "remove", device: stripped };
}

export function isDisk(device: VirtualDevice): device is VirtualDisk {
  return device._type === "VirtualDisk";
}

/** Keys of the SCSI controllers among the devices, by bus. */
export function scsiControllers(devices: readonly VirtualDevice[]): Map<number, number> {
  const byBus = new Map<number, number>();
  for (const device of devices)
    if ("sharedBus" in device && SCSI_TYPES.has(device._type)) byBus.set(device.busNumber, device.key);
  return byBus;
}

const SCSI_TYPES: ReadonlySet<string> = new Set([
  "ParaVirtualSCSIController",
  "VirtualLsiLogicController",
  "VirtualLsiLogicSASController",
  "VirtualBusLogicController",
]);
