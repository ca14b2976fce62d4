import { statfsSync } from "node:fs";
import { LabFault } from "../fault.ts";
import { data, type Reference } from "../model/data.ts";
import type { DatastoreFolder } from "../storage/datastore-folder.ts";
import type { LabContext } from "./context.ts";
import { Entity } from "./entity.ts";
import type { Host } from "./host.ts";

/** VMFS 6's limits, in bytes. */
const MAX_FILE_SIZE = 64 * 2 ** 40;
/** Free space is read anew at most this often; RefreshDatastore reads it at once. */
const SPACE_AGE_MILLISECONDS = 5000;

export class Datastore extends Entity {
  #space = { capacity: 0, free: 0, time: 0 };

  constructor(
    context: LabContext,
    reference: Reference,
    readonly folder: DatastoreFolder,
    parent: Entity,
    readonly browser: Reference,
    /** Names of the hosts that have it; undefined: all. */
    private readonly hostNames: readonly string[] | undefined,
  ) {
    super(context, reference, folder.name, parent);
    const url = `ds:///vmfs/volumes/${encodeURIComponent(folder.name)}/`;
    this.properties({
      summary: () => {
        const { capacity, free } = this.#readSpace();
        return data("DatastoreSummary", {
          datastore: reference,
          name: this.name,
          url,
          capacity,
          freeSpace: free,
          uncommitted: context.inventory.virtualMachines.reduce(
            (sum, vm) => sum + (vm.usageOn(this)?.uncommitted ?? 0),
            0,
          ),
          accessible: true,
          multipleHostAccess: this.hosts.length > 1,
          type: "VMFS",
          maintenanceMode: "normal",
        });
      },
      info: () =>
        data("DatastoreInfo", {
          name: this.name,
          url,
          freeSpace: this.#readSpace().free,
          maxFileSize: MAX_FILE_SIZE,
          maxVirtualDiskCapacity: MAX_FILE_SIZE,
          maxMemoryFileSize: MAX_FILE_SIZE,
          timestamp: new Date(this.#space.time),
        }),
      host: () =>
        this.hosts.map((host) =>
          data("DatastoreHostMount", {
            key: host.reference,
            mountInfo: data("HostMountInfo", {
              path: `/vmfs/volumes/${folder.name}`,
              accessMode: "readWrite",
              mounted: true,
              accessible: true,
            }),
          }),
        ),
      vm: () => context.inventory.virtualMachines.filter((vm) => vm.usesDatastore(this)).map((vm) => vm.reference),
      browser: () => browser,
      capability: () =>
        data("DatastoreCapability", {
          directoryHierarchySupported: true,
          rawDiskMappingsSupported: false,
          perFileThinProvisioningSupported: true,
          storageIORMSupported: false,
          nativeSnapshotSupported: false,
          topLevelDirectoryCreateSupported: true,
          seSparseSupported: true,
          vmfsSparseSupported: true,
          vsanSparseSupported: false,
        }),
    });
    this.methods({
      RefreshDatastore: () => this.refresh(),
      RefreshDatastoreStorageInfo: async () => {
        const users = context.inventory.virtualMachines.filter((vm) => vm.usesDatastore(this));
        for (const vm of users) await vm.measureStorage();
        this.refresh();
      },
      Rename_Task: () => {
        throw new LabFault("NotSupported", "A datastore of the lab is named by its configuration; rename it there.");
      },
    });
  }

  get hosts(): Host[] {
    return this.context.inventory.hosts.filter((host) => this.isMountedOn(host));
  }

  isMountedOn(host: Host): boolean {
    return this.hostNames === undefined || this.hostNames.includes(host.name);
  }

  refresh(): void {
    this.#space.time = 0;
    this.changed("summary", "info");
  }

  get capacityBytes(): number {
    return this.#readSpace().capacity;
  }

  #readSpace(): { capacity: number; free: number } {
    if (Date.now() - this.#space.time > SPACE_AGE_MILLISECONDS) {
      const status = statfsSync(this.folder.directory);
      this.#space = {
        capacity: status.blocks * status.bsize,
        free: status.bavail * status.bsize,
        time: Date.now(),
      };
    }
    return this.#space;
  }
}
