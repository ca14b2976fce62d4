import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import type { DiskAddress } from "../../src/link/guest-configuration.ts";
import { PATHS } from "../paths.ts";
import { MOUNT, mount } from "../system/libc.ts";

/** Milliseconds to wait for a disk that the configuration names. */
export const DISK_WAIT_LIMIT = 30_000;

const list = (path: string): string[] => {
  try {
    return readdirSync(path);
  } catch {
    // A class without devices has no directory.
    return [];
  }
};

/**
 * SCSI host numbers of the paravirtual controllers in the order of their PCI addresses: the n-th is the controller with
 * bus number n. (Linux numbers hosts in the order in which drivers came up, which is not stable.)
 */
const paravirtualHosts = (): string[] => {
  const hosts: { number: string; address: string }[] = [];
  for (const host of list("/sys/class/scsi_host")) {
    const driver = readFileSync(`/sys/class/scsi_host/${host}/proc_name`, "utf8").trim();
    if (driver !== "vmw_pvscsi") continue;
    hosts.push({ number: host.slice(4), address: realpathSync(`/sys/class/scsi_host/${host}/device`) });
  }
  return hosts.sort((a, b) => (a.address < b.address ? -1 : 1)).map((host) => host.number);
};

const scsiDevice = (disk: DiskAddress): string | undefined => {
  const host = paravirtualHosts()[disk.bus];
  return host === undefined ? undefined : `/sys/class/scsi_device/${host}:0:${disk.unit}:0/device`;
};

/** The kernel makes a disk's directory before the disk can be opened (ENXIO until then), and announces it after that. */
const canBeOpened = (path: string): boolean => {
  try {
    closeSync(openSync(path, "r"));
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && (error.code === "ENXIO" || error.code === "ENOENT"));
  }
};

/** The block device (/dev/sdX) at the address, undefined while it is not there. */
export const blockDevice = (disk: DiskAddress): string | undefined => {
  const device = scsiDevice(disk);
  const name = device === undefined ? undefined : list(`${device}/block`)[0];
  return name === undefined || !canBeOpened(`/dev/${name}`) ? undefined : `/dev/${name}`;
};

/** Looks for disks that were plugged in but not noticed by the kernel. */
export const rescanDisks = (): void => {
  for (const host of paravirtualHosts()) writeFileSync(`/sys/class/scsi_host/host${host}/scan`, "- - -");
};

/** Tells the kernel to let go of the disk, so that it can be unplugged. */
export const deleteDisk = (disk: DiskAddress): void => {
  const device = scsiDevice(disk);
  if (device !== undefined) writeFileSync(`${device}/delete`, "1");
};

export const diskName = (disk: DiskAddress): string => `SCSI ${disk.bus}:${disk.unit}`;

/** Mounts an ext4 disk and returns the mount point. */
export const mountDisk = (device: string, name: string, readOnly: boolean): string => {
  const target = `${PATHS.disks}/${name}`;
  mkdirSync(target, { recursive: true, mode: 0o700 });
  // A disk that was cut off while writing needs its journal replayed, which a read-only medium cannot do: noload then.
  const flags = MOUNT.noAtime | (readOnly ? MOUNT.readOnly : 0);
  mount(device, target, "ext4", flags, readOnly ? "noload" : "");
  return target;
};

/**
 * Keeps all but `bytes` of a mounted ext4 disk from being used, also by root: the kernel holds these blocks back until it is
 * unmounted, and nothing is written for it.
 */
export const limitSize = (mountPoint: string, device: string, bytes: number): void => {
  const { blocks, bsize } = statfsSync(mountPoint);
  const reserved = Math.max(0, blocks - Math.floor(bytes / bsize));
  writeFileSync(`/sys/fs/ext4/${device.replace("/dev/", "")}/reserved_clusters`, String(reserved));
};
