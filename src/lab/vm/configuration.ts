import type { Allocation } from "../inventory/inventory-store.ts";
import type { DataObject } from "../model/data.ts";
import type { Device } from "./device/device.ts";

/** Everything that a `.vmx` says about a VM. Replaced as a whole by a reconfiguration, never changed in place. */
export interface Configuration {
  name: string;
  /** BIOS UUID and vCenter's instance UUID, lower case. */
  uuid: string;
  instanceUuid: string;
  /** Where the VM was when it got its UUID; another product's `.vmx` may not say. */
  locationUuid?: string;
  guestId: string;
  hardwareVersion: string;
  annotation: string;
  firmware: "bios" | "efi";
  cpus: number;
  coresPerSocket: number;
  memoryMB: number;
  cpu: Allocation;
  memory: Allocation;
  createDate: Date;
  modified: Date;
  /** Counts changes: `changeVersion`. */
  changes: number;
  extraConfig: ReadonlyMap<string, string>;
  /** Settings that the lab records and reports but that change nothing about a machine under QEMU. */
  recorded: Readonly<Record<string, DataObject | boolean>>;
  devices: readonly Device[];
  /** File with the memory of the suspended VM, in its directory. */
  suspendFile: string | undefined;
  /** A template can be cloned but not powered on or changed. */
  template: boolean;
}

export const DEFAULT_HARDWARE_VERSION = "vmx-21";
export const DEFAULT_GUEST = "otherGuest";

export const SHARES = { low: 0.5, normal: 1, high: 2 } as const;
/** Shares of one vCPU and of one MB at level normal. */
const CPU_SHARES = 1000;
const MEMORY_SHARES = 10;

/** Allocation of a VM or pool when nothing is said. `amount`: vCPUs, or MB of memory. */
export function defaultAllocation(kind: "cpu" | "memory", amount: number): Allocation {
  return {
    reservation: 0,
    expandableReservation: false,
    limit: -1,
    shares: { level: "normal", shares: amount * (kind === "cpu" ? CPU_SHARES : MEMORY_SHARES) },
  };
}

/** vSphere's optimistic lock: it changes with every reconfiguration. */
export const changeVersion = (configuration: Configuration): string =>
  `${configuration.modified.toISOString().replace(/Z$/, "000Z")}#${configuration.changes}`;

const GUEST_NAMES: Readonly<Record<string, string>> = {
  otherGuest: "Other (32-bit)",
  otherGuest64: "Other (64-bit)",
  otherLinuxGuest: "Other Linux (32-bit)",
  otherLinux64Guest: "Other Linux (64-bit)",
  other26xLinux64Guest: "Other 2.6.x Linux (64-bit)",
  other3xLinux64Guest: "Other 3.x or later Linux (64-bit)",
  other4xLinux64Guest: "Other 4.x or later Linux (64-bit)",
  other5xLinux64Guest: "Other 5.x or later Linux (64-bit)",
  other6xLinux64Guest: "Other 6.x or later Linux (64-bit)",
  vmwarePhoton64Guest: "VMware Photon OS (64-bit)",
  debian11_64Guest: "Debian GNU/Linux 11 (64-bit)",
  debian12_64Guest: "Debian GNU/Linux 12 (64-bit)",
  ubuntu64Guest: "Ubuntu Linux (64-bit)",
};

/** Guests that the lab knows by name; others are accepted too. */
export const GUEST_IDS: readonly string[] = Object.keys(GUEST_NAMES);

export const guestFullName = (guestId: string): string => GUEST_NAMES[guestId] ?? guestId;
