import { asFault, fileAlreadyExists, fileNotFound, LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { findDiskDescription } from "../storage/disk-description.ts";
import type { Intent } from "./journal.ts";
import { createDisk, isThick, scratchOf } from "../storage/thick-disk.ts";
import type { DevicePlan } from "./device/device-changes.ts";

/** Longest chain of disks that is followed, as on vSphere. */
const CHAIN_LIMIT = 255;

/**
 * Capacity and parents of a disk file, nearest parent first, and whether the first of them all has all of its room. FileNotFound, or a fault
 * that says what is wrong with the file.
 */
export async function describeDisk(
  context: LabContext,
  path: string,
): Promise<{ capacityBytes: number; parents: string[]; thick: boolean }> {
  let file = await context.inventory.resolve(path);
  if (!(await context.inventory.exists(path))) throw fileNotFound(path);
  const first = await inspect(context, file, path);
  const parents: string[] = [];
  let { parent } = first;
  while (parent !== undefined && parents.length < CHAIN_LIMIT) {
    file = parent;
    const display = context.inventory.display(file);
    parents.push(display);
    ({ parent } = await inspect(context, file, display));
  }
  const description = await findDiskDescription(file);
  return { capacityBytes: first.capacityBytes, parents, thick: description !== undefined && isThick(description) };
}

async function inspect(context: LabContext, file: string, path: string) {
  try {
    return await context.disks.inspect(file);
  } catch (error) {
    const fault = asFault(error);
    throw new LabFault("GenericVmConfigFault", `Cannot open the disk '${path}': ${fault.message}`, {
      reason: fault.message,
    });
  }
}

/**
 * Makes and extends the disk files of a plan. When that fails, what was made is gone again; later `undo` takes it back, `keep`
 * says that a stored configuration uses it now.
 */
export async function makeDiskFiles(
  context: LabContext,
  plan: DevicePlan,
  vmPathName: string,
): Promise<{ undo: () => Promise<void>; keep: () => Promise<void> }> {
  const nothing = async (): Promise<void> => undefined;
  if (plan.createDisks.length === 0 && plan.extendDisks.length === 0) return { undo: nothing, keep: nothing };
  const files = await Promise.all(plan.createDisks.map(({ path }) => context.inventory.resolve(path)));
  for (const { path } of plan.createDisks) if (await context.inventory.exists(path)) throw fileAlreadyExists(path);
  const vmxFile = await context.inventory.resolve(vmPathName);
  const scratch = files.filter((_, index) => plan.createDisks[index]?.thick === true).map(scratchOf);
  const intent: Intent = { kind: "make", vmxFile, files: [...files, ...scratch] };
  const done = files.length > 0 ? await context.inventory.journal.begin(intent) : nothing;
  const made: string[] = [];
  const undo = async (): Promise<void> => {
    for (const file of made) {
      await context.disks.remove(file);
      context.inventory.relations.remove(file);
    }
    await done();
  };
  try {
    for (const [index, { path, parent, capacityBytes, thick }] of plan.createDisks.entries()) {
      const file = files[index] ?? (await context.inventory.resolve(path));
      if (parent === undefined) {
        await createDisk(context.disks, file, capacityBytes, thick);
      } else {
        const parentFile = await context.inventory.resolve(parent);
        context.locks.requireNoWriter(parentFile, parent);
        await context.disks.createChild(file, parentFile, capacityBytes);
        context.inventory.relations.add(file, parentFile);
      }
      made.push(file);
    }
    for (const { path, capacityBytes } of plan.extendDisks) {
      const file = await context.inventory.resolve(path);
      context.inventory.requireNotParent(file, path);
      context.locks.requireFree(file, undefined, path);
      await context.disks.extend(file, capacityBytes);
    }
  } catch (error) {
    await undo();
    throw error;
  }
  return { undo, keep: done };
}

/** Deletes disks that no configuration uses any more. Parents of other disks stay. */
export async function removeDiskFiles(context: LabContext, paths: readonly string[]): Promise<void> {
  const files: string[] = [];
  for (const path of paths) {
    const file = await context.inventory.resolve(path);
    if (context.inventory.relations.hasChildren(file) || !(await context.inventory.exists(path))) continue;
    context.locks.requireFree(file, undefined, path);
    files.push(file);
  }
  if (files.length === 0) return;
  const done = await context.inventory.journal.begin({ kind: "remove", files });
  for (const file of files) {
    await context.disks.remove(file);
    context.inventory.relations.remove(file);
  }
  await done();
}
