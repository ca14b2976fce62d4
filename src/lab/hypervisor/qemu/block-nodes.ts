/** QEMU block nodes (blockdev-add arguments) for disks and media. */
import type { MachineDisk } from "../contract.ts";
import { diskDevice, diskNode } from "./naming.ts";

export type QmpObject = { [key: string]: QmpValue };
export type QmpValue = string | number | boolean | null | QmpObject | QmpValue[];

/** A disk with the files that make it up, the writable one first. Parents are named here, so QEMU follows no hint itself. */
export interface DiskImages {
  disk: MachineDisk;
  files: readonly string[];
}

/** The chain as one tree of nodes. Parents are read-only, so that VMs may share them (QEMU locks them shared). */
export function diskBlockNode({ disk, files }: DiskImages): QmpObject {
  let node: QmpValue = null;
  for (const [index, filename] of [...files.entries()].reverse()) {
    const top = index === 0;
    node = {
      driver: "vmdk",
      ...(top ? { "node-name": diskNode(disk.key) } : {}),
      "read-only": !top,
      file: { driver: "file", filename },
      backing: node,
    };
  }
  if (node === null) throw new Error(`disk ${disk.key} has no files`);
  return node;
}

export function mediumBlockNode(nodeName: string, filename: string): QmpObject {
  return { driver: "raw", "node-name": nodeName, "read-only": true, file: { driver: "file", filename } };
}

/** device_add arguments of a disk on a SCSI controller. */
export function scsiDiskDevice(disk: MachineDisk): QmpObject {
  return {
    driver: "scsi-hd",
    id: diskDevice(disk.key),
    bus: `scsi${disk.controller}.0`,
    "scsi-id": disk.unit,
    drive: diskNode(disk.key),
    vendor: "VMware",
    product: "Virtual disk",
    // Discards are worth their cost: the format can record zeroed grains.
    discard_granularity: 64 * 1024,
  };
}
