/** Virtual disk files of the lab's datastores: thin monolithicSparse VMDKs that `qemu-img` and QEMU understand. */
import { open, realpath, rename, rm, stat, truncate } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { printDescriptor, VmdkError } from "../../../format/vmdk/descriptor.ts";
import { SECTOR } from "../../../format/vmdk/sparse-extent.ts";
import { decodeStreamOptimized, encodeStreamOptimized } from "../../../format/vmdk/stream-optimized.ts";
import { type DiskStore, HypervisorError } from "../contract.ts";
import { ChainReader } from "./chain-reader.ts";
import { commitChild, copyLink, setParent } from "./chain-surgery.ts";
import { type DiskFile, type DiskRoots, diskError, openDiskChain, openDiskFile } from "./disk-files.ts";
import { fillFromChain, fillWholly, fillWithGrains, grainsOf } from "./flatten.ts";
import { createSparseDisk, extendSparseDisk } from "./sparse-writer.ts";

/** Bytes of a block in `stat().blocks`. */
const STAT_BLOCK = 512;

function toSectors(capacityBytes: number): number {
  return Math.ceil(capacityBytes / SECTOR);
}

/** Files of one disk, its descriptor last: while that exists, so does the disk. */
function filesOf(disk: DiskFile): string[] {
  const data = disk.extentFiles.filter((file) => file !== undefined && file !== disk.file);
  return [...new Set([...data.map(String), disk.file])];
}

/** Grow a disk of one flat extent: the data file first, then its descriptor in one step. */
async function extendFlatDisk(disk: DiskFile, capacitySectors: number): Promise<void> {
  const [extent] = disk.descriptor.extents;
  const [data] = disk.extentFiles;
  if (
    extent === undefined ||
    data === undefined ||
    disk.descriptor.extents.length !== 1 ||
    !/^(FLAT|VMFS)$/.test(extent.type)
  ) {
    throw new VmdkError(`disks of type ${disk.descriptor.createType} cannot be extended; copy the disk first`);
  }
  await truncate(data, (extent.offset + capacitySectors) * SECTOR);
  const temporary = join(dirname(disk.file), `.${basename(disk.file)}.new`);
  await rm(temporary, { force: true });
  const handle = await open(temporary, "wx", 0o600);
  try {
    await handle.writeFile(printDescriptor({ ...disk.descriptor, extents: [{ ...extent, sectors: capacitySectors }] }));
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(temporary, disk.file);
}

/**
 * `roots`: directories that disks, their extents and their parents must lie in; without it, any file is accepted.
 * All methods throw HypervisorError.
 */
export function createDiskStore(options: { roots?: DiskRoots } = {}): DiskStore {
  const { roots } = options;
  const guard = async <T>(file: string, action: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw diskError(error, file, action);
    }
  };
  return {
    create: (file, capacityBytes) =>
      guard(file, "create disk", () => createSparseDisk(file, { capacitySectors: toSectors(capacityBytes) })),

    createChild: (file, parentFile, capacityBytes) =>
      guard(file, "create child disk", async () => {
        const parent = await openDiskFile(parentFile, roots);
        const capacitySectors = capacityBytes === undefined ? parent.capacitySectors : toSectors(capacityBytes);
        if (capacitySectors < parent.capacitySectors) {
          throw new HypervisorError("InvalidDiskFormat", `${file} cannot be smaller than its parent ${parentFile}`);
        }
        await createSparseDisk(file, {
          capacitySectors,
          parent: {
            contentId: parent.descriptor.cid,
            fileNameHint: relative(await realpath(dirname(file)), parent.file),
          },
        });
      }),

    inspect: (file) =>
      guard(file, "inspect disk", async () => {
        const disk = await openDiskFile(file, roots);
        let allocatedBytes = 0;
        for (const part of filesOf(disk)) allocatedBytes += (await stat(part)).blocks * STAT_BLOCK;
        return {
          capacityBytes: disk.capacitySectors * SECTOR,
          allocatedBytes,
          ...(disk.parent === undefined ? {} : { parent: disk.parent }),
        };
      }),

    extend: (file, capacityBytes) =>
      guard(file, "extend disk", async () => {
        const disk = await openDiskFile(file, roots);
        const capacitySectors = toSectors(capacityBytes);
        if (capacitySectors < disk.capacitySectors) throw new VmdkError("a disk cannot be made smaller");
        if (disk.sparse !== undefined) await extendSparseDisk(disk, disk.sparse, capacitySectors);
        else await extendFlatDisk(disk, capacitySectors);
      }),

    copy: (from, to, { allocateAll } = { allocateAll: false }) =>
      guard(to, `copy ${from} to`, async () => {
        const chain = await openDiskChain(from, roots);
        const reader = await ChainReader.open(chain);
        try {
          await createSparseDisk(to, { capacitySectors: chain[0]?.capacitySectors ?? 0 }, (handle, layout) =>
            allocateAll ? fillWholly(reader, handle, layout) : fillFromChain(reader, handle, layout),
          );
        } finally {
          await reader.close();
        }
      }),

    copyLink: (from, to) => guard(to, `copy ${from} to`, async () => copyLink(await openDiskFile(from, roots), to)),

    commit: (child) =>
      guard(child, "merge into its parent", async () => {
        const [link, parent] = await openDiskChain(child, roots);
        if (link === undefined || parent === undefined) throw new VmdkError("the disk has no parent");
        await commitChild(link, parent);
      }),

    setParent: (file, parent) =>
      guard(file, "change the parent of", async () =>
        setParent(await openDiskFile(file, roots), await openDiskFile(parent, roots)),
      ),

    receive: (file, stream) =>
      guard(file, "receive disk", async () => {
        const { capacitySectors, grains } = await decodeStreamOptimized(stream);
        await createSparseDisk(file, { capacitySectors }, (handle, layout) => fillWithGrains(grains, handle, layout));
      }),

    async *send(file, name) {
      const chain = await openDiskChain(file, roots);
      const reader = await ChainReader.open(chain);
      try {
        const capacitySectors = chain[0]?.capacitySectors ?? 0;
        yield* encodeStreamOptimized({ capacitySectors, name }, grainsOf(reader, capacitySectors));
      } catch (error) {
        throw diskError(error, file, "send disk");
      } finally {
        await reader.close();
      }
    },

    remove: (file) =>
      guard(file, "remove disk", async () => {
        const disk = await openDiskFile(file, roots);
        for (const part of filesOf(disk)) await rm(part, { force: true });
      }),
  };
}
