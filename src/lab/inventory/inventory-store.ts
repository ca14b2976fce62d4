import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { DataObject } from "../model/data.ts";
import { readIfPresent, writeAtomically } from "../state-file.ts";
import type { Personality } from "./naming.ts";

export interface StoredVirtualMachine {
  id: string;
  /** `[ds] dir/name.vmx`: the VM's own truth. */
  vmPathName: string;
  folder: string;
  pool: string;
  /** Id of the host; the first one of the pool's cluster when it is missing. */
  host?: string;
}

export interface StoredHost {
  id: string;
  name: string;
  uuid: string;
  /** Id of the compute resource. */
  computeResource: string;
  maintenance?: boolean;
}

/** ClusterGroupInfos and ClusterRuleInfos as clients gave them. */
export interface StoredClusterSettings {
  groups: DataObject[];
  rules: DataObject[];
}

/** VMs that are powered on when the lab starts, by their order. */
export interface StoredAutoStart {
  enabled: boolean;
  virtualMachines: { id: string; order: number }[];
}

export interface StoredComputeResource {
  id: string;
  name: string;
  rootPool: string;
}

export interface Allocation {
  reservation: number;
  expandableReservation: boolean;
  /** -1: none. */
  limit: number;
  shares: { level: "low" | "normal" | "high" | "custom"; shares: number };
}

export interface StoredPool {
  id: string;
  name: string;
  parent: string;
  cpu: Allocation;
  memory: Allocation;
  /** The pool is a vApp. */
  vApp?: StoredVirtualApp;
}

export interface StoredVirtualApp {
  /** Id of the folder that shows it. */
  folder: string;
  annotation: string;
  instanceUuid: string;
  /** How its VMs start and stop; those that are not listed start first, at once. */
  entities: { id: string; startOrder: number; startDelay: number; startAction: string; stopAction: string }[];
}

export interface StoredPortGroup {
  id: string;
  name: string;
  vlanId: number;
  virtualSwitch: string;
  /** Ids of the hosts that have it; all when it is missing. */
  hosts?: string[];
  /** vSphere's defaults of a standard switch when it is missing. */
  security?: PortSecurity;
}

/** HostNetworkSecurityPolicy. */
export interface PortSecurity {
  allowPromiscuous: boolean;
  macChanges: boolean;
  forgedTransmits: boolean;
}

export interface StoredRole {
  id: number;
  name: string;
  privileges: string[];
}

export interface StoredPermission {
  /** `Type:id` */
  entity: string;
  principal: string;
  roleId: number;
  propagate: boolean;
}

export interface StoredField {
  key: number;
  name: string;
  /** Managed object type that it is for; undefined: every entity. */
  type: string | undefined;
}

export interface StoredDistributedSwitch {
  id: string;
  name: string;
  uuid: string;
  created: string;
  description: string;
  /** Counts changes: `configVersion`. */
  version: number;
  /** Every host is a member: how a lab of one host kept it. */
  joined: boolean;
  /** Ids of the hosts that are members. */
  members?: string[];
  portGroups: { id: string; name: string; type: string; numPorts: number; description: string }[];
}

interface Inventory {
  format: 1;
  personality: Personality;
  /** `about.instanceUuid`. */
  instanceUuid: string;
  hostUuid: string;
  /** Last number given to a new object; never used again, also not after a removal. */
  lastNumber: number;
  virtualMachines: StoredVirtualMachine[];
  folders: { id: string; name: string; parent: string }[];
  /** Where entities with a folder of their kind at the top were moved: `Type:id` and the folder's id. */
  placements?: { entity: string; folder: string }[];
  pools: StoredPool[];
  datastores: { id: string; name: string }[];
  virtualSwitches: { name: string; numPorts: number; hosts?: string[] }[];
  portGroups: StoredPortGroup[];
  hosts?: StoredHost[];
  computeResources?: StoredComputeResource[];
  /** By the id of the cluster. */
  clusterSettings?: Record<string, StoredClusterSettings>;
  /** By the id of the host. */
  autoStart?: Record<string, StoredAutoStart>;
  roles?: StoredRole[];
  permissions?: StoredPermission[];
  customFields?: StoredField[];
  /** Values of custom fields: of an entity (`Type:id`), by field key. */
  customValues?: { entity: string; key: number; value: string }[];
  distributedSwitches?: StoredDistributedSwitch[];
  /** Extensions by key, as they were registered. */
  extensions?: { key: string; heartbeat: string; extension: DataObject }[];
}

/** Ids below this one belong to the fixed objects of the inventory. */
const FIRST_NUMBER = 10;
const FILE_NAME = "inventory.json";

/** The index of the inventory: who is where. One file, replaced in one step; changes made close together share a write. */
export class InventoryStore {
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  private constructor(
    private readonly file: string,
    readonly inventory: Inventory,
  ) {}

  static async open(stateDirectory: string, personality: Personality): Promise<InventoryStore> {
    await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
    const file = join(stateDirectory, FILE_NAME);
    const text = await readIfPresent(file);
    if (text === undefined) {
      const store = new InventoryStore(file, fresh(personality));
      await store.save();
      return store;
    }
    const inventory = JSON.parse(text) as Inventory;
    if (inventory.format !== 1) throw new Error(`${file} has format ${inventory.format}; this version reads format 1`);
    if (inventory.personality !== personality) {
      throw new Error(
        `${stateDirectory} holds the inventory of a ${inventory.personality}; start it as one or use another folder`,
      );
    }
    return new InventoryStore(file, inventory);
  }

  nextNumber(): number {
    return ++this.inventory.lastNumber;
  }

  /** Resolves when everything changed so far is on disk. */
  save(): Promise<void> {
    if (!this.#writing) {
      this.#writing = this.#write();
      return this.#writing;
    }
    this.#next ??= this.#writing.then(() => {
      this.#next = undefined;
      this.#writing = this.#write();
      return this.#writing;
    });
    return this.#next;
  }

  async #write(): Promise<void> {
    try {
      await writeAtomically(this.file, JSON.stringify(this.inventory));
    } finally {
      if (!this.#next) this.#writing = undefined;
    }
  }
}

const fresh = (personality: Personality): Inventory => ({
  format: 1,
  personality,
  instanceUuid: randomUUID(),
  hostUuid: randomUUID(),
  lastNumber: FIRST_NUMBER,
  virtualMachines: [],
  folders: [],
  pools: [],
  datastores: [],
  virtualSwitches: [{ name: "vSwitch0", numPorts: 128 }],
  portGroups: [],
});
