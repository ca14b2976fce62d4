/** Removing, moving and copying files of datastores. Whatever takes a name or gives one up does so in one rename. */
import { randomUUID } from "node:crypto";
import { constants, lstatSync, renameSync } from "node:fs";
import { copyFile, mkdir, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileAlreadyExists, fileNotFound, invalidArgument, invalidDatastorePath, LabFault } from "../fault.ts";
import { parentDirectory } from "./datastore-path.ts";
import { diskParts } from "./disk-description.ts";
import { asFileFault, type DatastoreFile, type StorageContext } from "./storage-context.ts";
import { openWorkDirectory } from "./work-area.ts";

/** Deepest directory tree that is copied. */
const DEPTH_LIMIT = 64;

/** Deletes a file, a disk with its extents, or a directory with all that is in it. */
export async function removeFile(context: StorageContext, target: DatastoreFile): Promise<void> {
  if (target.path === "") throw invalidDatastorePath(target.display);
  const { folder } = target.datastore;
  const { directory } = await folder.resolveExisting(target.path);
  const files = directory ? [target.file] : await diskParts(target.file);
  const work = await openWorkDirectory(folder);
  try {
    // No await from the checks to the last rename: nobody can open a file in between.
    for (const file of files) context.locks.requireFree(file, undefined, target.display);
    context.inventory.relations.requireNoChildren(target.file, target.display);
    for (const file of files) renameSync(file, join(work.directory, basename(file)));
    context.inventory.relations.remove(target.file);
  } catch (error) {
    throw asFileFault(error, target);
  } finally {
    await work.dispose();
  }
}

/**
 * Gives a complete file its name, replacing another file only when `force` says so; checks that nobody uses the other one.
 * Synchronous, so that nothing happens between check and rename.
 */
export function commitFile(context: StorageContext, from: string, to: DatastoreFile, force: boolean): void {
  const existing = lstatSync(to.file, { throwIfNoEntry: false });
  if (existing && (!force || existing.isDirectory())) throw fileAlreadyExists(to.display);
  if (existing) {
    context.locks.requireFree(to.file, undefined, to.display);
    context.inventory.relations.requireNoChildren(to.file, to.display);
  }
  try {
    renameSync(from, to.file);
  } catch (error) {
    throw asFileFault(error, to);
  }
  context.inventory.relations.remove(to.file);
}

/** FileNotFound when the directory that shall hold the file is not there. */
export async function requireParentDirectory(target: DatastoreFile): Promise<void> {
  if (target.path === "") throw invalidDatastorePath(target.display);
  const { folder } = target.datastore;
  const parent = parentDirectory(target.path);
  const { directory } = await folder.resolveExisting(parent);
  if (!directory) throw fileNotFound(folder.format(parent));
}

/** Moves a file or directory, also to another datastore. With `force` an existing file is replaced in the same step. */
export async function moveFile(
  context: StorageContext,
  from: DatastoreFile,
  to: DatastoreFile,
  force: boolean,
): Promise<void> {
  const directory = await checkPair(from, to, force);
  if (!directory) await requireSingleFile(from, "MoveVirtualDisk_Task");
  const check = (): void => {
    context.locks.requireFree(from.file, undefined, from.display);
    context.inventory.relations.requireUnlinked(from.file, from.display);
  };
  if (from.datastore === to.datastore) {
    check();
    commitFile(context, from.file, to, force && !directory);
    context.inventory.relations.remove(from.file);
    await noteDisks(context, to, directory);
    return;
  }
  check();
  await copyInto(context, from, to, force && !directory, directory);
  await removeFile(context, from);
}

/** Copies a file or directory. */
export async function copyFileOrDirectory(
  context: StorageContext,
  from: DatastoreFile,
  to: DatastoreFile,
  force: boolean,
): Promise<void> {
  const directory = await checkPair(from, to, force);
  if (directory) context.inventory.relations.requireUnlinked(from.file, from.display);
  else {
    await requireSingleFile(from, "CopyVirtualDisk_Task");
    if (from.path.endsWith(".vmdk")) await requireNoParent(context, from);
  }
  await copyInto(context, from, to, force && !directory, directory);
}

async function checkPair(from: DatastoreFile, to: DatastoreFile, force: boolean): Promise<boolean> {
  if (from.path === "") throw invalidDatastorePath(from.display);
  const { directory } = await from.datastore.folder.resolveExisting(from.path);
  await requireParentDirectory(to);
  if (from.file === to.file) throw fileAlreadyExists(to.display);
  if (to.file.startsWith(`${from.file}/`)) {
    throw invalidArgument("destinationName", `${to.display} lies inside of ${from.display}.`);
  }
  if (!force && (await to.datastore.folder.exists(to.path))) throw fileAlreadyExists(to.display);
  return directory;
}

/** A disk's descriptor names its extents: moved or copied alone it would be of no use. */
async function requireSingleFile(from: DatastoreFile, instead: string): Promise<void> {
  const parts = await diskParts(from.file);
  if (parts.length === 1) return;
  throw new LabFault("CannotAccessFile", `${from.display} is a disk of ${parts.length} files; use ${instead}.`, {
    file: from.display,
  });
}

async function requireNoParent(context: StorageContext, from: DatastoreFile): Promise<void> {
  try {
    const { parent } = await context.disks.inspect(from.file);
    if (parent === undefined) return;
  } catch (error) {
    const fault = asFileFault(error, from);
    // Not a disk in spite of its name, so it has no parent.
    if (fault instanceof LabFault && fault.fault === "InvalidDiskFormat") return;
    throw fault;
  }
  throw new LabFault("CannotAccessFile", `${from.display} is a child disk; use CopyVirtualDisk_Task.`, {
    file: from.display,
  });
}

async function copyInto(
  context: StorageContext,
  from: DatastoreFile,
  to: DatastoreFile,
  force: boolean,
  directory: boolean,
): Promise<void> {
  const owner = `copy ${randomUUID()}`;
  const work = await openWorkDirectory(to.datastore.folder);
  try {
    if (directory) context.locks.requireFree(from.file, undefined, from.display);
    // While the copy runs nobody may begin to write the file.
    context.locks.acquire(owner, { read: [from.file], write: [] }, () => from.display);
    const copy = join(work.directory, "copy");
    await copyTree(from.file, copy, directory, 0);
    commitFile(context, copy, to, force);
    await noteDisks(context, to, directory);
  } catch (error) {
    throw asFileFault(error, to);
  } finally {
    context.locks.release(owner);
    await work.dispose();
  }
}

async function copyTree(from: string, to: string, directory: boolean, depth: number): Promise<void> {
  if (!directory) return copyFile(from, to, constants.COPYFILE_FICLONE);
  if (depth > DEPTH_LIMIT) throw new LabFault("FileFault", `${from} is nested too deeply to be copied`, { file: from });
  await mkdir(to);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (!entry.isFile() && !entry.isDirectory()) continue;
    await copyTree(join(from, entry.name), join(to, entry.name), entry.isDirectory(), depth + 1);
  }
}

/** Learns which parents new disks have. */
export async function noteDisks(context: StorageContext, { file }: DatastoreFile, directory: boolean): Promise<void> {
  if (directory) await context.inventory.relations.scan(file);
  else if (basename(file).endsWith(".vmdk")) await context.inventory.relations.read(file);
}
