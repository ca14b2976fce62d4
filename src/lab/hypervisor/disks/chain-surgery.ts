/** Changes to links of a chain of disks that keep what the chain shows: merge a child into its parent, move to another parent. */
import { constants } from "node:fs";
import { copyFile, type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { DESCRIPTOR_LIMIT, printDescriptor, type VmdkDescriptor, VmdkError } from "../../../format/vmdk/descriptor.ts";
import {
  decodeEntries,
  encodeEntries,
  FLAG_ZERO_GRAINS,
  grainTableCount,
  SECTOR,
  type SparseHeader,
  ZERO_GRAIN,
} from "../../../format/vmdk/sparse-extent.ts";
import { type DiskFile, openDiskFile, readAt, writeAt } from "./disk-files.ts";
import { extendSparseDisk } from "./sparse-writer.ts";

/** Replaces the descriptor: in place by one write when it is embedded, else by a rename. */
async function writeDescriptor(disk: DiskFile, descriptor: VmdkDescriptor): Promise<void> {
  const text = new TextEncoder().encode(printDescriptor(descriptor));
  if (disk.sparse === undefined) {
    const temporary = join(dirname(disk.file), `.${basename(disk.file)}.new`);
    await rm(temporary, { force: true });
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    return rename(temporary, disk.file);
  }
  const room = Math.min(disk.sparse.descriptorSectors * SECTOR, DESCRIPTOR_LIMIT);
  if (text.length > room) throw new VmdkError("the path of the parent is too long for a VMDK descriptor");
  const bytes = new Uint8Array(room);
  bytes.set(text);
  const handle = await open(disk.file, "r+");
  try {
    await writeAt(handle, disk.sparse.descriptorOffset * SECTOR, bytes);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

export async function setParent(disk: DiskFile, parent: DiskFile): Promise<void> {
  await writeDescriptor(disk, {
    ...disk.descriptor,
    parentCid: parent.descriptor.cid,
    parentFileNameHint: relative(dirname(disk.file), parent.file),
  });
}

/** Copies a disk of one file. The name of the parent is relative to the disk's directory, so it is spelled anew. */
export async function copyLink(disk: DiskFile, to: string): Promise<void> {
  if (disk.sparse === undefined) throw new VmdkError("only a disk in one file can be copied without its parents");
  const temporary = join(dirname(to), `.${basename(to)}.new`);
  await rm(temporary, { force: true });
  try {
    await copyFile(disk.file, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    const hint = disk.parent === undefined ? {} : { parentFileNameHint: relative(dirname(to), disk.parent) };
    const extents = disk.descriptor.extents.map((extent) => ({ ...extent, file: basename(to) }));
    await writeDescriptor({ ...disk, file: temporary }, { ...disk.descriptor, ...hint, extents });
    await rename(temporary, to);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Where grains of a parent are written. */
interface GrainTarget {
  write(sector: number, bytes: Uint8Array): Promise<void>;
  zero(sector: number, sectors: number): Promise<void>;
  finish(): Promise<void>;
}

/** Writes every grain of the child into the parent; data is durable before the caller may forget the child. */
export async function commitChild(child: DiskFile, parent: DiskFile): Promise<void> {
  const { sparse } = child;
  if (sparse === undefined) throw new VmdkError("only sparse child disks can be merged into their parents");
  if (parent.capacitySectors < child.capacitySectors) {
    if (parent.sparse === undefined)
      throw new VmdkError("a flat parent is smaller than its child and cannot be merged");
    await extendSparseDisk(parent, parent.sparse, child.capacitySectors);
  }
  if (parent.sparse !== undefined && parent.sparse.grainSectors !== sparse.grainSectors) {
    throw new VmdkError("parent and child have grains of different sizes; copy the disk instead");
  }
  const grown = await openDiskFile(parent.file, undefined);
  const target = grown.sparse === undefined ? await flatTarget(grown) : await sparseTarget(grown, grown.sparse);
  const handle = await open(child.file, "r");
  try {
    for await (const [sector, entry] of grains(handle, sparse)) {
      const length = Math.min(sparse.grainSectors, child.capacitySectors - sector);
      if (entry === ZERO_GRAIN) await target.zero(sector, length);
      else await target.write(sector, await readAt(handle, entry * SECTOR, length * SECTOR));
    }
  } finally {
    await target.finish();
    await handle.close();
  }
}

/** First sector and table entry of each grain that the file has. */
async function* grains(handle: FileHandle, header: SparseHeader): AsyncGenerator<[number, number]> {
  const tables = grainTableCount(header);
  const directory = decodeEntries(await readAt(handle, header.directoryOffset * SECTOR, tables * 4));
  for (const [index, table] of directory.entries()) {
    if (table === 0) continue;
    const entries = decodeEntries(await readAt(handle, table * SECTOR, header.entriesPerGrainTable * 4));
    for (const [position, entry] of entries.entries()) {
      const sector = (index * header.entriesPerGrainTable + position) * header.grainSectors;
      if (entry !== 0 && sector < header.capacitySectors) yield [sector, entry];
    }
  }
}

async function flatTarget(disk: DiskFile): Promise<GrainTarget> {
  const [extent] = disk.descriptor.extents;
  const [file] = disk.extentFiles;
  if (extent === undefined || file === undefined || disk.descriptor.extents.length !== 1) {
    throw new VmdkError(`a disk of type ${disk.descriptor.createType} takes no merged data; copy the disk instead`);
  }
  const handle = await open(file, "r+");
  return {
    write: (sector, bytes) => writeAt(handle, (extent.offset + sector) * SECTOR, bytes),
    zero: (sector, sectors) => writeAt(handle, (extent.offset + sector) * SECTOR, new Uint8Array(sectors * SECTOR)),
    async finish() {
      await handle.datasync();
      await handle.close();
    },
  };
}

/** Grains that the parent lacks are appended; its tables are written when they are left, data before tables. */
async function sparseTarget(disk: DiskFile, header: SparseHeader): Promise<GrainTarget> {
  const handle = await open(disk.file, "r+");
  const tables = grainTableCount(header);
  const read = async (offset: number) => decodeEntries(await readAt(handle, offset * SECTOR, tables * 4));
  const directories = [await read(header.directoryOffset)];
  if (header.redundantDirectoryOffset !== 0) directories.push(await read(header.redundantDirectoryOffset));
  let end = Math.ceil((await handle.stat()).size / SECTOR / header.grainSectors) * header.grainSectors;
  let current: { index: number; entries: Uint32Array; changed: boolean } | undefined;
  const flush = async (): Promise<void> => {
    if (!current?.changed) return;
    await handle.datasync();
    for (const directory of directories) {
      const table = directory[current.index] ?? 0;
      if (table === 0) throw new VmdkError("the parent lacks a grain table");
      await writeAt(handle, table * SECTOR, encodeEntries(current.entries));
    }
    current.changed = false;
  };
  const tableOf = async (sector: number) => {
    const index = Math.floor(sector / header.grainSectors / header.entriesPerGrainTable);
    if (current?.index !== index) {
      await flush();
      const table = directories[0]?.[index] ?? 0;
      if (table === 0) throw new VmdkError("the parent lacks a grain table");
      const bytes = await readAt(handle, table * SECTOR, header.entriesPerGrainTable * 4);
      current = { index, entries: decodeEntries(bytes), changed: false };
    }
    return current;
  };
  const slot = (sector: number): number => Math.floor(sector / header.grainSectors) % header.entriesPerGrainTable;
  const target: GrainTarget = {
    async write(sector, bytes) {
      const table = await tableOf(sector);
      const entry = table.entries[slot(sector)] ?? 0;
      if (entry > ZERO_GRAIN) return writeAt(handle, entry * SECTOR, bytes);
      // A grain takes its whole place in the file, also the last one of an odd capacity.
      const whole = new Uint8Array(header.grainSectors * SECTOR);
      whole.set(bytes);
      await writeAt(handle, end * SECTOR, whole);
      table.entries[slot(sector)] = end;
      table.changed = true;
      end += header.grainSectors;
    },
    async zero(sector, sectors) {
      // Extents that others made may not know grains of zeros.
      if ((header.flags & FLAG_ZERO_GRAINS) === 0) return target.write(sector, new Uint8Array(sectors * SECTOR));
      const table = await tableOf(sector);
      table.entries[slot(sector)] = ZERO_GRAIN;
      table.changed = true;
    },
    async finish() {
      try {
        await flush();
        await handle.datasync();
      } finally {
        await handle.close();
      }
    },
  };
  return target;
}
