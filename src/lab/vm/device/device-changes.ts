/** Applies `deviceChange[]` to a list of devices. Files are not touched here: the plan says what has to be done with them. */
import type {
  VirtualDeviceConfigSpecFileOperation,
  VirtualDeviceConfigSpecOperation,
} from "../../../vsphere/vim25/index.ts";
import { LabFault } from "../../fault.ts";
import type { DataObject } from "../../model/data.ts";
import { type Device, type Disk, IDE_KEYS, LIMITS, PCI_KEY, SIO_KEY, sataKey, scsiKey } from "./device.ts";
import { addCdrom, addDisk, addNetworkAdapter, addSerialPort, editDevice } from "./device-specs.ts";
import { NIC_MODELS, SCSI_MODELS } from "./vim-devices.ts";

/** What adding devices needs to know of the world around the VM. */
export interface DeviceEnvironment {
  /** A file name for a new disk when the client leaves it to us, in the VM's directory unless a datastore is named. */
  newDiskPath(datastore: string | undefined, taken: ReadonlySet<string>): Promise<string>;
  /** The path with its spelling normalised; throws when its datastore is unknown. */
  normalizePath(path: string): string;
  /** Capacity and parents (nearest first) of an existing disk; FileNotFound. */
  inspectDisk(path: string): Promise<{ capacityBytes: number; parents: string[]; thick: boolean }>;
  exists(path: string): Promise<boolean>;
  hasNetwork(name: string): boolean;
  networkName(reference: unknown): string | undefined;
  newMacAddress(taken: ReadonlySet<string>): string;
}

export interface DiskCreation {
  path: string;
  parent: string | undefined;
  capacityBytes: number;
  /** All of its room is taken at once. */
  thick: boolean;
}

/** The outcome: the new devices and what must happen to files so that they become true. */
export interface DevicePlan {
  devices: Device[];
  createDisks: DiskCreation[];
  extendDisks: { path: string; capacityBytes: number }[];
  /** Disk files to delete once the change holds. */
  deleteDisks: string[];
}

/** One entry of `deviceChange[]` in progress. */
export interface ChangeContext {
  plan: DevicePlan;
  environment: DeviceEnvironment;
  index: number;
  /** Temporary (negative) keys of this spec to real ones. */
  keys: Map<number, number>;
}

type DeviceFault = "InvalidDeviceSpec" | "InvalidDeviceBacking" | "DeviceUnsupportedForVmPlatform" | "DeviceNotFound";

const describe = ({ index }: { index: number }, why: string): string =>
  `Invalid configuration for device '${index}'. ${why}`;
const where = ({ index }: { index: number }) => ({ property: "virtualDeviceSpec.device", deviceIndex: index });

export const invalidDevice = (
  context: { index: number },
  why: string,
  fault: DeviceFault = "InvalidDeviceSpec",
): LabFault => new LabFault(fault, describe(context, why), where(context));

export const missingController = (context: { index: number }, why: string): LabFault =>
  new LabFault("MissingController", describe(context, why), where(context));

export const invalidController = (context: { index: number }, why: string, controllerKey: unknown): LabFault =>
  new LabFault("InvalidController", describe(context, why), {
    ...where(context),
    controllerKey: typeof controllerKey === "number" ? controllerKey : 0,
  });

/** The operation does not fit the device, or its file operation does not fit the operation. */
export const invalidDeviceOperation = (context: { index: number }, why: string, change: DataObject): LabFault =>
  new LabFault("InvalidDeviceOperation", describe(context, why), {
    ...where(context),
    badOp: change.operation as VirtualDeviceConfigSpecOperation | undefined,
    badFileOp: change.fileOperation as VirtualDeviceConfigSpecFileOperation | undefined,
  });

export async function planDeviceChanges(
  devices: readonly Device[],
  changes: readonly DataObject[],
  environment: DeviceEnvironment,
): Promise<DevicePlan> {
  const plan: DevicePlan = { devices: [...devices], createDisks: [], extendDisks: [], deleteDisks: [] };
  const keys = new Map<number, number>();
  for (const [index, change] of changes.entries()) {
    const context = { plan, environment, index, keys };
    refuseUnsupported(context, change);
    const device = change.device as DataObject;
    if (change.operation === "add") await add(context, change, device);
    else if (change.operation === "remove") remove(context, change, device);
    else if (change.operation === "edit") await editDevice(context, change, device, find(context, change, device));
    else throw invalidDevice(context, "The operation is missing.");
  }
  return plan;
}

function refuseUnsupported(context: ChangeContext, change: DataObject): void {
  for (const field of ["profile", "backing", "filterSpec", "changeMode"]) {
    const value = change[field];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    throw new LabFault(
      "NotSupported",
      `The lab does not offer '${field}' of deviceChange[${context.index}]; leave it out.`,
    );
  }
}

async function add(context: ChangeContext, change: DataObject, device: DataObject): Promise<void> {
  const { plan, keys } = context;
  if (change.fileOperation !== undefined && device._type !== "VirtualDisk") {
    throw invalidDeviceOperation(context, "Only a disk has a file operation.", change);
  }
  // Every VM has its two IDE controllers; a client that brings one along (as ESXi allows at creation) gets the one that is there.
  if (device._type === "VirtualIDEController") {
    const key = IDE_KEYS[Number(device.busNumber ?? 0)];
    if (key === undefined) throw invalidDevice(context, "A VM has the IDE controllers 0 and 1.");
    if (typeof device.key === "number") keys.set(device.key, key);
    return;
  }
  const made = await make(context, change, device);
  plan.devices.push(made);
  if (typeof device.key === "number" && device.key < 0) keys.set(device.key, made.key);
}

async function make(context: ChangeContext, change: DataObject, device: DataObject): Promise<Device> {
  const scsi = SCSI_MODELS.get(device._type);
  if (scsi) {
    if (device.sharedBus !== undefined && device.sharedBus !== "noSharing") {
      throw invalidDevice(context, "The lab has no shared SCSI buses; use noSharing.");
    }
    const bus = freeBus(context, device, "scsi", LIMITS.scsiControllers);
    return { kind: "scsi", key: scsiKey(bus), bus, model: scsi };
  }
  if (device._type === "VirtualAHCIController") {
    const bus = freeBus(context, device, "sata", LIMITS.sataControllers);
    return { kind: "sata", key: sataKey(bus), bus };
  }
  if (NIC_MODELS.has(device._type)) return addNetworkAdapter(context, device);
  if (device._type === "VirtualDisk") return addDisk(context, change, device);
  if (device._type === "VirtualCdrom") return addCdrom(context, device);
  if (device._type === "VirtualSerialPort") return addSerialPort(context, device);
  throw invalidDevice(context, `The lab has no ${device._type}.`, "DeviceUnsupportedForVmPlatform");
}

function freeBus(context: ChangeContext, device: DataObject, kind: "scsi" | "sata", limit: number): number {
  const used = new Set(context.plan.devices.flatMap((other) => (other.kind === kind ? [other.bus] : [])));
  const wanted = device.busNumber as number | undefined;
  if (wanted !== undefined && wanted >= 0 && wanted < limit && !used.has(wanted)) return wanted;
  // Clients add several controllers with bus number 0: ESXi takes the next free number then, and so do we.
  for (let bus = 0; bus < limit; bus++) if (!used.has(bus)) return bus;
  throw invalidDevice(context, `A VM can have ${limit} ${kind.toUpperCase()} controllers.`);
}

/** The real key behind a `controllerKey` of the spec. */
export const realKey = (context: ChangeContext, key: number): number => context.keys.get(key) ?? key;

function find(context: ChangeContext, change: DataObject, device: DataObject): Device {
  const key = realKey(context, device.key as number);
  const found = context.plan.devices.find((other) => other.key === key);
  if (found) return found;
  if (isFixed(key)) {
    throw invalidDeviceOperation(context, "This device is part of every VM and cannot be changed.", change);
  }
  throw invalidDevice(context, `There is no device with key ${key}.`, "DeviceNotFound");
}

const isFixed = (key: number): boolean => [...IDE_KEYS, PCI_KEY, SIO_KEY, 300, 500, 600, 700, 12000].includes(key);

function remove(context: ChangeContext, change: DataObject, device: DataObject): void {
  const { plan } = context;
  const found = find(context, change, device);
  const busy = plan.devices.find((other) => "controllerKey" in other && other.controllerKey === found.key);
  if (busy) {
    throw invalidDeviceOperation(context, `Device ${busy.key} is still attached to the controller.`, change);
  }
  if (change.fileOperation !== undefined) {
    if (found.kind !== "disk" || change.fileOperation !== "destroy") {
      throw invalidDeviceOperation(context, "Only destroy goes with remove, and only for a disk.", change);
    }
    plan.deleteDisks.push(found.path);
  }
  plan.devices.splice(plan.devices.indexOf(found), 1);
}

export const disksOf = (devices: readonly Device[]): Disk[] => devices.filter((device) => device.kind === "disk");
