/** Inventory ids as the two products spell them. */

export type Personality = "HostAgent" | "VirtualCenter";

export interface Naming {
  readonly personality: Personality;
  readonly rootFolder: string;
  readonly datacenter: string;
  readonly vmFolder: string;
  readonly hostFolder: string;
  readonly datastoreFolder: string;
  readonly networkFolder: string;
  readonly computeResource: { type: "ComputeResource" | "ClusterComputeResource"; value: string };
  readonly host: string;
  readonly rootPool: string;
  readonly datacenterName: string;
  readonly computeResourceName: string;
  virtualMachine(number: number): string;
  /** @param topFolder id of the folder at the top of its kind */
  folder(number: number, topFolder: string): string;
  computeResourceId(number: number): string;
  hostId(number: number): string;
  resourcePool(number: number): string;
  datastore(number: number): string;
  network(name: string, number: number): string;
  task(entity: string, method: string, number: number): string;
}

const hostAgent: Naming = {
  personality: "HostAgent",
  rootFolder: "ha-folder-root",
  datacenter: "ha-datacenter",
  vmFolder: "ha-folder-vm",
  hostFolder: "ha-folder-host",
  datastoreFolder: "ha-folder-datastore",
  networkFolder: "ha-folder-network",
  computeResource: { type: "ComputeResource", value: "ha-compute-res" },
  host: "ha-host",
  rootPool: "ha-root-pool",
  datacenterName: "ha-datacenter",
  computeResourceName: "localhost.localdomain",
  virtualMachine: (number) => String(number),
  folder: (number) => `ha-folder-${number}`,
  computeResourceId: (number) => `ha-compute-res-${number}`,
  hostId: (number) => `ha-host-${number}`,
  resourcePool: (number) => `pool${number}`,
  datastore: (number) => `datastore${number}`,
  network: (name) => `HaNetwork-${name}`,
  task: (entity, method, number) => `haTask-${entity}-${method}-${number}`,
};

const virtualCenter: Naming = {
  personality: "VirtualCenter",
  rootFolder: "group-d1",
  datacenter: "datacenter-2",
  vmFolder: "group-v3",
  hostFolder: "group-h4",
  datastoreFolder: "group-s5",
  networkFolder: "group-n6",
  computeResource: { type: "ClusterComputeResource", value: "domain-c7" },
  host: "host-9",
  rootPool: "resgroup-8",
  datacenterName: "Datacenter",
  computeResourceName: "Cluster",
  virtualMachine: (number) => `vm-${number}`,
  folder: (number, topFolder) => `${topFolder.replace(/\d+$/, "")}${number}`,
  computeResourceId: (number) => `domain-c${number}`,
  hostId: (number) => `host-${number}`,
  resourcePool: (number) => `resgroup-${number}`,
  datastore: (number) => `datastore-${number}`,
  network: (_, number) => `network-${number}`,
  task: (_, __, number) => `task-${number}`,
};

export const namingOf = (personality: Personality): Naming => (personality === "HostAgent" ? hostAgent : virtualCenter);
