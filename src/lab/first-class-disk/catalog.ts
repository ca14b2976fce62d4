import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { LabFault } from "../fault.ts";
import { readIfPresent, writeAtomically } from "../state-file.ts";
import type { DatastoreFolder } from "../storage/datastore-folder.ts";

/** Directory of first class disks on a datastore, as on ESXi. */
export const DIRECTORY = "fcd";
const FILE = `${DIRECTORY}/catalog.json`;
const DISK_LIMIT = 10_000;

export interface DiskSnapshot {
  id: string;
  description: string;
  created: string;
  /** The disk as it was then, on the datastore; the present one and later snapshots are its children. */
  path: string;
}

export interface FirstClassDisk {
  id: string;
  name: string;
  created: string;
  /** Of the present disk on the datastore. */
  path: string;
  keepAfterDeleteVm: boolean;
  metadata: { key: string; value: string }[];
  snapshots: DiskSnapshot[];
}

/** Disks of one datastore that have names and ids of their own. One file, replaced in one step. */
export class DiskCatalog {
  constructor(private readonly folder: DatastoreFolder) {}

  async list(): Promise<FirstClassDisk[]> {
    const text = await readIfPresent(await this.folder.resolve(FILE));
    return text === undefined ? [] : (JSON.parse(text) as { disks: FirstClassDisk[] }).disks;
  }

  async get(id: string): Promise<FirstClassDisk> {
    const found = (await this.list()).find((disk) => disk.id === id);
    if (found) return found;
    throw new LabFault("NotFound", `There is no disk '${id}' on the datastore '${this.folder.name}'.`);
  }

  async put(disk: FirstClassDisk): Promise<void> {
    const others = (await this.list()).filter(({ id }) => id !== disk.id);
    if (others.length >= DISK_LIMIT)
      throw new LabFault("LimitExceeded", `A datastore has at most ${DISK_LIMIT} disks.`);
    await this.#write([...others, disk]);
  }

  async remove(id: string): Promise<void> {
    await this.#write((await this.list()).filter((disk) => disk.id !== id));
  }

  async #write(disks: FirstClassDisk[]): Promise<void> {
    const file = await this.folder.resolve(FILE);
    await mkdir(dirname(file), { recursive: true });
    await writeAtomically(file, JSON.stringify({ format: 1, disks }, undefined, 1));
  }
}
