/**
 * Destroying a VM without taking others' disks with it. vSphere's Destroy_Task deletes every attached disk, on some versions with
 * its parents, so shared disks and children are detached first and our own children deleted as files. Each step can be repeated: killed in
 * between, the VM is still there and the next call goes on.
 */
import { type DatastoreEntry, type DatastorePath, type VirtualMachineReference, VSphereFault } from "./contract.ts";
import { type Files, isNotFound } from "./datastore-files.ts";
import { isBelow, joinDatastorePath, parentDirectory, splitDatastorePath } from "./datastore-path.ts";
import { diskFile, hasParent, isDisk, remove } from "./devices.ts";
import { retrieveOne } from "./properties.ts";
import type { Session } from "./session.ts";
import type { Tasks } from "./tasks.ts";
import type { VirtualDisk } from "./vim25/index.ts";
import { deviceList } from "./virtual-machine-record.ts";

export async function destroyVirtualMachine(
  session: Session,
  tasks: Tasks,
  files: Files,
  vm: VirtualMachineReference,
  keepDisks: readonly DatastorePath[],
): Promise<void> {
  const kept = new Set(keepDisks.map(normal));
  let directory: DatastorePath | undefined;
  try {
    const values = await retrieveOne(session, vm, [
      "config.files.vmPathName",
      "config.changeVersion",
      "config.hardware.device",
    ]);
    const vmPathName = values.get("config.files.vmPathName");
    if (typeof vmPathName === "string") directory = parentDirectory(vmPathName).directory;
    const disks = deviceList(values.get("config.hardware.device")).filter(isDisk);
    const detach = disks.filter((disk) => mustDetach(disk, directory, kept));
    if (detach.length > 0) {
      const changeVersion = values.get("config.changeVersion");
      await tasks.run("ReconfigVM_Task", vm, {
        spec: {
          ...(typeof changeVersion === "string" ? { changeVersion } : {}),
          deviceChange: detach.map(remove),
        },
      });
    }
    if (directory !== undefined) {
      const attached = disks.filter((disk) => !detach.includes(disk)).map(diskFile);
      const spared = attached.filter((file) => file !== undefined).map(normal);
      await removeFiles(files, directory, new Set([...kept, ...spared]), (name) => name.endsWith(".vmdk"));
    }
    await tasks.run("Destroy_Task", vm, {});
  } catch (error) {
    if (!(error instanceof VSphereFault) || error.fault !== "ManagedObjectNotFound") throw error;
  }
  // Logs, and whatever else Destroy_Task does not know.
  if (directory !== undefined) await removeDirectory(files, directory, kept);
}

function normal(path: DatastorePath): DatastorePath {
  return joinDatastorePath(splitDatastorePath(path));
}

function mustDetach(disk: VirtualDisk, directory: DatastorePath | undefined, kept: ReadonlySet<string>): boolean {
  const file = diskFile(disk);
  if (file === undefined) return false;
  return kept.has(normal(file)) || hasParent(disk) || directory === undefined || !isBelow(file, directory);
}

async function removeDirectory(files: Files, directory: DatastorePath, kept: ReadonlySet<string>): Promise<void> {
  // A VM whose files are in the datastore's root has no directory of its own.
  if (splitDatastorePath(directory).path === "") return;
  if ([...kept].some((file) => isBelow(file, directory))) await removeFiles(files, directory, kept, () => true);
  else await files.remove(directory);
}

/** Removes the directory's entries that `wanted` names and that belong to no kept disk. */
async function removeFiles(
  files: Files,
  directory: DatastorePath,
  kept: ReadonlySet<string>,
  wanted: (name: string) => boolean,
): Promise<void> {
  const { datastore, path } = splitDatastorePath(directory);
  if (path === "") return;
  // `x.vmdk` has its data in files such as `x-flat.vmdk`: all that begins with a kept disk's name stays.
  const stems = [...kept]
    .filter((file) => isBelow(file, directory))
    .map((file) =>
      splitDatastorePath(file)
        .path.slice(path.length + 1)
        .replace(/\.vmdk$/, ""),
    );
  let entries: DatastoreEntry[];
  try {
    entries = await files.list(directory);
  } catch (error) {
    if (isNotFound(error)) return;
    throw error;
  }
  for (const { name } of entries) {
    if (!wanted(name) || stems.some((stem) => name.startsWith(stem) || stem.startsWith(`${name}/`))) continue;
    await files.remove(joinDatastorePath({ datastore, path: `${path}/${name}` }));
  }
}
