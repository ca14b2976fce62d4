import type { EventLog } from "../event/event-log.ts";
import type { DiskStore, Hypervisor } from "../hypervisor/contract.ts";
import type { Reference } from "../model/data.ts";
import type { Registry } from "../model/registry.ts";
import type { ServerCertificate } from "../server/certificate.ts";
import type { LogBook } from "../service/log-book.ts";
import type { Authorization } from "../session/authorization.ts";
import type { DatastoreFolder } from "../storage/datastore-folder.ts";
import type { FileLocks } from "../storage/file-locks.ts";
import type { TaskManager } from "../task/task.ts";
import type { Inventory } from "./inventory.ts";
import type { InventoryStore } from "./inventory-store.ts";
import type { Naming } from "./naming.ts";

/** What the objects of the inventory share. */
export interface LabContext {
  readonly registry: Registry;
  readonly tasks: TaskManager;
  readonly events: EventLog;
  readonly naming: Naming;
  readonly store: InventoryStore;
  readonly hypervisor: Hypervisor;
  readonly disks: DiskStore;
  readonly folders: Map<string, DatastoreFolder>;
  readonly locks: FileLocks;
  /** Roles and permissions; set while the inventory is built. */
  authorization?: Authorization;
  readonly stateDirectory: string;
  readonly certificate: ServerCertificate;
  readonly log: (line: string) => void;
  readonly logBook: LogBook;
  /** Set while the inventory is built. */
  inventory: Inventory;
  readonly listen: { host: string; port: number };
  readonly content: Record<string, Reference>;
}
