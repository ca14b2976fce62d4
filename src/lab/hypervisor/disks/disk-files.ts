/** Opens VMDK files: descriptor, extents and the chain of parents, with every path checked. */
import { type FileHandle, open, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, resolve, sep } from "node:path";
import {
  DESCRIPTOR_LIMIT,
  NO_PARENT_CID,
  parseDescriptor,
  type VmdkDescriptor,
  VmdkError,
} from "../../../format/vmdk/descriptor.ts";
import { decodeSparseHeader, isSparseExtent, SECTOR, type SparseHeader } from "../../../format/vmdk/sparse-extent.ts";
import { HypervisorError, type HypervisorFault } from "../contract.ts";

/** Longest chain of parents, as in vSphere (KB 67186: 255 links). */
export const CHAIN_LIMIT = 255;

/** One VMDK, described, not held open. */
export interface DiskFile {
  /** Real path, symbolic links resolved. */
  file: string;
  descriptor: VmdkDescriptor;
  capacitySectors: number;
  /** Present when descriptor and data are in one file (monolithicSparse). */
  sparse?: SparseHeader;
  /** Absolute paths of the files that hold data, in extent order; undefined for ZERO extents. */
  extentFiles: (string | undefined)[];
  /** Absolute path of the parent. */
  parent?: string;
}

/** Directories that disks and their parents must lie in: a descriptor from outside must not open the host's other files. */
export type DiskRoots = readonly string[] | undefined;

const SYSTEM_ERRORS: Readonly<Record<string, HypervisorFault>> = {
  ENOENT: "FileNotFound",
  EEXIST: "FileAlreadyExists",
  ENOSPC: "NoDiskSpace",
  EDQUOT: "NoDiskSpace",
  EACCES: "CannotAccessFile",
  ENAMETOOLONG: "InvalidDatastorePath",
};

/** Turn errors of the operating system and of the format into the vSphere fault that fits. */
export function diskError(error: unknown, file: string, action: string): Error {
  if (error instanceof HypervisorError) return error;
  if (error instanceof VmdkError)
    return new HypervisorError("InvalidDiskFormat", `cannot ${action} ${file}: ${error.message}`);
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return new HypervisorError(
    SYSTEM_ERRORS[code] ?? "FileFault",
    `cannot ${action} ${file}: ${error instanceof Error ? error.message : String(error)}`,
  );
}

/** Real path of a disk file, checked to lie in one of the roots. */
async function realDiskPath(file: string, roots: DiskRoots): Promise<string> {
  const real = await realpath(file);
  if (roots === undefined) return real;
  for (const root of roots) {
    // A datastore whose directory is gone holds nothing, and must not hide the others.
    const directory = await realpath(root).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return;
      throw error;
    });
    if (directory !== undefined && real.startsWith(`${directory}${sep}`)) return real;
  }
  throw new HypervisorError("CannotAccessFile", `${file} lies outside of the datastores`);
}

export async function readAt(handle: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

export async function writeAt(handle: FileHandle, position: number, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

async function readDescriptor(handle: FileHandle): Promise<{ descriptor: VmdkDescriptor; sparse?: SparseHeader }> {
  const head = await readAt(handle, 0, SECTOR);
  if (!isSparseExtent(head)) {
    const text = await readAt(handle, 0, DESCRIPTOR_LIMIT + 1);
    return { descriptor: parseDescriptor(new TextDecoder().decode(text)) };
  }
  const sparse = decodeSparseHeader(head);
  const length = sparse.descriptorSectors * SECTOR;
  if (sparse.descriptorOffset === 0 || length === 0)
    throw new VmdkError("it is a data extent; name the descriptor instead");
  if (length > DESCRIPTOR_LIMIT) throw new VmdkError("the embedded descriptor is too long");
  const text = await readAt(handle, sparse.descriptorOffset * SECTOR, length);
  return { descriptor: parseDescriptor(new TextDecoder().decode(text)), sparse };
}

/** Read one VMDK's descriptor. Throws HypervisorError. */
export async function openDiskFile(path: string, roots: DiskRoots): Promise<DiskFile> {
  try {
    const file = await realDiskPath(path, roots);
    const handle = await open(file, "r");
    const { descriptor, sparse } = await readDescriptor(handle).finally(() => handle.close());
    const directory = dirname(file);
    const extentFiles: (string | undefined)[] = [];
    for (const extent of descriptor.extents) {
      if (extent.file === undefined) extentFiles.push(undefined);
      else if (sparse !== undefined) extentFiles.push(file);
      else {
        // An extent stands beside its descriptor; anything else could name any file of the host.
        if (basename(extent.file) !== extent.file)
          throw new VmdkError(`extent ${JSON.stringify(extent.file)} is not in the disk's directory`);
        extentFiles.push(await realDiskPath(resolve(directory, extent.file), roots));
      }
    }
    const hint = descriptor.parentFileNameHint;
    if (descriptor.parentCid !== NO_PARENT_CID && hint === undefined)
      throw new VmdkError("the disk has a parent but does not name it");
    return {
      file,
      descriptor,
      capacitySectors: sparse?.capacitySectors ?? descriptor.extents.reduce((sum, extent) => sum + extent.sectors, 0),
      ...(sparse === undefined ? {} : { sparse }),
      extentFiles,
      ...(descriptor.parentCid === NO_PARENT_CID || hint === undefined
        ? {}
        : { parent: isAbsolute(hint) ? hint : resolve(directory, hint) }),
    };
  } catch (error) {
    throw diskError(error, path, "open disk");
  }
}

/** The disk and its parents, the disk first. Throws when a parent is missing or was changed since the child was made. */
export async function openDiskChain(path: string, roots: DiskRoots): Promise<DiskFile[]> {
  const chain: DiskFile[] = [await openDiskFile(path, roots)];
  for (;;) {
    const child = chain.at(-1);
    if (child?.parent === undefined) return chain;
    if (chain.length > CHAIN_LIMIT)
      throw new HypervisorError("InvalidDiskFormat", `${path} has more than ${CHAIN_LIMIT} parents`);
    const parent = await openDiskFile(child.parent, roots);
    if (parent.descriptor.cid !== child.descriptor.parentCid) {
      throw new HypervisorError(
        "InvalidDiskFormat",
        `${parent.file} was changed after its child ${child.file} was made (content id mismatch); the child is of no use any more`,
      );
    }
    chain.push(parent);
  }
}
