/** A datastore in a temporary directory with the services on it, for tests. */
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDiskStore } from "../hypervisor/disks/disk-store.ts";
import type { Reference } from "../model/data.ts";
import { type Call, ManagedObject, type Parameters } from "../model/managed-object.ts";
import { Registry } from "../model/registry.ts";
import { Session } from "../session/sessions.ts";
import { ROLES } from "../session/users.ts";
import { Task, TaskManager } from "../task/task.ts";
import { DatastoreFolder } from "./datastore-folder.ts";
import { DiskRelations } from "./disk-relations.ts";
import { FileLocks } from "./file-locks.ts";
import type { StorageContext } from "./storage-context.ts";

export const DATACENTER: Reference = { type: "Datacenter", value: "ha-datacenter" };

class Plain extends ManagedObject {}

export interface StorageFixture {
  context: StorageContext & { naming: { personality: "HostAgent"; datacenterName: string } };
  directory: string;
  /** Calls a method as the administrator or another role and waits for its task; gives the task's result. */
  call(object: ManagedObject, method: string, parameters: Parameters, roleId?: number): Promise<unknown>;
  dispose(): Promise<void>;
}

export async function makeStorageFixture(): Promise<StorageFixture> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), "lab-storage-")));
  const registry = new Registry();
  const tasks = new TaskManager(registry, { type: "TaskManager", value: "tasks" }, (...parts) => parts.join("-"));
  const disks = createDiskStore({ roots: [directory] });
  const datastore = {
    reference: { type: "Datastore", value: "datastore-1" },
    folder: new DatastoreFolder("ds", directory),
  };
  registry.add(new Plain(registry, DATACENTER));
  const context = {
    registry,
    tasks,
    locks: new FileLocks(),
    disks,
    naming: { personality: "HostAgent" as const, datacenterName: "ha-datacenter" },
    inventory: { relations: new DiskRelations(disks, () => undefined), datastores: [datastore] },
  };
  return {
    context,
    directory,
    async call(object, method, parameters, roleId = ROLES.administrator) {
      const session = new Session({ name: "root", roleId }, { address: "", userAgent: "" }, "en");
      const call: Call = { method, session, signal: new AbortController().signal, client: session.client };
      const result = await object.findMethod(method)?.(parameters, call);
      if (!method.endsWith("_Task")) return result;
      await tasks.settled();
      const task = registry.getAs(Task, result, "task");
      const info = task.read("info") as {
        error?: { fault: { _type: string }; localizedMessage: string };
        result?: unknown;
      };
      if (info.error) throw Object.assign(new Error(info.error.localizedMessage), { fault: info.error.fault._type });
      const value = info.result as { value?: unknown } | undefined;
      return value && typeof value === "object" && "value" in value ? value.value : value;
    },
    dispose: () => rm(directory, { recursive: true, force: true }),
  };
}
