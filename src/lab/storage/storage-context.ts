import {
  fileAlreadyExists,
  fileNotFound,
  hypervisorFault,
  invalidArgument,
  invalidDatastorePath,
  LabFault,
  noDiskSpace,
} from "../fault.ts";
import type { DiskStore } from "../hypervisor/contract.ts";
import { HypervisorError } from "../hypervisor/contract.ts";
import type { Personality } from "../inventory/naming.ts";
import type { Reference } from "../model/data.ts";
import type { Call, Parameters } from "../model/managed-object.ts";
import { sessionOf } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import { type User, userHolds } from "../session/users.ts";
import type { TaskManager } from "../task/task.ts";
import type { DatastoreFolder } from "./datastore-folder.ts";
import { parseDatastorePath } from "./datastore-path.ts";
import type { DiskRelations } from "./disk-relations.ts";
import type { FileLocks } from "./file-locks.ts";
import { isWorkPath } from "./work-area.ts";

/** A datastore as the file services see it. */
export interface StoredDatastore {
  readonly reference: Reference;
  readonly folder: DatastoreFolder;
}

/** What the file services need of the lab's context. */
export interface StorageContext {
  readonly registry: Registry;
  readonly tasks: TaskManager;
  readonly locks: FileLocks;
  readonly disks: DiskStore;
  readonly naming: { readonly personality: Personality };
  readonly inventory: { readonly relations: DiskRelations; readonly datastores: readonly StoredDatastore[] };
}

/** One file or directory of a datastore, which need not exist. */
export interface DatastoreFile {
  readonly datastore: StoredDatastore;
  /** Relative to the datastore; "" is the datastore itself. */
  readonly path: string;
  /** The file of this machine. */
  readonly file: string;
  /** `[datastore] path`, for messages. */
  readonly display: string;
}

export type FilePrivilege = "Datastore.Browse" | "Datastore.FileManagement";

/** NoPermission when the user may not do this on the datastore. */
export function requireFilePrivilege(user: User, datastore: StoredDatastore, privilegeId: FilePrivilege): void {
  if (userHolds(user, privilegeId, datastore.reference)) return;
  throw new LabFault("NoPermission", `Permission to perform this operation was denied: ${privilegeId} is missing.`, {
    object: datastore.reference,
    privilegeId,
  });
}

/** The file behind a relative path of a datastore. The lab's own work area is not reachable. */
export async function fileOf(datastore: StoredDatastore, path: string): Promise<DatastoreFile> {
  const display = datastore.folder.format(path);
  if (isWorkPath(path)) throw invalidDatastorePath(display);
  return { datastore, path, file: await datastore.folder.resolve(path), display };
}

/** The file that a method's parameters name, after checking that the caller may use it so. */
export async function locate(
  context: StorageContext,
  call: Call,
  parameters: Parameters,
  names: { path: string; datacenter: string },
  privilege: FilePrivilege,
): Promise<DatastoreFile> {
  requireDatacenter(context, parameters[names.datacenter] as Reference | undefined, names.datacenter);
  const parsed = parseDatastorePath(parameters[names.path] as string);
  const datastore = context.inventory.datastores.find(({ folder }) => folder.name === parsed.datastore);
  if (!datastore) throw invalidDatastorePath(parameters[names.path] as string);
  requireFilePrivilege(sessionOf(call).user, datastore, privilege);
  return fileOf(datastore, parsed.path);
}

/** vCenter cannot tell which datacenter a `[datastore]` belongs to unless it is told; a host has only one. */
function requireDatacenter(context: StorageContext, datacenter: Reference | undefined, parameter: string): void {
  if (!datacenter) {
    if (context.naming.personality === "HostAgent") return;
    throw invalidArgument(parameter, "vCenter needs the datacenter of a datastore path.");
  }
  if (context.registry.get(datacenter).reference.type !== "Datacenter") {
    throw invalidArgument(parameter, "It is not a datacenter.");
  }
}

/** Errors of the operating system and of the disk store as the faults that vSphere has for them. */
export function asFileFault(error: unknown, { display, datastore }: DatastoreFile): unknown {
  if (error instanceof HypervisorError) return hypervisorFault(error, display, datastore.folder.name);
  if (error instanceof LabFault || !(error instanceof Error) || !("code" in error)) return error;
  switch (error.code) {
    case "ENOENT":
    case "ENOTDIR":
      return fileNotFound(display);
    case "EEXIST":
    case "ENOTEMPTY":
    case "EISDIR":
      return fileAlreadyExists(display);
    case "ENOSPC":
    case "EDQUOT":
      return noDiskSpace(display, datastore.folder.name);
    case "ENAMETOOLONG":
      return invalidDatastorePath(display);
    default:
      return new LabFault("CannotAccessFile", `Unable to access file ${display}: ${error.message}`, { file: display });
  }
}
