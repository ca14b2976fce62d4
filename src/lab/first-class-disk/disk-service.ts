import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Datastore } from "../inventory/datastore.ts";
import { disksOf } from "../vm/device/device-changes.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";
import { DIRECTORY, DiskCatalog, type DiskSnapshot, type FirstClassDisk } from "./catalog.ts";

type New = Pick<FirstClassDisk, "name" | "keepAfterDeleteVm" | "metadata">;

/** What can be done with the first class disks of a datastore. Changes come one after the other. */
export class DiskService {
  readonly #catalogs = new Map<string, DiskCatalog>();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly context: LabContext) {}

  catalog({ folder }: Datastore): DiskCatalog {
    const known = this.#catalogs.get(folder.name) ?? new DiskCatalog(folder);
    this.#catalogs.set(folder.name, known);
    return known;
  }

  /** Where a disk of the id is; NotFound. */
  async find(id: string): Promise<{ store: Datastore; disk: FirstClassDisk }> {
    for (const store of this.context.inventory.datastores) {
      const disk = (await this.catalog(store).list()).find((known) => known.id === id);
      if (disk) return { store, disk };
    }
    throw new LabFault("NotFound", `There is no disk '${id}'.`);
  }

  /** The VM that has the disk, or a disk based on it. */
  consumer(store: Datastore, disk: FirstClassDisk): VirtualMachine | undefined {
    const path = store.folder.format(disk.path);
    return this.context.inventory.virtualMachines.find((vm) =>
      disksOf(vm.configuration.devices).some((device) => device.path === path || device.parents.includes(path)),
    );
  }

  /** Puts a disk that `make` produces into the catalog. */
  create(store: Datastore, given: New, make: (file: string) => Promise<void>): Promise<FirstClassDisk> {
    return this.#serialized(async () => {
      const id = randomUUID();
      const path = `${DIRECTORY}/${id}.vmdk`;
      await mkdir(await store.folder.resolve(DIRECTORY), { recursive: true });
      await make(await store.folder.resolve(path));
      const disk = { id, created: new Date().toISOString(), path, snapshots: [], ...given };
      await this.catalog(store).put(disk);
      return disk;
    });
  }

  /** A disk that is there already. AlreadyExists: it is in the catalog. */
  register(store: Datastore, path: string, name: string): Promise<FirstClassDisk> {
    return this.#serialized(async () => {
      await this.context.disks.inspect((await store.folder.resolveExisting(path)).file);
      const catalog = this.catalog(store);
      if ((await catalog.list()).some((disk) => disk.path === path)) {
        throw new LabFault("AlreadyExists", `${store.folder.format(path)} is registered already.`, { name: path });
      }
      const disk: FirstClassDisk = {
        ...{ id: randomUUID(), created: new Date().toISOString(), path, name },
        ...{ keepAfterDeleteVm: true, metadata: [], snapshots: [] },
      };
      await catalog.put(disk);
      return disk;
    });
  }

  /** Changes a disk that no VM has. */
  change(
    store: Datastore,
    id: string,
    operation: (disk: FirstClassDisk, file: string) => Promise<FirstClassDisk | undefined>,
  ): Promise<void> {
    return this.#serialized(async () => {
      const disk = await this.catalog(store).get(id);
      const vm = this.consumer(store, disk);
      if (vm) throw new LabFault("InvalidState", `The disk '${disk.name}' is attached to the VM '${vm.name}'.`);
      const file = await store.folder.resolve(disk.path);
      this.context.locks.requireFree(file, undefined, store.folder.format(disk.path));
      const after = await operation(disk, file);
      if (after) await this.catalog(store).put(after);
    });
  }

  async remove(store: Datastore, id: string): Promise<void> {
    await this.change(store, id, async (disk, file) => {
      const { relations } = this.context.inventory;
      relations.requireNoChildren(file, store.folder.format(disk.path));
      // The catalog first: what is left of a broken off removal is a file that nobody knows, not a disk without a file.
      await this.catalog(store).remove(id);
      const files = [file];
      for (const { path } of [...disk.snapshots].reverse()) files.push(await store.folder.resolve(path));
      for (const one of files) {
        if (relations.hasChildren(one)) continue;
        await this.context.disks.remove(one);
        relations.remove(one);
      }
      return undefined;
    });
  }

  async snapshot(store: Datastore, id: string, description: string): Promise<DiskSnapshot> {
    const snapshot: DiskSnapshot = { id: randomUUID(), description, created: new Date().toISOString(), path: "" };
    await this.change(store, id, async (disk) => {
      const path = await this.#child(store, disk.path);
      return { ...disk, path, snapshots: [...disk.snapshots, { ...snapshot, path: disk.path }] };
    });
    return snapshot;
  }

  /** The disk goes on from the snapshot; what was written since is lost. */
  revert(store: Datastore, id: string, snapshotId: string): Promise<void> {
    return this.change(store, id, async (disk, file) => {
      const { path } = snapshotOf(disk, snapshotId);
      const fresh = await this.#child(store, path);
      await this.catalog(store).put({ ...disk, path: fresh });
      await this.context.disks.remove(file);
      this.context.inventory.relations.remove(file);
      return { ...disk, path: fresh };
    });
  }

  /** Merges the only child of the snapshot's disk into it; a disk with several children stays under them. */
  deleteSnapshot(store: Datastore, id: string, snapshotId: string): Promise<void> {
    return this.change(store, id, async (disk) => {
      const { disks, inventory } = this.context;
      const { relations } = inventory;
      const snapshot = snapshotOf(disk, snapshotId);
      const rest = disk.snapshots.filter((other) => other !== snapshot);
      const base = await store.folder.resolve(snapshot.path);
      const [child, ...others] = relations.childrenOf(base);
      if (child === undefined || others.length > 0) return { ...disk, snapshots: rest };
      await disks.commit(child);
      for (const below of relations.childrenOf(child)) {
        await disks.setParent(below, base);
        relations.remove(below);
        relations.add(below, base);
      }
      const merged = store.folder.relative(child);
      const moved = (path: string): string => (path === merged ? snapshot.path : path);
      const after = {
        ...disk,
        path: moved(disk.path),
        snapshots: rest.map((other) => ({ ...other, path: moved(other.path) })),
      };
      await this.catalog(store).put(after);
      await disks.remove(child);
      relations.remove(child);
      return after;
    });
  }

  async #child(store: Datastore, parent: string): Promise<string> {
    const { disks, inventory } = this.context;
    const path = `${DIRECTORY}/${randomUUID()}.vmdk`;
    const [file, parentFile] = [await store.folder.resolve(path), await store.folder.resolve(parent)];
    await mkdir(await store.folder.resolve(DIRECTORY), { recursive: true });
    await disks.createChild(file, parentFile);
    inventory.relations.add(file, parentFile);
    return path;
  }

  #serialized<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work, work);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}

/** NotFound when the disk has no such snapshot. */
export function snapshotOf(disk: FirstClassDisk, id: string): DiskSnapshot {
  const found = disk.snapshots.find((snapshot) => snapshot.id === id);
  if (found) return found;
  throw new LabFault("NotFound", `The disk '${disk.name}' has no snapshot '${id}'.`);
}
