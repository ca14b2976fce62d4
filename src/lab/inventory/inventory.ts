import { randomBytes } from "node:crypto";
import { LabFault } from "../fault.ts";
import { DiskService } from "../first-class-disk/disk-service.ts";
import type { DataObject, Reference } from "../model/data.ts";
import { datastoreOf } from "../storage/datastore-folder.ts";
import { parseDatastorePath } from "../storage/datastore-path.ts";
import { DiskRelations } from "../storage/disk-relations.ts";
import type { Journal } from "../vm/journal.ts";
import { VirtualMachine } from "../vm/virtual-machine.ts";
import type { ComputeResource } from "./compute-resource.ts";
import type { LabContext } from "./context.ts";
import type { DatacenterFolders } from "./datacenter.ts";
import type { Datastore } from "./datastore.ts";
import type { Entity } from "./entity.ts";
import type { Folder } from "./folder.ts";
import type { Host } from "./host.ts";
import { type HostFacts, readHostFacts } from "./host-facts.ts";
import type { StoredPool } from "./inventory-store.ts";
import type { Network } from "./network.ts";
import type { Place } from "./placement.ts";
import { PortGroups } from "./port-groups.ts";
import { ResourcePool } from "./resource-pool.ts";
import { VirtualApp } from "./virtual-app.ts";

/** VMs that a host takes, as ESXi; the lab's hosts are one machine. */
const VM_LIMIT = 1024;

/** What all parts of the lab look up: hosts, datastores, networks, pools, VMs, and the files behind datastore paths. */
export class Inventory {
  readonly facts: HostFacts = readHostFacts();
  readonly relations: DiskRelations;
  readonly portGroups: PortGroups;
  readonly firstClassDisks: DiskService;
  readonly computeResources: ComputeResource[] = [];
  readonly hosts: Host[] = [];
  readonly datastores: Datastore[] = [];
  readonly networks: Network[] = [];
  readonly virtualMachineClass = VirtualMachine;
  readonly #virtualMachines = new Map<string, VirtualMachine>();
  readonly #pools = new Map<string, ResourcePool>();
  readonly #reservedNames = new Set<string>();

  constructor(
    private readonly context: LabContext,
    readonly journal: Journal,
  ) {
    this.portGroups = new PortGroups(context, (key) => this.folderOf(key, "network"));
    this.firstClassDisks = new DiskService(context);
    this.relations = new DiskRelations(context.disks, context.log);
  }

  /** The datacenter's four folders; set while the inventory is built. */
  roots: DatacenterFolders | undefined;
  readonly folders = new Map<string, Folder>();

  /** The folder that an entity (`Type:id`) was moved to, or the one of its kind at the top. */
  folderOf(key: string, kind: keyof DatacenterFolders): Folder {
    const placed = this.context.store.inventory.placements?.find(({ entity }) => entity === key);
    const folder = (placed && this.folders.get(placed.folder)) ?? this.roots?.[kind];
    if (!folder) throw new Error("The inventory has no folders yet");
    return folder;
  }

  /** The first host; the only one of a standalone host. */
  get firstHost(): Host {
    const [host] = this.hosts;
    if (!host) throw new Error("The inventory has no host yet");
    return host;
  }

  get virtualMachines(): VirtualMachine[] {
    return [...this.#virtualMachines.values()];
  }

  /** Keeps a name for a VM that is being made; the returned function lets go of it. */
  reserveName(name: string): () => void {
    if (this.#virtualMachines.size + this.#reservedNames.size >= VM_LIMIT) {
      throw new LabFault("InsufficientHostCapacityFault", `The host has its ${VM_LIMIT} VMs.`, {
        host: this.firstHost.reference,
      });
    }
    if (this.#reservedNames.has(name)) {
      throw new LabFault("DuplicateName", `The name '${name}' already exists.`, {
        name,
        object: this.firstHost.reference,
      });
    }
    this.#reservedNames.add(name);
    return () => this.#reservedNames.delete(name);
  }

  addVirtualMachine(vm: VirtualMachine): void {
    this.#virtualMachines.set(vm.reference.value, vm);
    this.context.registry.add(vm);
    this.#announce(vm);
  }

  removeVirtualMachine(vm: VirtualMachine): void {
    this.#virtualMachines.delete(vm.reference.value);
    this.context.registry.remove(vm);
    this.#announce(vm);
  }

  findVirtualMachine(id: string): VirtualMachine | undefined {
    return this.#virtualMachines.get(id);
  }

  #announce(vm: VirtualMachine): void {
    vm.parent?.changed("childEntity");
    vm.pool.changed("vm", "summary");
    vm.host.changed("vm");
    for (const store of this.datastores) if (vm.usesDatastore(store)) store.changed("vm", "summary");
    for (const network of this.networks) if (vm.usesNetwork(network)) network.changed("vm");
  }

  addPool(id: string, stored: StoredPool | undefined, parent: Entity, owner: ComputeResource): ResourcePool {
    const { context } = this;
    const pool = stored?.vApp
      ? new VirtualApp(context, { type: "VirtualApp", value: id }, parent, stored, stored.vApp, owner)
      : new ResourcePool(context, { type: "ResourcePool", value: id }, parent, stored, owner);
    this.#pools.set(id, pool);
    this.context.registry.add(pool);
    if (parent instanceof ResourcePool) {
      parent.pools.push(pool);
      parent.changed("resourcePool");
    }
    return pool;
  }

  get virtualApps(): VirtualApp[] {
    return [...this.#pools.values()].filter((pool): pool is VirtualApp => pool instanceof VirtualApp);
  }

  forgetPool(pool: ResourcePool): void {
    this.#pools.delete(pool.reference.value);
  }

  findPool(id: string): ResourcePool | undefined {
    return this.#pools.get(id);
  }

  /** Puts a VM into a pool and on a host of its compute resource. The caller saves. */
  place(vm: VirtualMachine, { pool, host }: Place): void {
    const before = { pool: vm.pool, host: vm.host };
    vm.pool = pool;
    vm.host = host;
    const stored = this.context.store.inventory.virtualMachines.find(({ id }) => id === vm.reference.value);
    if (stored) Object.assign(stored, { pool: pool.reference.value, host: host.reference.value });
    vm.changed("resourcePool", "runtime", "summary", "environmentBrowser");
    before.pool.changed("vm", "summary");
    pool.changed("vm", "summary");
    for (const changed of new Set([before.host, host])) changed.changed("vm");
  }

  /** Puts a VM into another pool of its compute resource. The caller saves. */
  movePool(vm: VirtualMachine, pool: ResourcePool): void {
    this.place(vm, { pool, host: vm.host });
  }

  /** The file of this machine behind a datastore path. */
  readonly resolve = async (path: string): Promise<string> => {
    const parsed = parseDatastorePath(path);
    return datastoreOf(this.context.folders, parsed).resolve(parsed.path);
  };

  exists(path: string): Promise<boolean> {
    const parsed = parseDatastorePath(path);
    return datastoreOf(this.context.folders, parsed).exists(parsed.path);
  }

  /** The datastore path of a file of this machine. */
  readonly display = (file: string): string => {
    for (const folder of this.context.folders.values()) {
      const path = folder.relative(file);
      if (path !== undefined) return folder.format(path);
    }
    return file;
  };

  /** Writing to a disk destroys its children. */
  requireNotParent(file: string, path: string): void {
    if (!this.relations.hasChildren(file)) return;
    const reason = `${path} is the parent of other disks and cannot be opened for writing; attach it as independent_nonpersistent.`;
    throw new LabFault("GenericVmConfigFault", reason, { reason });
  }

  datastore(path: string): Reference | undefined {
    const name = /^\[([^\]]+)\]/.exec(path)?.[1];
    return this.datastores.find((store) => store.folder.name === name)?.reference;
  }

  network(name: string): Reference | undefined {
    return this.networks.find((network) => network.name === name)?.reference;
  }

  nicBacking(name: string): DataObject | undefined {
    return this.networks.find((network) => network.name === name)?.nicBacking();
  }

  /** An address of VMware's range for vCenter that no VM of the inventory has. */
  newMacAddress(taken: ReadonlySet<string>, except: VirtualMachine | undefined): string {
    const used = (address: string): boolean =>
      taken.has(address) ||
      this.virtualMachines.some(
        (vm) =>
          vm !== except &&
          vm.configuration.devices.some((device) => device.kind === "nic" && device.macAddress === address),
      );
    for (;;) {
      const [a = 0, b = 0, c = 0] = randomBytes(3);
      const hex = (byte: number): string => byte.toString(16).padStart(2, "0");
      const address = `00:50:56:${hex(0x80 + (a % 0x40))}:${hex(b)}:${hex(c)}`;
      if (!used(address)) return address;
    }
  }
}
