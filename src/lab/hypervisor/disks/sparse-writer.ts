/** Makes new monolithicSparse files and grows them. A file appears under its name only when it is complete. */
import { type FileHandle, link, open, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { NO_PARENT_CID, printDescriptor, type VmdkDescriptor, VmdkError } from "../../../format/vmdk/descriptor.ts";
import {
  DESCRIPTOR_SECTORS,
  decodeEntries,
  diskDatabase,
  encodeEntries,
  encodeSparseHeader,
  layoutExtension,
  layoutSparseExtent,
  SECTOR,
  type SparseHeader,
  type SparseLayout,
} from "../../../format/vmdk/sparse-extent.ts";
import { type DiskFile, readAt, writeAt } from "./disk-files.ts";

/** A content identifier: any 32-bit number but the two reserved ones. */
function newContentId(): number {
  return (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % 0xffff_fffe;
}

function descriptorBytes(descriptor: VmdkDescriptor): Uint8Array {
  const text = new TextEncoder().encode(printDescriptor(descriptor));
  const bytes = new Uint8Array(DESCRIPTOR_SECTORS * SECTOR);
  if (text.length >= bytes.length) throw new VmdkError("the path of the parent is too long for a VMDK descriptor");
  bytes.set(text);
  return bytes;
}

/** Write both directories, which refer to tables that are still holes. */
async function writeDirectories(handle: FileHandle, layout: SparseLayout): Promise<void> {
  await writeAt(handle, layout.header.redundantDirectoryOffset * SECTOR, encodeEntries(layout.redundantDirectory));
  await writeAt(handle, layout.header.directoryOffset * SECTOR, encodeEntries(layout.directory));
}

export interface NewDisk {
  capacitySectors: number;
  parent?: { contentId: number; fileNameHint: string };
}

/**
 * Make a disk; `fill` may add grains before the file gets its name.
 * Fails with EEXIST when the name is taken. A temporary file left by a killed process is replaced by the next attempt.
 */
export async function createSparseDisk(
  file: string,
  disk: NewDisk,
  fill?: (handle: FileHandle, layout: SparseLayout) => Promise<void>,
): Promise<void> {
  const layout = layoutSparseExtent(disk.capacitySectors);
  const descriptor: VmdkDescriptor = {
    cid: newContentId(),
    parentCid: disk.parent?.contentId ?? NO_PARENT_CID,
    createType: "monolithicSparse",
    ...(disk.parent === undefined ? {} : { parentFileNameHint: disk.parent.fileNameHint }),
    extents: [{ access: "RW", sectors: disk.capacitySectors, type: "SPARSE", file: basename(file), offset: 0 }],
    database: diskDatabase(disk.capacitySectors),
  };
  const embedded = descriptorBytes(descriptor);
  const temporary = join(dirname(file), `.${basename(file)}.new`);
  await rm(temporary, { force: true });
  try {
    const handle = await open(temporary, "wx+", 0o600);
    try {
      await handle.truncate(layout.header.overheadSectors * SECTOR);
      const head = new Uint8Array(SECTOR + embedded.length);
      head.set(encodeSparseHeader(layout.header));
      head.set(embedded, SECTOR);
      await writeAt(handle, 0, head);
      await writeDirectories(handle, layout);
      await fill?.(handle, layout);
    } finally {
      await handle.close();
    }
    await link(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function readDirectory(handle: FileHandle, offset: number, count: number): Promise<Uint32Array> {
  const bytes = await readAt(handle, offset * SECTOR, count * 4);
  if (bytes.length !== count * 4) throw new VmdkError("the grain directory is cut short");
  return decodeEntries(bytes);
}

/** Grow a sparse disk in place. The header's change is the last step that counts; killed before, nothing has changed. */
export async function extendSparseDisk(disk: DiskFile, header: SparseHeader, capacitySectors: number): Promise<void> {
  const handle = await open(disk.file, "r+");
  try {
    const count = Math.ceil(Math.ceil(header.capacitySectors / header.grainSectors) / header.entriesPerGrainTable);
    const { size } = await handle.stat();
    const layout = layoutExtension(
      header,
      await readDirectory(handle, header.directoryOffset, count),
      await readDirectory(handle, header.redundantDirectoryOffset, count),
      capacitySectors,
      Math.ceil(size / SECTOR),
    );
    await handle.truncate(layout.endSector * SECTOR);
    await writeDirectories(handle, layout);
    await handle.datasync();
    await writeAt(handle, 0, encodeSparseHeader(layout.header));
    // The extent line is for people and other tools: the capacity of an embedded descriptor's disk is the header's.
    const descriptor: VmdkDescriptor = {
      ...disk.descriptor,
      extents: disk.descriptor.extents.map((extent) => ({ ...extent, sectors: capacitySectors })),
      database: new Map([...disk.descriptor.database, ...diskDatabase(capacitySectors)]),
    };
    await writeAt(handle, header.descriptorOffset * SECTOR, descriptorBytes(descriptor));
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
