/** Disks that have all of their room from the start. The others grow as they are written: thin. */
import type { DiskStore } from "../hypervisor/contract.ts";
import { changeDiskDatabase, type DiskDescription } from "./disk-description.ts";

/** In the disk database of a thick disk. */
export const THICK = { "ddb.thinProvisioned": "0" };

export const isThick = ({ descriptor }: DiskDescription): boolean =>
  descriptor.database.get("ddb.thinProvisioned") === "0";

/** What `createDisk` makes a thick disk from; gone again when the disk is there. */
export const scratchOf = (file: string): string => `${file}.empty`;

/** A new disk without a parent. All of a thick one is written: with zeros, as eager zeroing does. */
export async function createDisk(disks: DiskStore, file: string, capacityBytes: number, thick: boolean): Promise<void> {
  if (!thick) return disks.create(file, capacityBytes);
  const empty = scratchOf(file);
  await disks.create(empty, capacityBytes);
  try {
    await copyDisk(disks, empty, file, true);
  } finally {
    await disks.remove(empty);
  }
}

/** What a disk and its parents show, as a disk of its own. */
export async function copyDisk(disks: DiskStore, from: string, to: string, thick: boolean): Promise<void> {
  await disks.copy(from, to, { allocateAll: thick });
  if (thick) await changeDiskDatabase(to, THICK);
}
