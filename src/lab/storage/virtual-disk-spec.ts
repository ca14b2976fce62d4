/** Which kinds of disks the lab can make. Its disks are sparse files: thin ones grow as they are written, the others have all of their room. */
import { CAPACITY_LIMIT } from "../../format/vmdk/sparse-extent.ts";
import { type Long, toNumber } from "../../vsphere/vim25/index.ts";
import { invalidArgument, notSupported } from "../fault.ts";
import type { DataObject } from "../model/data.ts";

const KIB = 1024;
/** `VirtualDiskAdapterType` as the disk database spells it. */
const ADAPTERS = new Map([
  ["lsiLogic", "lsilogic"],
  ["busLogic", "buslogic"],
  ["ide", "ide"],
]);
/** Disk types, and whether a disk of the type has all of its room from the start. */
const DISK_TYPES: ReadonlyMap<string, boolean> = new Map([
  ["thin", false],
  ["sparseMonolithic", false],
  ["thick", true],
  ["preallocated", true],
  ["eagerZeroedThick", true],
]);

export interface CheckedSpec {
  /** Undefined in a copy that keeps the capacity. */
  capacityBytes: number | undefined;
  adapterType: string;
  allocateAll: boolean;
}

/** Checks a VirtualDiskSpec; says why when the lab cannot make such a disk. */
export function checkDiskSpec(spec: DataObject, parameter: string): CheckedSpec {
  if (spec._type !== "VirtualDiskSpec" && spec._type !== "FileBackedVirtualDiskSpec") {
    throw notSupported(`a disk with a ${spec._type}; use a FileBackedVirtualDiskSpec.`);
  }
  const diskType = String(spec.diskType);
  const allocateAll = DISK_TYPES.get(diskType);
  if (allocateAll === undefined) {
    throw notSupported(`diskType '${diskType}'; the lab has ${[...DISK_TYPES.keys()].join(", ")}.`);
  }
  const adapterType = ADAPTERS.get(String(spec.adapterType));
  if (adapterType === undefined) {
    throw invalidArgument(`${parameter}.adapterType`, `It must be one of ${[...ADAPTERS.keys()].join(", ")}.`);
  }
  if ((spec.profile as unknown[] | undefined)?.length) throw notSupported("storage profiles; leave out the profile.");
  if (spec.crypto !== undefined) throw notSupported("encrypted disks; leave out crypto.");
  if (spec.sectorFormat !== undefined && spec.sectorFormat !== "native_512") {
    throw notSupported(`sectorFormat '${String(spec.sectorFormat)}'; use 'native_512'.`);
  }
  const capacityBytes =
    spec.capacityKb === undefined ? undefined : checkCapacity(spec.capacityKb as Long, `${parameter}.capacityKb`);
  return { capacityBytes, adapterType, allocateAll };
}

/** KiB as bytes, within what a disk can have. */
export function checkCapacity(capacityKb: Long, parameter: string): number {
  const bytes = toNumber(capacityKb) * KIB;
  if (!(bytes > 0)) throw invalidArgument(parameter, "A disk needs a capacity.");
  if (bytes > CAPACITY_LIMIT) throw invalidArgument(parameter, `A disk can have ${CAPACITY_LIMIT / KIB} KB at most.`);
  return bytes;
}

/** A disk's UUID as vSphere spells it: 16 bytes in two groups. */
export function checkDiskUuid(uuid: string): string {
  const hex = uuid.replace(/[\s-]/g, "").toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(hex)) throw invalidArgument("uuid", "It must be 16 bytes in hexadecimal.");
  const bytes = hex.match(/../g) ?? [];
  return `${bytes.slice(0, 8).join(" ")}-${bytes.slice(8).join(" ")}`;
}
