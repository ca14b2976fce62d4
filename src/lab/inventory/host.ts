import { randomBytes } from "node:crypto";
import { LabFault } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import type { ManagedObject } from "../model/managed-object.ts";
import { aboutInfo } from "../service/about.ts";
import { datastoreOf } from "../storage/datastore-folder.ts";
import { parseDatastorePath } from "../storage/datastore-path.ts";
import { DiskRelations } from "../storage/disk-relations.ts";
import type { Journal } from "../vm/journal.ts";
import { VirtualMachine } from "../vm/virtual-machine.ts";
import type { LabContext } from "./context.ts";
import type { Datastore } from "./datastore.ts";
import { Entity } from "./entity.ts";
import { type HostFacts, readHostFacts } from "./host-facts.ts";
import type { Allocation, StoredPool } from "./inventory-store.ts";
import type { Network } from "./network.ts";
import { ResourcePool } from "./resource-pool.ts";

const MEBIBYTE = 2 ** 20;
/** VMs that a host takes, as ESXi. */
const VM_LIMIT = 1024;

/** The one ESXi host: this machine. It also holds what all parts of the inventory look up. */
export class Host extends Entity {
  readonly facts: HostFacts = readHostFacts();
  readonly relations: DiskRelations;
  readonly datastores: Datastore[] = [];
  readonly networks: Network[] = [];
  readonly virtualMachineClass = VirtualMachine;
  readonly #virtualMachines = new Map<string, VirtualMachine>();
  readonly #pools = new Map<string, ResourcePool>();
  readonly #reservedNames = new Set<string>();

  constructor(
    context: LabContext,
    reference: Reference,
    name: string,
    parent: Entity,
    readonly journal: Journal,
  ) {
    super(context, reference, name, parent);
    this.relations = new DiskRelations(context.disks, context.log);
    this.properties({
      runtime: () => this.#runtime(),
      summary: () => this.#summary(),
      hardware: () => this.#hardware(),
      licensableResource: () =>
        data("HostLicensableResourceInfo", {
          resource: [data("KeyAnyValue", { key: "numCpuPackages", value: 1 })],
        }),
      configManager: () =>
        data("HostConfigManager", {
          networkSystem: context.content.networkSystem,
          advancedOption: context.content.advancedOption,
        }),
      vm: () => this.virtualMachines.map((vm) => vm.reference),
      datastore: () => this.datastores.map((store) => store.reference),
      network: () => this.networks.map((network) => network.reference),
      datastoreBrowser: () => context.content.datastoreBrowser,
    });
  }

  get threads(): number {
    return this.facts.threads;
  }
  get cpuMhz(): number {
    return this.facts.cpuMhz;
  }
  get memoryBytes(): number {
    return this.facts.memoryBytes;
  }

  get virtualMachines(): VirtualMachine[] {
    return [...this.#virtualMachines.values()];
  }

  viewChildren(): ManagedObject[] {
    return this.virtualMachines;
  }

  /** Keeps a name for a VM that is being made; the returned function lets go of it. */
  reserveName(name: string): () => void {
    if (this.#virtualMachines.size + this.#reservedNames.size >= VM_LIMIT) {
      throw new LabFault("InsufficientHostCapacityFault", `The host has its ${VM_LIMIT} VMs.`, {
        host: this.reference,
      });
    }
    if (this.#reservedNames.has(name)) {
      throw new LabFault("DuplicateName", `The name '${name}' already exists.`, { name, object: this.reference });
    }
    this.#reservedNames.add(name);
    return () => this.#reservedNames.delete(name);
  }

  addVirtualMachine(vm: VirtualMachine): void {
    this.#virtualMachines.set(vm.reference.value, vm);
    this.registry.add(vm);
    this.#announce(vm);
  }

  removeVirtualMachine(vm: VirtualMachine): void {
    this.#virtualMachines.delete(vm.reference.value);
    this.registry.remove(vm);
    this.#announce(vm);
  }

  findVirtualMachine(id: string): VirtualMachine | undefined {
    return this.#virtualMachines.get(id);
  }

  #announce(vm: VirtualMachine): void {
    vm.parent?.changed("childEntity");
    vm.pool.changed("vm", "summary");
    this.changed("vm");
    for (const store of this.datastores) if (vm.usesDatastore(store)) store.changed("vm", "summary");
    for (const network of this.networks) if (vm.usesNetwork(network)) network.changed("vm");
  }

  addPool(stored: StoredPool | undefined, parent: Entity, owner: Entity): ResourcePool {
    const id = stored?.id ?? this.context.naming.rootPool;
    const pool = new ResourcePool(this.context, { type: "ResourcePool", value: id }, parent, stored, owner);
    this.#pools.set(id, pool);
    this.registry.add(pool);
    if (parent instanceof ResourcePool) {
      parent.pools.push(pool);
      parent.changed("resourcePool");
    }
    return pool;
  }

  findPool(id: string): ResourcePool | undefined {
    return this.#pools.get(id);
  }

  /** Puts a VM into another pool of the inventory. The caller saves. */
  movePool(vm: VirtualMachine, pool: ResourcePool): void {
    const before = vm.pool;
    vm.pool = pool;
    const stored = this.context.store.inventory.virtualMachines.find(({ id }) => id === vm.reference.value);
    if (stored) stored.pool = pool.reference.value;
    vm.changed("resourcePool");
    before.changed("vm", "summary");
    pool.changed("vm", "summary");
  }

  totalAllocation(kind: "cpu" | "memory"): Allocation {
    const amount = kind === "cpu" ? this.threads * this.cpuMhz : Math.floor(this.memoryBytes / MEBIBYTE);
    return {
      reservation: amount,
      expandableReservation: false,
      limit: amount,
      shares: { level: "custom", shares: kind === "cpu" ? 4000 : 163_840 },
    };
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
    const used = new Set(taken);
    for (const vm of this.virtualMachines) {
      if (vm === except) continue;
      for (const device of vm.configuration.devices) if (device.kind === "nic") used.add(device.macAddress);
    }
    for (;;) {
      const [a = 0, b = 0, c = 0] = randomBytes(3);
      const hex = (byte: number): string => byte.toString(16).padStart(2, "0");
      const address = `00:50:56:${hex(0x80 + (a % 0x40))}:${hex(b)}:${hex(c)}`;
      if (!used.has(address)) return address;
    }
  }

  #runtime(): DataObject {
    return data("HostRuntimeInfo", {
      connectionState: "connected",
      powerState: "poweredOn",
      inMaintenanceMode: false,
      bootTime: this.facts.bootTime,
    });
  }

  #summary(): DataObject {
    const { context, facts } = this;
    return data("HostListSummary", {
      host: this.reference,
      hardware: data("HostHardwareSummary", {
        vendor: facts.vendor,
        model: facts.model,
        uuid: context.store.inventory.hostUuid,
        memorySize: facts.memoryBytes,
        cpuModel: facts.cpuModel,
        cpuMhz: facts.cpuMhz,
        numCpuPkgs: 1,
        numCpuCores: facts.threads,
        numCpuThreads: facts.threads,
        numNics: 1,
        numHBAs: 1,
      }),
      runtime: this.#runtime(),
      config: data("HostConfigSummary", {
        name: this.name,
        port: context.listen.port,
        sslThumbprint: context.certificate.thumbprint,
        product: aboutInfo({ personality: "HostAgent", instanceUuid: context.store.inventory.hostUuid }),
        vmotionEnabled: false,
        faultToleranceEnabled: false,
      }),
      quickStats: data("HostListSummaryQuickStats", {
        uptime: Math.floor((Date.now() - facts.bootTime.getTime()) / 1000),
      }),
      overallStatus: "green",
      rebootRequired: false,
    });
  }

  #hardware(): DataObject {
    const { context, facts } = this;
    return data("HostHardwareInfo", {
      systemInfo: data("HostSystemInfo", {
        vendor: facts.vendor,
        model: facts.model,
        uuid: context.store.inventory.hostUuid,
      }),
      cpuInfo: data("HostCpuInfo", {
        numCpuPackages: 1,
        numCpuCores: facts.threads,
        numCpuThreads: facts.threads,
        hz: facts.cpuMhz * 1_000_000,
      }),
      cpuPkg: [
        data("HostCpuPackage", {
          index: 0,
          vendor: /amd/i.test(facts.cpuModel) ? "amd" : "intel",
          hz: facts.cpuMhz * 1_000_000,
          busHz: 100_000_000,
          description: facts.cpuModel,
          threadId: Array.from({ length: facts.threads }, (_, index) => index),
        }),
      ],
      memorySize: facts.memoryBytes,
      smcPresent: false,
    });
  }
}
