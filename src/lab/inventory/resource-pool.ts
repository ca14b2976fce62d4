import { randomUUID } from "node:crypto";
import { invalidArgument, LabFault, notSupported } from "../fault.ts";
import { type DataObject, data, isDataObject, type Reference } from "../model/data.ts";
import { type ManagedObject, sessionOf } from "../model/managed-object.ts";
import { importVm } from "../ovf/transfer.ts";
import { requireUserPrivilege } from "../session/privileges.ts";
import { requireSpecPrivileges } from "../session/spec-privileges.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";
import { mergeAllocation, totalAllocation, vimAllocation } from "./allocation.ts";
import type { ComputeResource } from "./compute-resource.ts";
import type { LabContext } from "./context.ts";
import { checkedName, Entity, refuseDuplicate } from "./entity.ts";
import { Folder } from "./folder.ts";
import type { Allocation, StoredPool, StoredVirtualApp } from "./inventory-store.ts";
import { placementOf } from "./placement.ts";
import { checkedVAppConfig } from "./virtual-app-config.ts";

/** Shares at level normal of a pool. */
const CPU_SHARES = 4000;
const MEMORY_SHARES = 163_840;
const POOL_LIMIT = 1600;
const DEPTH_LIMIT = 8;

/** The VCH's limits live here: a pool with its children and VMs. */
export class ResourcePool extends Entity {
  readonly pools: ResourcePool[] = [];
  #cpu: Allocation;
  #memory: Allocation;

  constructor(
    context: LabContext,
    reference: Reference,
    parent: Entity,
    protected readonly stored: StoredPool | undefined,
    readonly owner: ComputeResource,
  ) {
    super(context, reference, stored?.name ?? "Resources", parent);
    this.#cpu = stored?.cpu ?? totalAllocation(context.inventory.facts, "cpu");
    this.#memory = stored?.memory ?? totalAllocation(context.inventory.facts, "memory");
    this.properties({
      owner: () => this.owner.reference,
      resourcePool: () => this.pools.map((pool) => pool.reference),
      vm: () => this.virtualMachines.map((vm) => vm.reference),
      config: () => this.#config(),
      childConfiguration: () => [],
      runtime: () => this.#runtime(),
      summary: () => data("ResourcePoolSummary", this.summaryFields()),
    });
    this.methods({
      CreateVApp: (p, call) => {
        if (context.naming.personality === "HostAgent") throw notSupported("vApps need vCenter.");
        const folder =
          p.vmFolder === undefined ? context.inventory.roots?.vm : this.registry.getAs(Folder, p.vmFolder, "vmFolder");
        if (!folder) throw invalidArgument("vmFolder", "A vApp needs a folder.");
        requireUserPrivilege(sessionOf(call).user, folder.reference, "VApp.Create");
        return this.#create(p.name as string, p.resSpec as DataObject, {
          ...checkedVAppConfig(context, p.configSpec as DataObject, { annotation: "", entities: [] }),
          folder: folder.reference.value,
          instanceUuid: randomUUID(),
        });
      },
      CreateResourcePool: (p) => this.#create(p.name as string, p.spec as DataObject),
      UpdateConfig: (p) => this.#update(p.name as string | undefined, p.config as DataObject | undefined),
      Rename_Task: (p, call) =>
        context.tasks.run(call.method, this, call.session?.user.name ?? "", () =>
          this.#update(p.newName as string, undefined),
        ),
      Destroy_Task: (_, call) => {
        if (!this.stored) throw new LabFault("NotSupported", "The root resource pool cannot be destroyed.");
        return context.tasks.run(call.method, this, call.session?.user.name ?? "", () => this.destroy());
      },
      DestroyChildren: async () => {
        for (const pool of [...this.pools]) await pool.destroy();
      },
      ImportVApp: (p, call) => {
        const spec = p.spec as DataObject;
        if (p.folder === undefined) throw invalidArgument("folder", "A VM needs a folder.");
        const folder = this.registry.getAs(Folder, p.folder, "folder");
        if (isDataObject(spec.configSpec)) {
          requireSpecPrivileges(context, sessionOf(call).user, spec.configSpec, folder.reference);
        }
        return importVm(context, folder, placementOf(context, this, p.host), spec);
      },
      MoveIntoResourcePool: (p) => this.#moveIn(p.list as Reference[]),
    });
  }

  get virtualMachines(): VirtualMachine[] {
    return this.context.inventory.virtualMachines.filter((vm) => vm.pool === this);
  }

  viewChildren(): ManagedObject[] {
    return [...this.pools, ...this.virtualMachines];
  }

  protected summaryFields(): Record<string, unknown> {
    return {
      name: this.name,
      config: this.#config(),
      runtime: this.#runtime(),
      configuredMemoryMB: this.virtualMachines.reduce((sum, vm) => sum + vm.configuration.memoryMB, 0),
    };
  }

  #config(): DataObject {
    return data("ResourceConfigSpec", {
      entity: this.reference,
      changeVersion: "",
      cpuAllocation: vimAllocation(this.#cpu),
      memoryAllocation: vimAllocation(this.#memory),
    });
  }

  #runtime(): DataObject {
    const usage = (allocation: Allocation, max: number): DataObject =>
      data("ResourcePoolResourceUsage", {
        reservationUsed: 0,
        reservationUsedForVm: 0,
        unreservedForPool: Math.max(allocation.reservation, 0),
        unreservedForVm: Math.max(allocation.reservation, 0),
        overallUsage: 0,
        maxUsage: allocation.limit === -1 ? max : allocation.limit,
      });
    const { facts } = this.context.inventory;
    return data("ResourcePoolRuntimeInfo", {
      memory: usage(this.#memory, facts.memoryBytes),
      cpu: usage(this.#cpu, facts.threads * facts.cpuMhz),
      overallStatus: "green",
    });
  }

  get #depth(): number {
    return this.parent instanceof ResourcePool ? this.parent.#depth + 1 : 0;
  }

  async #create(given: string, spec: DataObject, vApp?: StoredVirtualApp): Promise<Reference> {
    const { store, naming, inventory } = this.context;
    if (store.inventory.pools.length >= POOL_LIMIT) {
      throw new LabFault("InsufficientResourcesFault", `A host can have ${POOL_LIMIT} resource pools.`);
    }
    if (this.#depth >= DEPTH_LIMIT) throw new LabFault("InsufficientResourcesFault", `Pools nest ${DEPTH_LIMIT} deep.`);
    const name = checkedName(given);
    refuseDuplicate(name, this.pools);
    const { cpu, memory } = createAllocations(spec);
    const id = naming.resourcePool(store.nextNumber());
    const stored: StoredPool = { id, name, parent: this.reference.value, cpu, memory };
    if (vApp) stored.vApp = vApp;
    store.inventory.pools.push(stored);
    const pool = inventory.addPool(id, stored, this, this.owner);
    await store.save();
    return pool.reference;
  }

  async #update(given: string | undefined, config: DataObject | undefined): Promise<void> {
    if (!this.stored) throw new LabFault("NotSupported", "The root resource pool cannot be changed.");
    const siblings = this.parent instanceof ResourcePool ? this.parent.pools : [];
    const name = given === undefined || given === "" ? this.name : checkedName(given, this);
    refuseDuplicate(name, siblings, this);
    const cpu = mergeAllocation(
      "cpuAllocation",
      this.#cpu,
      config?.cpuAllocation as DataObject | undefined,
      CPU_SHARES,
    );
    const memory = mergeAllocation(
      "memoryAllocation",
      this.#memory,
      config?.memoryAllocation as DataObject | undefined,
      MEMORY_SHARES,
    );
    this.#cpu = cpu;
    this.#memory = memory;
    Object.assign(this.stored, { name, cpu, memory });
    if (name !== this.name) this.setName(name);
    this.changed("config", "runtime", "summary");
    await this.context.store.save();
  }

  /** Children and VMs move up, as on vSphere. */
  protected async destroy(): Promise<void> {
    const { parent } = this;
    if (!this.stored || !(parent instanceof ResourcePool)) return;
    const { inventory } = this.context.store;
    for (const pool of [...this.pools]) pool.#moveTo(parent);
    for (const vm of this.virtualMachines) this.context.inventory.movePool(vm, parent);
    parent.pools.splice(parent.pools.indexOf(this), 1);
    inventory.pools = inventory.pools.filter((pool) => pool !== this.stored);
    this.registry.remove(this);
    this.context.inventory.forgetPool(this);
    parent.changed("resourcePool", "vm", "summary");
    await this.context.store.save();
  }

  #moveTo(target: ResourcePool): void {
    const from = this.parent;
    if (from instanceof ResourcePool) {
      from.pools.splice(from.pools.indexOf(this), 1);
      from.changed("resourcePool");
    }
    this.parent = target;
    target.pools.push(this);
    if (this.stored) this.stored.parent = target.reference.value;
    this.changed("parent");
    target.changed("resourcePool");
  }

  async #moveIn(list: Reference[]): Promise<void> {
    const objects = list.map((reference) => this.registry.get(reference));
    for (const object of objects) {
      if (object instanceof ResourcePool) {
        if (object.#contains(this)) throw invalidArgument("list", "A pool cannot be moved into itself.");
        if (object.owner !== this.owner) throw ofAnother("pool", object.name);
        refuseDuplicate(object.name, this.pools, object);
        object.#moveTo(this);
      } else {
        const { inventory } = this.context;
        const vm = this.registry.getAs(inventory.virtualMachineClass, object.reference, "list");
        if (vm.pool.owner !== this.owner) throw ofAnother("VM", vm.name);
        inventory.movePool(vm, this);
      }
    }
    await this.context.store.save();
  }

  #contains(other: Entity | undefined): boolean {
    return other !== undefined && (other === this || this.#contains(other.parent));
  }
}

const ofAnother = (what: string, name: string): LabFault =>
  invalidArgument("list", `The ${what} '${name}' belongs to another compute resource; migrate its VMs instead.`);

/** A new pool needs all of its allocation. */
function createAllocations(spec: DataObject): { cpu: Allocation; memory: Allocation } {
  const allocation = (field: "cpuAllocation" | "memoryAllocation", normal: number): Allocation => {
    const info = spec[field] as DataObject;
    for (const part of ["reservation", "expandableReservation", "limit", "shares"]) {
      if (info[part] === undefined) throw invalidArgument(`spec.${field}.${part}`, "A new resource pool needs it.");
    }
    const none: Allocation = {
      reservation: 0,
      expandableReservation: true,
      limit: -1,
      shares: { level: "normal", shares: normal },
    };
    return mergeAllocation(`spec.${field}`, none, info, normal);
  };
  return { cpu: allocation("cpuAllocation", CPU_SHARES), memory: allocation("memoryAllocation", MEMORY_SHARES) };
}
