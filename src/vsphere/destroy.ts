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
import { type AnyValue, isReference, type VirtualDisk } from "./vim25/index.ts";
import { deviceList } from "./virtual-machine-record.ts";

/** Calls whose tasks a restarted server forgot are made again, this often in all. */
const ATTEMPTS = 5;

/** Resolves as well when the VM is gone already. Throws VSphereFault; then the VM is still there, and so is its home. */
export async function destroyVirtualMachine(
  session: Session,
  tasks: Tasks,
  files: Files,
  vm: VirtualMachineReference,
  keepDisks: readonly DatastorePath[],
): Promise<void> {
  const kept = new Set(keepDisks.map(normal));
  let directory: DatastorePath | undefined;
  for (let attempt = 1; ; attempt++) {
    try {
      const { values, home } = await describe(session, vm);
      directory = home;
      await destroyOnce(tasks, files, { vm, values, directory, kept });
      break;
    } catch (error) {
      if (isGone(error, vm)) break;
      if (!isLostTask(error) || attempt >= ATTEMPTS) throw error;
    }
  }
  // Logs, and whatever else Destroy_Task does not know.
  if (directory !== undefined) await removeDirectory(files, directory, kept);
}

interface Doomed {
  vm: VirtualMachineReference;
  values: ReadonlyMap<string, AnyValue>;
  directory: DatastorePath | undefined;
  kept: ReadonlySet<string>;
}

async function describe(session: Session, vm: VirtualMachineReference) {
  const values = await retrieveOne(session, vm, [
    "config.files.vmPathName",
    "config.changeVersion",
    "config.hardware.device",
  ]);
  const vmPathName = values.get("config.files.vmPathName");
  return { values, home: typeof vmPathName === "string" ? parentDirectory(vmPathName).directory : undefined };
}

async function destroyOnce(tasks: Tasks, files: Files, { vm, values, directory, kept }: Doomed): Promise<void> {
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
}

const missing = (error: unknown): AnyValue | undefined =>
  error instanceof VSphereFault && error.fault === "ManagedObjectNotFound"
    ? (error.detail.obj as AnyValue | undefined)
    : undefined;

/** The VM itself is not there: somebody else destroyed it, or an earlier call. */
function isGone(error: unknown, vm: VirtualMachineReference): boolean {
  const object = missing(error);
  return isReference(object) && object.type === "VirtualMachine" && object.value === vm.value;
}

/** A server that was restarted knows its tasks no more; the VM may be as it was, and then its files must stay. */
function isLostTask(error: unknown): boolean {
  const object = missing(error);
  return isReference(object) && object.type === "Task";
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
