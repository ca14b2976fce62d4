/** Virtual devices as a VM's configuration holds them. Keys follow vSphere's conventions. */
import type { DiskShares } from "./disk-shares.ts";

export type ScsiModel = "pvscsi" | "lsilogic" | "lsisas1068";
export type NetworkAdapterModel = "vmxnet3" | "e1000" | "e1000e";
export type DiskMode = "persistent" | "independent_persistent" | "independent_nonpersistent" | "nonpersistent";

interface Connectable {
  startConnected: boolean;
  connected: boolean;
  allowGuestControl: boolean;
}

export interface ScsiController {
  readonly kind: "scsi";
  key: number;
  bus: number;
  model: ScsiModel;
}

export interface SataController {
  readonly kind: "sata";
  key: number;
  bus: number;
}

export interface Disk {
  readonly kind: "disk";
  key: number;
  controllerKey: number;
  unit: number;
  /** `[ds] dir/file.vmdk` */
  path: string;
  mode: DiskMode;
  capacityBytes: number;
  /** Parents, nearest first, in datastore notation. */
  parents: string[];
  /** The disk, or the first of its parents, has all of its room; what has parents grows as it is written. */
  thick?: boolean;
  uuid: string;
  /** Level normal when left out. */
  shares?: DiskShares;
}

export interface Cdrom extends Connectable {
  readonly kind: "cdrom";
  key: number;
  controllerKey: number;
  unit: number;
  /** ISO in datastore notation; undefined: a client's drive, which is empty here. */
  path: string | undefined;
}

export interface NetworkAdapter extends Connectable {
  readonly kind: "nic";
  key: number;
  unit: number;
  model: NetworkAdapterModel;
  /** Port group. */
  network: string;
  macAddress: string;
  addressType: "manual" | "assigned" | "generated";
  wakeOnLan: boolean;
}

export type SerialBacking =
  | { kind: "file"; path: string }
  | { kind: "network"; serviceUri: string; proxyUri?: string; direction: "client" | "server" };

export interface SerialPort extends Connectable {
  readonly kind: "serial";
  key: number;
  unit: number;
  backing: SerialBacking;
  yieldOnPoll: boolean;
}

export type Device = ScsiController | SataController | Disk | Cdrom | NetworkAdapter | SerialPort;

/** Controllers that every VM has. */
export const IDE_KEYS: readonly number[] = [200, 201];
export const PCI_KEY = 100;
export const SIO_KEY = 400;
export const SCSI_RESERVED_UNIT = 7;

export const LIMITS = {
  scsiControllers: 4,
  sataControllers: 4,
  networkAdapters: 10,
  /** The machine has four UARTs and the lab keeps the last one for guest RPC. */
  serialPorts: 3,
  pvscsiUnits: 64,
  scsiUnits: 16,
  sataUnits: 30,
  ideUnits: 2,
} as const;

export const scsiKey = (bus: number): number => 1000 + bus;
export const sataKey = (bus: number): number => 15000 + bus;

/** Which bus a controller key stands for; undefined when there is no such controller in the configuration. */
export function busOf(devices: readonly Device[], controllerKey: number) {
  const ide = IDE_KEYS.indexOf(controllerKey);
  if (ide >= 0) return { bus: "ide" as const, controller: ide, units: LIMITS.ideUnits };
  for (const device of devices) {
    if (device.key !== controllerKey) continue;
    if (device.kind === "sata") return { bus: "sata" as const, controller: device.bus, units: LIMITS.sataUnits };
    if (device.kind === "scsi") {
      const units = device.model === "pvscsi" ? LIMITS.pvscsiUnits : LIMITS.scsiUnits;
      return { bus: "scsi" as const, controller: device.bus, units };
    }
  }
  return undefined;
}

/** The conventional key of a disk or drive at a place. */
export function unitKey(place: { bus: "ide" | "sata" | "scsi"; controller: number }, unit: number): number {
  if (place.bus === "ide") return 3000 + 2 * place.controller + unit;
  if (place.bus === "sata") return 16000 + 30 * place.controller + unit;
  // Units past 15 exist on PVSCSI only; they would run into the next controller's keys.
  return unit < 16 ? 2000 + 16 * place.controller + unit : 2064 + 64 * place.controller + unit;
}

/** Devices on a controller: its `device` property. */
export const childrenOf = (devices: readonly Device[], controllerKey: number): number[] =>
  devices
    .filter((device) => "controllerKey" in device && device.controllerKey === controllerKey)
    .map((device) => device.key);
