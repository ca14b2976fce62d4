import { type Long, toNumber } from "../../vsphere/vim25/index.ts";
import { invalidArgument, invalidDatastorePath, notSupported } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { Datastore } from "../inventory/datastore.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject, type Method, type Parameters, sessionOf } from "../model/managed-object.ts";
import { parseDatastorePath } from "../storage/datastore-path.ts";
import { type FilePrivilege, requireFilePrivilege } from "../storage/storage-context.ts";
import { checkCapacity } from "../storage/virtual-disk-spec.ts";
import type { FirstClassDisk } from "./catalog.ts";
import { type DiskService, snapshotOf } from "./disk-service.ts";

const MEBIBYTE = 2 ** 20;
const NAME_LIMIT = 80;

/** First class disks: disks with an id and a name that need no VM. A vCenter's and a host's manager differ in the names of their methods. */
export class StorageObjectManager extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
    private readonly service: DiskService,
  ) {
    super(context.registry, reference);
    const host = reference.type === "HostVStorageObjectManager";
    const methods: Record<string, Method> = {
      CreateDisk_Task: (p, call) => this.#create(p.spec as DataObject, call),
      RegisterDisk: (p, call) => this.#register(String(p.path), p.name as string | undefined, call),
      RetrieveVStorageObject: async (p, call) => {
        const store = this.#store(p, call, "Datastore.Browse");
        return this.#view(store, await service.catalog(store).get(idOf(p.id)));
      },
      ListVStorageObject: async (p, call) =>
        (await service.catalog(this.#store(p, call, "Datastore.Browse")).list()).map(({ id }) => vimId(id)),
      RenameVStorageObject: (p, call) => {
        const name = checkedName(p.name);
        return service.change(this.#store(p, call), idOf(p.id), async (disk) => ({ ...disk, name }));
      },
      ExtendDisk_Task: (p, call) =>
        this.#changing(p, call, async (disk, file) => {
          const bytes = checkCapacity(toNumber(p.newCapacityInMB as Long) * 1024, "newCapacityInMB");
          const { capacityBytes } = await context.disks.inspect(file);
          if (bytes < capacityBytes) throw invalidArgument("newCapacityInMB", "A disk cannot be made smaller.");
          if (bytes > capacityBytes) await context.disks.extend(file, bytes);
          return disk;
        }),
      DeleteVStorageObject_Task: (p, call) => {
        const store = this.#store(p, call);
        return this.#run(call, () => service.remove(store, idOf(p.id)));
      },
      CloneVStorageObject_Task: (p, call) => this.#copy(p, call, p.spec as DataObject, undefined),
      CreateDiskFromSnapshot_Task: (p, call) => {
        if (p.path !== undefined || p.crypto !== undefined) throw notSupported("a path or crypto; leave them out.");
        return this.#copy(p, call, data("VslmCloneSpec", { name: p.name }), idOf(p.snapshotId));
      },
      VStorageObjectCreateSnapshot_Task: (p, call) => {
        const store = this.#store(p, call);
        return this.#run(call, async () => {
          const { id } = await service.snapshot(store, idOf(p.id), String(p.description));
          return vimId(id);
        });
      },
      DeleteSnapshot_Task: (p, call) => {
        const store = this.#store(p, call);
        return this.#run(call, () => service.deleteSnapshot(store, idOf(p.id), idOf(p.snapshotId)));
      },
      RevertVStorageObject_Task: (p, call) => {
        const store = this.#store(p, call);
        return this.#run(call, () => service.revert(store, idOf(p.id), idOf(p.snapshotId)));
      },
      RetrieveSnapshotInfo: async (p, call) => {
        const { snapshots } = await service.catalog(this.#store(p, call, "Datastore.Browse")).get(idOf(p.id));
        return data("VStorageObjectSnapshotInfo", {
          snapshots: snapshots.map(({ id, created, description }) =>
            data("VStorageObjectSnapshotInfoVStorageObjectSnapshot", {
              id: vimId(id),
              createTime: new Date(created),
              description,
            }),
          ),
        });
      },
    };
    this.methods(host ? renamed(methods) : methods);
  }

  #store(p: Parameters, call: Call, privilege: FilePrivilege = "Datastore.FileManagement"): Datastore {
    const store = this.registry.getAs(Datastore, p.datastore, "datastore");
    requireFilePrivilege(sessionOf(call).user, store, privilege);
    return store;
  }

  #run(call: Call, operation: () => Promise<unknown>): Reference {
    return this.context.tasks.run(call.method, undefined, sessionOf(call).user.name, operation);
  }

  #changing(
    p: Parameters,
    call: Call,
    operation: (disk: FirstClassDisk, file: string) => Promise<FirstClassDisk>,
  ): Reference {
    const store = this.#store(p, call);
    return this.#run(call, () => this.service.change(store, idOf(p.id), operation));
  }

  #create(spec: DataObject, call: Call): Reference {
    const backing = spec.backingSpec as DataObject;
    const store = this.#store(backing, call);
    if (backing.path !== undefined) throw notSupported("a path of one's own; the disk is kept by its id.");
    if (spec.crypto !== undefined) throw notSupported("encrypted disks; leave out crypto.");
    const thick = backing.provisioningType !== undefined && backing.provisioningType !== "thin";
    if (thick) throw notSupported(`provisioning '${String(backing.provisioningType)}'; first class disks are thin.`);
    const bytes = checkCapacity(toNumber(spec.capacityInMB as Long) * 1024, "spec.capacityInMB");
    const given = described(spec);
    return this.#run(call, async () =>
      this.#view(store, await this.service.create(store, given, (file) => this.context.disks.create(file, bytes))),
    );
  }

  /** A copy that stands alone, of the present disk or of a snapshot. */
  #copy(p: Parameters, call: Call, spec: DataObject, snapshotId: string | undefined): Reference {
    const source = this.#store(p, call, "Datastore.Browse");
    const backing = spec.backingSpec as DataObject | undefined;
    const target = this.#store(backing ?? p, call);
    const given = described(spec);
    return this.#run(call, async () => {
      const disk = await this.service.catalog(source).get(idOf(p.id));
      const from = await source.folder.resolve(
        snapshotId === undefined ? disk.path : snapshotOf(disk, snapshotId).path,
      );
      const owner = `clone of ${disk.id}`;
      this.context.locks.acquire(owner, { read: [from], write: [] }, () => source.folder.format(disk.path));
      try {
        const copy = (file: string): Promise<void> => this.context.disks.copy(from, file);
        return this.#view(target, await this.service.create(target, given, copy));
      } finally {
        this.context.locks.release(owner);
      }
    });
  }

  async #register(path: string, name: string | undefined, call: Call): Promise<DataObject> {
    const { datastore, path: inside } = diskPath(path);
    const store = this.context.inventory.datastores.find(({ folder }) => folder.name === datastore);
    if (!store || !inside.endsWith(".vmdk")) throw invalidDatastorePath(path);
    requireFilePrivilege(sessionOf(call).user, store, "Datastore.FileManagement");
    const fallback = inside.slice(inside.lastIndexOf("/") + 1).replace(/\.vmdk$/, "");
    return this.#view(store, await this.service.register(store, inside, checkedName(name ?? fallback)));
  }

  async #view(store: Datastore, disk: FirstClassDisk): Promise<DataObject> {
    const { capacityBytes } = await this.context.disks.inspect(await store.folder.resolve(disk.path));
    const vm = this.service.consumer(store, disk);
    return data("VStorageObject", {
      config: data("VStorageObjectConfigInfo", {
        id: vimId(disk.id),
        name: disk.name,
        createTime: new Date(disk.created),
        keepAfterDeleteVm: disk.keepAfterDeleteVm,
        relocationDisabled: false,
        nativeSnapshotSupported: false,
        changedBlockTrackingEnabled: false,
        backing: data("BaseConfigInfoDiskFileBackingInfo", {
          datastore: store.reference,
          filePath: store.folder.format(disk.path),
          provisioningType: "thin",
        }),
        metadata: disk.metadata.map((entry) => data("KeyValue", { ...entry })),
        capacityInMB: Math.ceil(capacityBytes / MEBIBYTE),
        consumptionType: ["disk"],
        consumerId: vm ? [vimId(vm.configuration.instanceUuid)] : [],
      }),
    });
  }
}

/** What a host calls the methods that it has. */
const ON_HOST: Readonly<Record<string, string>> = {
  CreateDisk_Task: "HostCreateDisk_Task",
  RegisterDisk: "HostRegisterDisk",
  RetrieveVStorageObject: "HostRetrieveVStorageObject",
  ListVStorageObject: "HostListVStorageObject",
  ExtendDisk_Task: "HostExtendDisk_Task",
  DeleteVStorageObject_Task: "HostDeleteVStorageObject_Task",
  CloneVStorageObject_Task: "HostCloneVStorageObject_Task",
  VStorageObjectCreateSnapshot_Task: "HostVStorageObjectCreateSnapshot_Task",
  DeleteSnapshot_Task: "HostVStorageObjectDeleteSnapshot_Task",
};

const renamed = (methods: Record<string, Method>): Record<string, Method> =>
  Object.fromEntries(
    Object.entries(methods).flatMap(([name, run]) => (ON_HOST[name] === undefined ? [] : [[ON_HOST[name], run]])),
  );

const vimId = (id: string): DataObject => data("ID", { id });
const idOf = (id: unknown): string => String((id as DataObject).id);
function described(spec: DataObject): Pick<FirstClassDisk, "name" | "keepAfterDeleteVm" | "metadata"> {
  if ((spec.profile as unknown[] | undefined)?.length) throw notSupported("storage profiles; leave out the profile.");
  const metadata = (spec.metadata as DataObject[] | undefined) ?? [];
  return {
    name: checkedName(spec.name),
    keepAfterDeleteVm: spec.keepAfterDeleteVm === true,
    metadata: metadata.map(({ key, value }) => ({ key: String(key), value: String(value) })),
  };
}

function checkedName(given: unknown): string {
  const name = String(given ?? "");
  if (name.trim() === "" || name.length > NAME_LIMIT) throw invalidArgument("name", `'${name.slice(0, NAME_LIMIT)}'`);
  return name;
}

/** `[ds] path`, `ds:///vmfs/volumes/ds/path` or `https://host/folder/path?dsName=ds`. */
function diskPath(text: string): { datastore: string; path: string } {
  if (text.startsWith("[")) return parseDatastorePath(text);
  if (!URL.canParse(text)) throw invalidDatastorePath(text);
  const { pathname, searchParams } = new URL(text);
  const decoded = decodeURIComponent(pathname);
  const [, volume, inVolume] = /^\/vmfs\/volumes\/([^/]+)\/(.+)$/.exec(decoded) ?? [];
  const [, inFolder] = /^\/folder\/(.+)$/.exec(decoded) ?? [];
  const datastore = volume ?? searchParams.get("dsName") ?? "";
  return parseDatastorePath(`[${datastore}] ${inVolume ?? inFolder ?? ""}`);
}
