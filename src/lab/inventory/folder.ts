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
import { ResourcePool } from "./resource-pool.ts";

/** A folder of the inventory. Users make folders for VMs; the others are fixed. */
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
        this.#requireHost(p.host);
        const spec = p.config as DataObject;
        checkCreate(context, spec);
        const creator = sessionOf(call).user;
        requireSpecPrivileges(context, creator, spec, this.reference);
        return context.tasks.run(call.method, this, user(call), () => createVirtualMachine(context, this, pool, spec));
      },
      RegisterVM_Task: (p, call) => {
        this.#requireVmFolder();
        if (p.asTemplate === true) throw new LabFault("NotSupported", "Register it as a VM, then use MarkAsTemplate.");
        if (p.pool === undefined) throw invalidArgument("pool", "A VM needs a resource pool.");
        const pool = context.registry.getAs(ResourcePool, p.pool, "pool");
        this.#requireHost(p.host);
        parseDatastorePath(p.path as string);
        return context.tasks.run(call.method, this, user(call), () =>
          registerVirtualMachine(context, this, pool, p.path as string, p.name as string | undefined),
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
      ? this.context.host.virtualMachines.filter((vm) => vm.parent === this)
      : [];
    return [...this.#fixed, ...this.subfolders, ...vms];
  }

  viewChildren(): ManagedObject[] {
    return this.children;
  }

  addSubfolder(id: string, name: string): Folder {
    const folder = new Folder(this.context, { type: "Folder", value: id }, name, this, this.childTypes, true);
    this.subfolders.push(folder);
    this.registry.add(folder);
    this.changed("childEntity");
    return folder;
  }

  #requireVmFolder(): void {
    if (!this.childTypes.includes("VirtualMachine")) {
      throw new LabFault("NotSupported", `The operation is not supported on the object: ${this.name} holds no VMs.`);
    }
  }

  #requireHost(host: unknown): void {
    if (host !== undefined && (host as Reference).value !== this.context.host.reference.value) {
      throw invalidArgument("host", "There is no such host.");
    }
  }

  async #createFolder(given: string): Promise<Reference> {
    const { store, naming } = this.context;
    this.#requireVmFolder();
    if (naming.personality === "HostAgent") {
      throw new LabFault("NotSupported", "A standalone host has no folders besides its own.");
    }
    const name = checkedName(given);
    refuseDuplicate(name, this.children);
    const id = naming.folder(store.nextNumber());
    store.inventory.folders.push({ id, name, parent: this.reference.value });
    const folder = this.addSubfolder(id, name);
    await store.save();
    return folder.reference;
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
    const { host, store } = this.context;
    this.#requireVmFolder();
    for (const object of list.map((reference) => this.registry.get(reference))) {
      if (object instanceof Folder) {
        object.#requireOwn();
        if (object.#contains(this)) throw invalidArgument("list", "A folder cannot be moved into itself.");
        refuseDuplicate(object.name, this.children, object);
        if (object.parent instanceof Folder) {
          object.parent.subfolders.splice(object.parent.subfolders.indexOf(object), 1);
          object.parent.changed("childEntity");
        }
        this.subfolders.push(object);
        const stored = store.inventory.folders.find(({ id }) => id === object.reference.value);
        if (stored) stored.parent = this.reference.value;
        object.parent = this;
        object.changed("parent");
      } else {
        const vm = this.registry.getAs(host.virtualMachineClass, object.reference, "list");
        this.#adopt(vm);
      }
      this.changed("childEntity");
    }
    await store.save();
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
    for (const child of this.children) {
      if (child instanceof Folder) await child.#destroy(call);
      else
        await destroyVirtualMachine(
          this.registry.getAs(this.context.host.virtualMachineClass, child.reference, "childEntity"),
        );
    }
    inventory.folders = inventory.folders.filter(({ id }) => id !== this.reference.value);
    if (this.parent instanceof Folder) {
      this.parent.subfolders.splice(this.parent.subfolders.indexOf(this), 1);
      this.parent.changed("childEntity");
    }
    this.registry.remove(this);
    await this.context.store.save();
  }
}
