import { invalidArgument, LabFault } from "../fault.ts";
import type { DataObject, Reference } from "../model/data.ts";
import { type Call, type ManagedObject, sessionOf } from "../model/managed-object.ts";
import { requireSpecPrivileges } from "../session/spec-privileges.ts";
import { parseDatastorePath } from "../storage/datastore-path.ts";
import { checkCreate, createVirtualMachine, registerVirtualMachine } from "../vm/provisioning.ts";
import { destroyVirtualMachine } from "../vm/removal.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";
import type { LabContext } from "./context.ts";
import { createDistributedSwitch } from "./distributed-switch.ts";
import { checkedName, Entity, refuseDuplicate } from "./entity.ts";
import { placementOf } from "./placement.ts";
import { ResourcePool } from "./resource-pool.ts";

/** What a folder must hold for an entity of a type to go into it. */
const FOLDER_KINDS: Readonly<Record<string, string>> = {
  VirtualMachine: "VirtualMachine",
  ClusterComputeResource: "ComputeResource",
  Datastore: "Datastore",
  Network: "Network",
  DistributedVirtualPortgroup: "Network",
  VmwareDistributedVirtualSwitch: "DistributedVirtualSwitch",
};

/** A folder of the inventory: one of those at the top, or one below that a user made. */
export class Folder extends Entity {
  readonly subfolders: Folder[] = [];
  readonly #fixed: Entity[] = [];

  constructor(
    context: LabContext,
    reference: Reference,
    name: string,
    parent: Entity | undefined,
    private readonly childTypes: string[],
    /** Made by a user, and therefore in the store. */
    private readonly own: boolean,
  ) {
    super(context, reference, name, parent);
    this.properties({
      childType: () => childTypes,
      childEntity: (session) =>
        this.children.filter((child) => !session || child.isVisibleTo(session)).map((child) => child.reference),
    });
    const user = (call: Call): string => sessionOf(call).user.name;
    this.methods({
      CreateFolder: (p) => this.#createFolder(p.name as string),
      CreateVM_Task: (p, call) => {
        this.#requireVmFolder();
        const pool = context.registry.getAs(ResourcePool, p.pool, "pool");
        const placement = placementOf(context, pool, p.host);
        const spec = p.config as DataObject;
        checkCreate(context, spec);
        const creator = sessionOf(call).user;
        requireSpecPrivileges(context, creator, spec, this.reference);
        return context.tasks.run(call.method, this, user(call), () =>
          createVirtualMachine(context, this, placement, spec),
        );
      },
      RegisterVM_Task: (p, call) => {
        this.#requireVmFolder();
        if (p.asTemplate === true) throw new LabFault("NotSupported", "Register it as a VM, then use MarkAsTemplate.");
        if (p.pool === undefined) throw invalidArgument("pool", "A VM needs a resource pool.");
        const pool = context.registry.getAs(ResourcePool, p.pool, "pool");
        const placement = placementOf(context, pool, p.host);
        parseDatastorePath(p.path as string);
        return context.tasks.run(call.method, this, user(call), () =>
          registerVirtualMachine(context, this, placement, p.path as string, p.name as string | undefined),
        );
      },
      CreateDVS_Task: (p, call) => {
        if (!childTypes.includes("DistributedVirtualSwitch") || context.naming.personality === "HostAgent") {
          throw new LabFault(
            "NotSupported",
            `The operation is not supported on the object: ${this.name} holds no switches.`,
          );
        }
        return context.tasks.run(call.method, this, user(call), () =>
          createDistributedSwitch(context, this, p.spec as DataObject),
        );
      },
      MoveIntoFolder_Task: (p, call) =>
        context.tasks.run(call.method, this, user(call), () => this.#moveIn(p.list as Reference[])),
      Rename_Task: (p, call) =>
        context.tasks.run(call.method, this, user(call), () => this.#rename(p.newName as string)),
      Destroy_Task: (_, call) => context.tasks.run(call.method, this, user(call), () => this.#destroy(call)),
    });
  }

  /** Puts an entity that is always there into the folder. */
  addFixed(entity: Entity): void {
    this.#fixed.push(entity);
    this.changed("childEntity");
  }

  removeFixed(entity: Entity): void {
    this.#fixed.splice(this.#fixed.indexOf(entity), 1);
    this.changed("childEntity");
  }

  get children(): Entity[] {
    const vms = this.childTypes.includes("VirtualMachine")
      ? this.context.inventory.virtualMachines.filter((vm) => vm.parent === this)
      : [];
    const apps = this.childTypes.includes("VirtualApp")
      ? this.context.inventory.virtualApps.filter((app) => app.parentFolder === this)
      : [];
    return [...this.#fixed, ...this.subfolders, ...apps, ...vms];
  }

  viewChildren(): ManagedObject[] {
    return this.children;
  }

  addSubfolder(id: string, name: string): Folder {
    const folder = new Folder(this.context, { type: "Folder", value: id }, name, this, this.childTypes, true);
    this.subfolders.push(folder);
    this.context.inventory.folders.set(id, folder);
    this.registry.add(folder);
    this.changed("childEntity");
    return folder;
  }

  #requireVmFolder(): void {
    if (!this.childTypes.includes("VirtualMachine")) {
      throw new LabFault("NotSupported", `The operation is not supported on the object: ${this.name} holds no VMs.`);
    }
  }

  async #createFolder(given: string): Promise<Reference> {
    const { store, naming } = this.context;
    if (naming.personality === "HostAgent") {
      throw new LabFault("NotSupported", "A standalone host has no folders besides its own.");
    }
    const name = checkedName(given);
    refuseDuplicate(name, this.children);
    const id = naming.folder(store.nextNumber(), this.#top.reference.value);
    store.inventory.folders.push({ id, name, parent: this.reference.value });
    const folder = this.addSubfolder(id, name);
    await store.save();
    return folder.reference;
  }

  /** The folder at the top of this one's kind. */
  get #top(): Folder {
    return this.parent instanceof Folder && this.own ? this.parent.#top : this;
  }

  #requireOwn(): void {
    if (!this.own) throw new LabFault("NotSupported", `The folder '${this.name}' belongs to the inventory itself.`);
  }

  async #rename(given: string): Promise<void> {
    this.#requireOwn();
    const name = checkedName(given, this);
    if (this.parent instanceof Folder) refuseDuplicate(name, this.parent.children, this);
    const stored = this.context.store.inventory.folders.find(({ id }) => id === this.reference.value);
    if (stored) stored.name = name;
    this.setName(name);
    await this.context.store.save();
  }

  async #moveIn(list: Reference[]): Promise<void> {
    for (const object of list.map((reference) => this.registry.get(reference))) {
      if (object instanceof Folder) this.#adoptFolder(object);
      else {
        const entity = this.registry.getAs(Entity, object.reference, "list");
        const kind = FOLDER_KINDS[entity.reference.type];
        if (kind === undefined || !this.childTypes.includes(kind)) {
          throw new LabFault("NotSupported", `The folder '${this.name}' holds no ${entity.reference.type}.`);
        }
        if (entity instanceof this.context.inventory.virtualMachineClass) this.#adopt(entity);
        else this.#adoptFixed(entity);
      }
      this.changed("childEntity");
    }
    await this.context.store.save();
  }

  #adoptFolder(folder: Folder): void {
    folder.#requireOwn();
    if (folder.#top !== this.#top) throw new LabFault("NotSupported", `'${folder.name}' is of another kind.`);
    if (folder.#contains(this)) throw invalidArgument("list", "A folder cannot be moved into itself.");
    refuseDuplicate(folder.name, this.children, folder);
    if (folder.parent instanceof Folder) {
      folder.parent.subfolders.splice(folder.parent.subfolders.indexOf(folder), 1);
      folder.parent.changed("childEntity");
    }
    this.subfolders.push(folder);
    const stored = this.context.store.inventory.folders.find(({ id }) => id === folder.reference.value);
    if (stored) stored.parent = this.reference.value;
    folder.parent = this;
    folder.changed("parent");
  }

  /** Clusters, datastores and networks: the index says where they were moved. */
  #adoptFixed(entity: Entity): void {
    const { inventory } = this.context.store;
    refuseDuplicate(entity.name, this.children, entity);
    if (entity.parent instanceof Folder) entity.parent.removeFixed(entity);
    entity.parent = this;
    this.addFixed(entity);
    entity.changed("parent");
    const placements = (inventory.placements ?? []).filter((placed) => placed.entity !== entity.key);
    inventory.placements = [...placements, { entity: entity.key, folder: this.reference.value }];
  }

  /** Takes a VM of another folder in. */
  async take(vm: VirtualMachine): Promise<void> {
    this.#requireVmFolder();
    this.#adopt(vm);
    this.changed("childEntity");
    await this.context.store.save();
  }

  #adopt(vm: VirtualMachine): void {
    const before = vm.parent;
    const stored = this.context.store.inventory.virtualMachines.find(({ id }) => id === vm.reference.value);
    if (stored) stored.folder = this.reference.value;
    vm.parent = this;
    vm.changed("parent");
    before?.changed("childEntity");
  }

  #contains(other: Entity | undefined): boolean {
    return other !== undefined && (other === this || this.#contains(other.parent));
  }

  /** Destroys the VMs and folders in it first, as vSphere does. A running VM stops it. */
  async #destroy(call: Call): Promise<void> {
    this.#requireOwn();
    const { inventory } = this.context.store;
    const other = this.children.find((child) => this.#fixed.includes(child) || child.reference.type === "VirtualApp");
    if (other) {
      throw new LabFault("ResourceInUse", `The folder '${this.name}' holds '${other.name}'; move it out first.`, {
        type: other.reference.type,
        name: other.name,
      });
    }
    for (const child of this.children) {
      if (child instanceof Folder) await child.#destroy(call);
      else
        await destroyVirtualMachine(
          this.registry.getAs(this.context.inventory.virtualMachineClass, child.reference, "childEntity"),
        );
    }
    inventory.folders = inventory.folders.filter(({ id }) => id !== this.reference.value);
    if (this.parent instanceof Folder) {
      this.parent.subfolders.splice(this.parent.subfolders.indexOf(this), 1);
      this.parent.changed("childEntity");
    }
    this.registry.remove(this);
    this.context.inventory.folders.delete(this.reference.value);
    await this.context.store.save();
  }
}
