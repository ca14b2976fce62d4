/**
 * Child disks, and what stands in for them where a datastore or host does not make any: a full copy of the parent, which holds the same
 * but takes longer and more room. No property says reliably whether child disks work, so the first one tells.
 */
import { type DatastorePath, type DiskSpec, VSphereFault } from "./contract.ts";
import type { Files } from "./datastore-files.ts";
import { parentDirectory } from "./datastore-path.ts";

/** Faults that say that a disk with a parent cannot be made here, or that may say it. */
const REFUSALS: ReadonlySet<string> = new Set([
  "NotSupported",
  "DeviceBackingNotSupported",
  "DeviceUnsupportedForVmPlatform",
  "DeviceUnsupportedForVmVersion",
  "DeltaDiskFormatNotSupported",
  "InvalidDeviceBacking",
  "InvalidDeviceSpec",
  "InvalidDeviceOperation",
]);

export class ChildDisks {
  /** Refused once, and copies were taken: not tried again in this connection. */
  private refused = false;

  constructor(private readonly files: Pick<Files, "copyDisk" | "growDisk" | "removeDisk" | "makeDirectory">) {}

  /** Runs `make` with the disks as they are wanted or, when children are refused, with copies that are there already. */
  async with<T>(disks: readonly DiskSpec[], make: (disks: DiskSpec[]) => Promise<T>): Promise<T> {
    if (!disks.some(({ create }) => create?.parent !== undefined)) return make([...disks]);
    let refusal: unknown;
    if (!this.refused) {
      try {
        return await make([...disks]);
      } catch (error) {
        if (!(error instanceof VSphereFault) || !REFUSALS.has(error.fault)) throw error;
        refusal = error;
      }
    }
    const copies: DatastorePath[] = [];
    try {
      const replaced: DiskSpec[] = [];
      for (const disk of disks) replaced.push(await this.copied(disk, copies));
      const made = await make(replaced);
      this.refused = true;
      return made;
    } catch (error) {
      // It was not about the children: nothing of the attempt stays, and the first reason counts.
      for (const copy of copies) await this.files.removeDisk(copy);
      throw refusal ?? error;
    }
  }

  private async copied(disk: DiskSpec, copies: DatastorePath[]): Promise<DiskSpec> {
    const { create, ...attach } = disk;
    if (create?.parent === undefined) return disk;
    await this.files.makeDirectory(parentDirectory(disk.path).directory);
    copies.push(disk.path);
    await this.files.copyDisk(create.parent, disk.path);
    if (create.capacityBytes !== undefined) await this.files.growDisk(disk.path, create.capacityBytes);
    return attach;
  }
}
