/** Disks as QEMU gets them: the chain of files, with a throw-away child on top of nonpersistent ones. */
import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import type { MachineDisk } from "../contract.ts";
import type { DiskImages } from "../qemu/block-nodes.ts";
import { type DiskRoots, diskError, openDiskChain } from "./disk-files.ts";
import { createSparseDisk } from "./sparse-writer.ts";

/**
 * In the VM's directory, like ESXi's redo logs: it must outlive a suspended VM, and the run directory may be small. Its name ends
 * like theirs, not in `.vmdk`: nobody who looks for disks may take it for a child that its parent must be kept for.
 */
const redoFile = (directory: string, key: number) => join(directory, `disk-${key}.vmdk.REDO`);

/** `keepRedo`: go on with the changes of a suspended VM. */
export async function prepareDisk(
  disk: MachineDisk,
  directory: string,
  roots: DiskRoots,
  keepRedo: boolean,
): Promise<DiskImages> {
  const chain = await openDiskChain(disk.file, roots);
  const files = chain.map((link) => link.file);
  const [top] = chain;
  if (!disk.discardWrites || top === undefined) return { disk, files };
  const redo = redoFile(directory, disk.key);
  const present = await access(redo).then(
    () => true,
    () => false,
  );
  if (!(keepRedo && present)) {
    await rm(redo, { force: true });
    try {
      await createSparseDisk(redo, {
        capacitySectors: top.capacitySectors,
        parent: { contentId: top.descriptor.cid, fileNameHint: top.file },
      });
    } catch (error) {
      throw diskError(error, redo, "create redo log");
    }
  }
  return { disk, files: [redo, ...files] };
}

export async function discardRedo(directory: string, key: number): Promise<void> {
  await rm(redoFile(directory, key), { force: true });
}
