import { closeSync, existsSync, mkdirSync, readFileSync, rmdirSync, statfsSync, statSync } from "node:fs";
import { DISK_LAYOUT, type DiskAddress, type GuestState } from "../../src/link/guest-configuration.ts";
import { decodeState } from "../../src/link/guest-configuration-codec.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { blockDevice, DISK_WAIT_LIMIT, deleteDisk, diskName, mountDisk, rescanDisks } from "../boot/disks.ts";
import { deviceAppears } from "../boot/uevents.ts";
import { PATHS } from "../paths.ts";
import { spawned } from "../process/reaper.ts";
import { ioctl, OPEN, open, unmount } from "../system/libc.ts";
import { treeUsage } from "../tree/index.ts";

/** Disks mounted at a time. */
const MOUNT_LIMIT = 60;
/** Milliseconds after which a disk that was not announced is looked for. */
const RESCAN_AFTER = 2_000;
/** What /sys/class/block counts in. */
const SECTOR = 512;
/** Of Linux's ext4: _IOW('f', 16, __u64), the wanted number of blocks. */
const EXT4_IOC_RESIZE_FS = 0x40086610;
/** Milliseconds for mke2fs; it writes little, whatever the size of the disk. */
const FORMAT_LIMIT = 300_000;

export interface MountedDisk {
  disk: DiskAddress;
  /** Mount point of the filesystem. */
  directory: string;
  /** Directory of the content. */
  content: string;
}

/** The disks that this loader has mounted, by mount id. */
export class Mounts {
  readonly #mounted = new Map<string, MountedDisk>();
  #next = 1;

  get(id: string): MountedDisk {
    const mounted = this.#mounted.get(id);
    if (mounted === undefined) throw new LinkError("not-found", `no mounted disk "${id}"`);
    return mounted;
  }

  async mount(disk: DiskAddress, readOnly: boolean): Promise<string> {
    if (this.#mounted.size >= MOUNT_LIMIT) throw new LinkError("busy", `more than ${MOUNT_LIMIT} disks mounted`);
    const device = await this.#device(disk);
    const id = `m${this.#next++}`;
    const directory = mountDisk(device, id, readOnly);
    const contentPath = `${directory}/${DISK_LAYOUT.content}`;
    try {
      if (!existsSync(contentPath)) throw new LinkError("invalid", `disk ${diskName(disk)} has no content directory`);
      this.#mounted.set(id, { disk, directory, content: contentPath });
      return id;
    } catch (error) {
      unmount(directory);
      throw error;
    }
  }

  /** Writes everything back, unmounts, and makes the kernel let go of the disk. */
  unmount(id: string): void {
    const { disk, directory } = this.get(id);
    this.#mounted.delete(id);
    unmount(directory);
    rmdirSync(directory);
    deleteDisk(disk);
  }

  unmountAll(): void {
    for (const id of [...this.#mounted.keys()]) this.unmount(id);
  }

  async format(disk: DiskAddress, label: string): Promise<void> {
    if (!/^[\x20-\x7e]{0,16}$/.test(label)) throw new LinkError("invalid", "a label has at most 16 ASCII characters");
    const device = await this.#device(disk);
    const command = [PATHS.makeFilesystem, "-q", "-F", "-t", "ext4", "-L", label, "-m", "0"];
    // Inode tables and journal are zeroed later by the kernel or not at all: the disk is new and reads as zeros.
    const options = [
      "-E",
      "nodiscard,lazy_itable_init=1,lazy_journal_init=1",
      "-O",
      "^metadata_csum_seed,^orphan_file",
    ];
    const format = spawned(
      Bun.spawn([...command, ...options, device], {
        env: { PATH: "/sbin:/bin" },
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
        timeout: FORMAT_LIMIT,
      }),
    );
    const [exitCode, errors] = await Promise.all([format.exited, new Response(format.stderr).text()]);
    if (exitCode !== 0) throw new LinkError("internal", `mke2fs ${diskName(disk)}: ${errors.trim().slice(0, 500)}`);
    const directory = mountDisk(device, `format-${disk.bus}-${disk.unit}`, false);
    try {
      mkdirSync(`${directory}/${DISK_LAYOUT.content}`, { mode: 0o755 });
    } finally {
      unmount(directory);
      rmdirSync(directory);
    }
  }

  /** The kernel does it while the disk is mounted. As large already is no error. */
  grow(id: string): { totalBytes: number } {
    const { disk, directory } = this.get(id);
    const name = blockDevice(disk)?.replace("/dev/", "");
    if (name === undefined) throw new LinkError("not-found", `disk ${diskName(disk)} is gone`);
    const totalBytes = Number(readFileSync(`/sys/class/block/${name}/size`, "utf8")) * SECTOR;
    const { bsize } = statfsSync(directory);
    const blocks = new BigUint64Array([BigInt(Math.floor(totalBytes / bsize))]);
    const root = open(directory, OPEN.readOnly);
    try {
      ioctl(root, EXT4_IOC_RESIZE_FS, new Uint8Array(blocks.buffer));
    } finally {
      closeSync(root);
    }
    return { totalBytes };
  }

  usage(id: string): { usedBytes: number; totalBytes: number } {
    return treeUsage(this.get(id).content);
  }

  /** The last state that a container's tether wrote; null when there is none that can be trusted. */
  state(id: string): GuestState | null {
    const path = `${this.get(id).directory}/${DISK_LAYOUT.private}/${DISK_LAYOUT.state}`;
    if (!existsSync(path) || !statSync(path).isFile()) return null;
    return decodeState(readFileSync(path, "utf8")) ?? null;
  }

  logs(id: string): string {
    return `${this.get(id).directory}/${DISK_LAYOUT.private}/${DISK_LAYOUT.logs}`;
  }

  async #device(disk: DiskAddress): Promise<string> {
    const look = (): string | undefined => blockDevice(disk);
    const announced = await deviceAppears(look, RESCAN_AFTER);
    if (announced !== undefined) return announced;
    rescanDisks();
    const found = await deviceAppears(look, DISK_WAIT_LIMIT - RESCAN_AFTER);
    if (found !== undefined) return found;
    throw new LinkError("not-found", `disk ${diskName(disk)} did not appear within ${DISK_WAIT_LIMIT / 1000} s`);
  }
}
