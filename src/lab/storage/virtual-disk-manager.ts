import { randomBytes, randomUUID } from "node:crypto";
import { join } from "node:path";
import { VmdkError } from "../../format/vmdk/descriptor.ts";
import { SECTOR } from "../../format/vmdk/sparse-extent.ts";
import type { Long } from "../../vsphere/vim25/index.ts";
import { fileAlreadyExists, invalidArgument, LabFault, notSupported } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject, type Parameters, sessionOf } from "../model/managed-object.ts";
import { changeDiskDatabase, diskParts, readDiskDescription } from "./disk-description.ts";
import { commitFile, moveFile, removeFile, requireParentDirectory } from "./file-operations.ts";
import { asFileFault, type DatastoreFile, type FilePrivilege, locate, type StorageContext } from "./storage-context.ts";
import { type CheckedSpec, checkCapacity, checkDiskSpec, checkDiskUuid } from "./virtual-disk-spec.ts";
import { createDisk, isThick, THICK } from "./thick-disk.ts";
import { openWorkDirectory } from "./work-area.ts";

const SINGLE = { path: "name", datacenter: "datacenter" };
const SOURCE = { path: "sourceName", datacenter: "sourceDatacenter" };
const DESTINATION = { path: "destName", datacenter: "destDatacenter" };
const CHILD = { path: "childName", datacenter: "childDatacenter" };
const PARENT = { path: "parentName", datacenter: "parentDatacenter" };
/** Longest chain of parents that is told. */
const CHAIN_LIMIT = 255;

type Names = { path: string; datacenter: string };

/** Virtual disks that need not belong to a VM. */
export class VirtualDiskManager extends ManagedObject {
  constructor(
    private readonly context: StorageContext,
    reference: Reference,
  ) {
    super(context.registry, reference);
    this.methods({
      CreateVirtualDisk_Task: async (p, call) => {
        const target = await this.#newDisk(p, call, SINGLE);
        const { capacityBytes, adapterType, allocateAll } = checkDiskSpec(p.spec as DataObject, "spec");
        if (capacityBytes === undefined) throw invalidArgument("spec.capacityKb", "A new disk needs a capacity.");
        return this.#run(call, target, () =>
          this.#make(target, false, { adapterType, allocateAll }, (file) =>
            createDisk(context.disks, file, capacityBytes, allocateAll),
          ),
        );
      },
      CreateChildDisk_Task: async (p, call) => {
        const parent = await this.#locate(p, call, PARENT, "Datastore.FileManagement");
        const child = await this.#newDisk(
          { ...p, childDatacenter: p.childDatacenter ?? p.parentDatacenter },
          call,
          CHILD,
        );
        return this.#run(call, child, () => this.#makeChild(child, parent));
      },
      DeleteVirtualDisk_Task: async (p, call) => {
        const target = await this.#locate(p, call, SINGLE, "Datastore.FileManagement");
        return this.#run(call, target, async () => {
          await requireDisk(target);
          await removeFile(context, target);
        });
      },
      CopyVirtualDisk_Task: async (p, call) => {
        const [from, to] = await this.#pair(p, call);
        const spec = p.destSpec === undefined ? undefined : checkDiskSpec(p.destSpec as DataObject, "destSpec");
        return this.#run(call, to, () => this.#copy(from, to, p.force === true, spec));
      },
      MoveVirtualDisk_Task: async (p, call) => {
        const [from, to] = await this.#pair(p, call);
        if ((p.profile as unknown[] | undefined)?.length)
          throw notSupported("storage profiles; leave out the profile.");
        return this.#run(call, to, () => this.#move(from, to, p.force === true));
      },
      ExtendVirtualDisk_Task: async (p, call) => {
        const target = await this.#locate(p, call, SINGLE, "Datastore.FileManagement");
        const capacityBytes = checkCapacity(p.newCapacityKb as Long, "newCapacityKb");
        if (p.eagerZero === true) throw notSupported("the disks of the lab are thin; leave out eagerZero.");
        return this.#run(call, target, () => this.#extend(target, capacityBytes));
      },
      QueryVirtualDiskUuid: (p, call) => this.#queryUuid(p, call),
      SetVirtualDiskUuid: async (p, call) => {
        const target = await this.#locate(p, call, SINGLE, "Datastore.FileManagement");
        const uuid = checkDiskUuid(p.uuid as string);
        await this.#writing(target, () => changeDiskDatabase(target.file, { "ddb.uuid": uuid }));
      },
      QueryVirtualDiskGeometry: (p, call) => this.#queryGeometry(p, call),
      QueryVirtualDiskInfo_Task: async (p, call) => {
        const target = await this.#locate(p, call, SINGLE, "Datastore.Browse");
        return this.#run(call, target, () => this.#info(target, p.includeParents === true));
      },
      InflateVirtualDisk_Task: (p, call) => this.#rewriting(p, call, true),
      EagerZeroVirtualDisk_Task: (p, call) => this.#rewriting(p, call, true),
      ShrinkVirtualDisk_Task: (p, call) => this.#rewriting(p, call, false),
      DefragmentVirtualDisk_Task: (p, call) => this.#rewriting(p, call, undefined),
      QueryVirtualDiskFragmentation: async (p, call) => {
        await requireDisk(await this.#locate(p, call, SINGLE, "Datastore.Browse"));
        return 0;
      },
      ZeroFillVirtualDisk_Task: async (p, call) => {
        const target = await this.#locate(p, call, SINGLE, "Datastore.FileManagement");
        return this.#run(call, target, async () => {
          const { capacityBytes } = await context.disks.inspect(target.file);
          await this.#rewrite(target, isThick(await requireDisk(target)), (file, allocateAll) =>
            createDisk(context.disks, file, capacityBytes, allocateAll),
          );
        });
      },
    });
  }

  /** Makes a disk anew out of its own content: with all of its room, without blocks of zeros, or as it was. */
  async #rewriting(p: Parameters, call: Call, allocateAll: boolean | undefined): Promise<Reference> {
    const target = await this.#locate(p, call, SINGLE, "Datastore.FileManagement");
    return this.#run(call, target, async () => {
      const thick = allocateAll ?? isThick(await requireDisk(target));
      await this.#rewrite(target, thick, (file, all) =>
        this.context.disks.copy(target.file, file, { allocateAll: all }),
      );
    });
  }

  /** The new file takes the disk's name in one step, so that there is always one of the two. It keeps the disk's database. */
  async #rewrite(
    target: DatastoreFile,
    allocateAll: boolean,
    make: (file: string, allocateAll: boolean) => Promise<void>,
  ): Promise<void> {
    const { descriptor } = await requireDisk(target);
    const { parent } = await this.context.disks.inspect(target.file);
    if (parent !== undefined) throw notSupported("a child disk; consolidate it into its parent first.");
    const owner = `rewrite ${randomUUID()}`;
    this.context.inventory.relations.requireNoChildren(target.file, target.display);
    this.context.locks.acquire(owner, { read: [], write: [target.file] }, () => target.display);
    const work = await openWorkDirectory(target.datastore.folder);
    try {
      const file = join(work.directory, "disk.vmdk");
      await make(file, allocateAll);
      const kept = [...descriptor.database].filter(([key]) => key !== "ddb.thinProvisioned");
      await changeDiskDatabase(file, { ...Object.fromEntries(kept), ...(allocateAll ? THICK : {}) });
      this.context.locks.release(owner);
      commitFile(this.context, file, target, true);
    } finally {
      this.context.locks.release(owner);
      await work.dispose();
    }
  }

  async #locate(p: Parameters, call: Call, names: Names, privilege: FilePrivilege): Promise<DatastoreFile> {
    const target = await locate(this.context, call, p, names, privilege);
    if (!target.path.endsWith(".vmdk")) throw invalidArgument(names.path, "The name of a virtual disk ends in .vmdk.");
    return target;
  }

  async #newDisk(p: Parameters, call: Call, names: Names): Promise<DatastoreFile> {
    return this.#locate(p, call, names, "Datastore.FileManagement");
  }

  async #pair(p: Parameters, call: Call): Promise<[DatastoreFile, DatastoreFile]> {
    const from = await this.#locate(p, call, SOURCE, "Datastore.FileManagement");
    const destDatacenter = p.destDatacenter ?? p.sourceDatacenter;
    const to = await this.#newDisk({ ...p, destDatacenter }, call, DESTINATION);
    if (from.file === to.file) throw invalidArgument(DESTINATION.path, "Source and destination are the same disk.");
    return [from, to];
  }

  #run(call: Call, target: DatastoreFile, operation: () => Promise<unknown>): Reference {
    return this.context.tasks.run(call.method, undefined, sessionOf(call).user.name, async () => {
      try {
        return await operation();
      } catch (error) {
        throw diskFault(error, target);
      }
    });
  }

  /** Makes a disk under a temporary name and gives it its own when it is complete. Returns the datastore path. */
  async #make(
    target: DatastoreFile,
    force: boolean,
    kind: { adapterType?: string; allocateAll?: boolean },
    make: (file: string) => Promise<void>,
  ): Promise<string> {
    await requireParentDirectory(target);
    if (!force && (await target.datastore.folder.exists(target.path))) throw fileAlreadyExists(target.display);
    const work = await openWorkDirectory(target.datastore.folder);
    try {
      const file = join(work.directory, "disk.vmdk");
      await make(file);
      await changeDiskDatabase(file, {
        "ddb.uuid": newDiskUuid(),
        ...(kind.adapterType === undefined ? {} : { "ddb.adapterType": kind.adapterType }),
        ...(kind.allocateAll === true ? THICK : {}),
      });
      commitFile(this.context, file, target, force);
    } finally {
      await work.dispose();
    }
    return target.display;
  }

  async #makeChild(child: DatastoreFile, parent: DatastoreFile): Promise<string> {
    await requireParentDirectory(child);
    await requireDisk(parent);
    const owner = `child ${randomUUID()}`;
    // The parent's content must not change from here on.
    this.context.locks.acquire(owner, { read: [parent.file], write: [] }, () => parent.display);
    try {
      if (await child.datastore.folder.exists(child.path)) throw fileAlreadyExists(child.display);
      // Made in place: the child names its parent relative to its own directory.
      await this.context.disks.createChild(child.file, parent.file);
      this.context.inventory.relations.add(child.file, parent.file);
      await changeDiskDatabase(child.file, { "ddb.uuid": newDiskUuid() });
    } finally {
      this.context.locks.release(owner);
    }
    return child.display;
  }

  /** The copy of a child disk stands alone: it holds what the whole chain shows. */
  async #copy(from: DatastoreFile, to: DatastoreFile, force: boolean, spec?: CheckedSpec): Promise<string> {
    await requireDisk(from);
    const { disks, locks } = this.context;
    const owner = `copy ${randomUUID()}`;
    locks.acquire(owner, { read: [from.file], write: [] }, () => from.display);
    try {
      const before = await disks.inspect(from.file);
      const capacityBytes = spec?.capacityBytes ?? before.capacityBytes;
      if (capacityBytes < before.capacityBytes) {
        throw invalidArgument("destSpec.capacityKb", "A copy cannot be smaller than its source.");
      }
      const grows = capacityBytes > before.capacityBytes;
      if (grows && spec?.allocateAll) throw notSupported("a larger copy that is not thin; extend it, then inflate it.");
      return await this.#make(to, force, spec ?? {}, async (file) => {
        await disks.copy(from.file, file, { allocateAll: spec?.allocateAll === true });
        if (grows) await disks.extend(file, capacityBytes);
      });
    } finally {
      locks.release(owner);
    }
  }

  async #move(from: DatastoreFile, to: DatastoreFile, force: boolean): Promise<string> {
    await requireDisk(from);
    const { parent } = await this.context.disks.inspect(from.file);
    this.context.locks.requireFree(from.file, undefined, from.display);
    this.context.inventory.relations.requireNoChildren(from.file, from.display);
    const whole = parent === undefined && (await diskParts(from.file)).length === 1;
    if (whole) {
      await moveFile(this.context, from, to, force);
    } else {
      await this.#copy(from, to, force);
      await removeFile(this.context, from);
    }
    return to.display;
  }

  async #extend(target: DatastoreFile, capacityBytes: number): Promise<void> {
    await this.#writing(target, async () => {
      const before = await this.context.disks.inspect(target.file);
      if (capacityBytes < before.capacityBytes) {
        throw invalidArgument("newCapacityKb", "A disk cannot be made smaller.");
      }
      if (capacityBytes > before.capacityBytes) await this.context.disks.extend(target.file, capacityBytes);
      // The new room is not allocated.
      await changeDiskDatabase(target.file, { "ddb.thinProvisioned": "1" });
    });
  }

  /** Changes a disk that nobody else uses and no other disk is based on. */
  async #writing(target: DatastoreFile, change: () => Promise<void>): Promise<void> {
    await requireDisk(target);
    const owner = `change ${randomUUID()}`;
    this.context.inventory.relations.requireNoChildren(target.file, target.display);
    this.context.locks.acquire(owner, { read: [], write: [target.file] }, () => target.display);
    try {
      await change();
    } catch (error) {
      throw diskFault(error, target);
    } finally {
      this.context.locks.release(owner);
    }
  }

  async #queryUuid(p: Parameters, call: Call): Promise<string> {
    const target = await this.#locate(p, call, SINGLE, "Datastore.Browse");
    const { descriptor } = await requireDisk(target);
    const uuid = descriptor.database.get("ddb.uuid");
    if (uuid === undefined) {
      throw new LabFault("CannotAccessFile", `${target.display} has no UUID; give it one with SetVirtualDiskUuid.`, {
        file: target.display,
      });
    }
    return uuid;
  }

  async #queryGeometry(p: Parameters, call: Call): Promise<DataObject> {
    const target = await this.#locate(p, call, SINGLE, "Datastore.Browse");
    const { descriptor } = await requireDisk(target);
    const number = (name: string, fallback: number): number => {
      const value = Number(descriptor.database.get(`ddb.geometry.${name}`));
      return Number.isSafeInteger(value) && value > 0 ? value : fallback;
    };
    const [head, sector] = [number("heads", 255), number("sectors", 63)];
    const { capacityBytes } = await this.context.disks.inspect(target.file);
    const cylinder = number("cylinders", Math.floor(capacityBytes / SECTOR / (head * sector)));
    return data("HostDiskDimensionsChs", { cylinder, head, sector });
  }

  /** The disk and, when asked, its parents, nearest first. */
  async #info(target: DatastoreFile, includeParents: boolean): Promise<DataObject[]> {
    await requireDisk(target);
    const infos: DataObject[] = [];
    let file: string | undefined = target.file;
    while (file !== undefined && infos.length <= CHAIN_LIMIT) {
      const { parent }: { parent?: string } = await this.context.disks.inspect(file);
      infos.push(
        data("VirtualDiskInfo", {
          unit: data("VirtualDiskUnit", { name: this.#display(file) }),
          diskType: isThick(await readDiskDescription(file)) ? "eagerZeroedThick" : "thin",
          parent: parent === undefined ? undefined : this.#display(parent),
        }),
      );
      file = includeParents ? parent : undefined;
    }
    return infos;
  }

  #display(file: string): string {
    for (const { folder } of this.context.inventory.datastores) {
      const path = folder.relative(file);
      if (path !== undefined) return folder.format(path);
    }
    throw new LabFault("CannotAccessFile", "A parent of the disk lies outside of the datastores.", { file: "" });
  }
}

/** FileNotFound, or InvalidDiskFormat when the file is no disk. */
async function requireDisk(target: DatastoreFile) {
  await target.datastore.folder.resolveExisting(target.path);
  try {
    return await readDiskDescription(target.file);
  } catch (error) {
    throw diskFault(error, target);
  }
}

function diskFault(error: unknown, target: DatastoreFile): unknown {
  if (error instanceof VmdkError) {
    return new LabFault("InvalidDiskFormat", `${target.display} is not a usable virtual disk: ${error.message}`);
  }
  return asFileFault(error, target);
}

/** VMware's disks begin with `60 00 C2 9`. */
const newDiskUuid = (): string => checkDiskUuid(`6000c29${randomBytes(13).toString("hex").slice(1)}`);
