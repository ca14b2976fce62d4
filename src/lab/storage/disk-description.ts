/** What a disk's descriptor tells beyond capacity and parent: extents, adapter, UUID. */
import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import {
  DESCRIPTOR_LIMIT,
  parseDescriptor,
  printDescriptor,
  type VmdkDescriptor,
  VmdkError,
} from "../../format/vmdk/descriptor.ts";
import { decodeSparseHeader, isSparseExtent, SECTOR } from "../../format/vmdk/sparse-extent.ts";
import { writeAtomically } from "../state-file.ts";

export interface DiskDescription {
  descriptor: VmdkDescriptor;
  /** Where the descriptor lies inside of a sparse disk; undefined when it is a text file of its own. */
  embedded: { offset: number; length: number } | undefined;
}

/** Reads a descriptor. Throws VmdkError when the file is no virtual disk. */
export async function readDiskDescription(file: string): Promise<DiskDescription> {
  const handle = await open(file, "r");
  try {
    const head = await readAt(handle, 0, SECTOR);
    if (!isSparseExtent(head)) {
      const text = await readAt(handle, 0, DESCRIPTOR_LIMIT + 1);
      return { descriptor: parseDescriptor(text.toString()), embedded: undefined };
    }
    const header = decodeSparseHeader(head);
    const embedded = { offset: header.descriptorOffset * SECTOR, length: header.descriptorSectors * SECTOR };
    if (embedded.offset === 0 || embedded.length === 0) throw new VmdkError("it is an extent without a descriptor");
    if (embedded.length > DESCRIPTOR_LIMIT) throw new VmdkError("the embedded descriptor is too long");
    const text = await readAt(handle, embedded.offset, embedded.length);
    return { descriptor: parseDescriptor(text.toString()), embedded };
  } finally {
    await handle.close();
  }
}

/** As `readDiskDescription`; undefined when the file is no virtual disk. */
export async function findDiskDescription(file: string): Promise<DiskDescription | undefined> {
  try {
    return await readDiskDescription(file);
  } catch (error) {
    if (error instanceof VmdkError) return undefined;
    throw error;
  }
}

/** Files that make up the disk, its descriptor last; the file alone when it is no disk. */
export async function diskParts(file: string): Promise<string[]> {
  if (!file.endsWith(".vmdk")) return [file];
  const description = await findDiskDescription(file);
  if (!description || description.embedded) return [file];
  const parts = new Set<string>();
  for (const { file: name } of description.descriptor.extents) {
    // An extent stands beside its descriptor; another name could be any file of the host.
    if (name === undefined || basename(name) !== name || name === ".." || name === ".") continue;
    const extent = join(dirname(file), name);
    if (extent !== file && (await Bun.file(extent).exists())) parts.add(extent);
  }
  return [...parts, file];
}

/** Changes entries of the disk database. An embedded descriptor is written in place by one write. */
export async function changeDiskDatabase(file: string, entries: Readonly<Record<string, string>>): Promise<void> {
  const { descriptor, embedded } = await readDiskDescription(file);
  const text = printDescriptor({
    ...descriptor,
    database: new Map([...descriptor.database, ...Object.entries(entries)]),
  });
  if (!embedded) return writeAtomically(file, text);
  const bytes = Buffer.alloc(embedded.length);
  if (Buffer.byteLength(text) > bytes.length) throw new VmdkError("the disk database is full");
  bytes.write(text);
  const handle = await open(file, "r+");
  try {
    await handle.write(bytes, 0, bytes.length, embedded.offset);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await handle.read(bytes, 0, length, position);
  return bytes.subarray(0, bytesRead);
}
