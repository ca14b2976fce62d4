/** Makes the fixed objects of an inventory and brings the stored ones back. */
import { randomUUID } from "node:crypto";
import { realpath } from "node:fs/promises";
import type { MachineEvents } from "../hypervisor/contract.ts";
import type { Reference } from "../model/data.ts";
import { DatastoreBrowser } from "../storage/datastore-browser.ts";
import { DatastoreFolder } from "../storage/datastore-folder.ts";
import { clearWorkArea } from "../storage/work-area.ts";
import { guestInfoStore } from "../vm/guest-info.ts";
import { machineDefinition } from "../vm/machine-definition.ts";
import { askForSpace } from "../vm/out-of-space.ts";
import { loadVirtualMachine } from "../vm/provisioning.ts";
import { ComputeResource } from "./compute-resource.ts";
import type { LabContext } from "./context.ts";
import { Datacenter } from "./datacenter.ts";
import { Datastore } from "./datastore.ts";
import { Folder } from "./folder.ts";
import { Host } from "./host.ts";
import type { Inventory } from "./inventory.ts";

export interface ClusterOptions {
  name: string;
  /** Names of its hosts. */
  hosts: readonly string[];
}

/** Folders, datacenter, compute resources with their hosts and root pools. */
export function buildInventory(context: LabContext, clusters: readonly ClusterOptions[]): void {
  const { naming, registry, content, inventory } = context;
  const add = registry.add.bind(registry);
  const folder = (value: string, name: string, parent: Folder | Datacenter, types: string[]): Folder =>
    add(new Folder(context, { type: "Folder", value }, name, parent, types, false));
  const root = add(
    new Folder(
      context,
      { type: "Folder", value: naming.rootFolder },
      rootName(context),
      undefined,
      ["Folder", "Datacenter"],
      false,
    ),
  );
  const datacenter = add(
    new Datacenter(context, { type: "Datacenter", value: naming.datacenter }, naming.datacenterName, root),
  );
  root.addFixed(datacenter);
  const folders = {
    vm: folder(naming.vmFolder, "vm", datacenter, ["Folder", "VirtualMachine", "VirtualApp"]),
    host: folder(naming.hostFolder, "host", datacenter, ["Folder", "ComputeResource"]),
    datastore: folder(naming.datastoreFolder, "datastore", datacenter, ["Folder", "Datastore", "StoragePod"]),
    network: folder(naming.networkFolder, "network", datacenter, ["Folder", "Network", "DistributedVirtualSwitch"]),
  };
  datacenter.folders = folders;
  inventory.roots = folders;
  loadFolders(context, [root, ...Object.values(folders)]);
  context.events.datacenter = datacenter;
  Object.assign(content, { rootFolder: root.reference, datacenter: datacenter.reference });
  for (const { name, hosts } of clusters) addComputeResource(context, name, hosts, clusters.length === 1);
}

/** A compute resource keeps its id by its name, and so do hosts; the only one of a lab keeps it whatever it is called. */
function addComputeResource(context: LabContext, name: string, hosts: readonly string[], only: boolean): void {
  const { naming, inventory, store } = context;
  store.inventory.computeResources ??= [];
  store.inventory.hosts ??= [];
  const { computeResources, hosts: storedHosts } = store.inventory;
  const stored = keep(computeResources, name, only, (first) => ({
    id: first ? naming.computeResource.value : naming.computeResourceId(store.nextNumber()),
    name,
    rootPool: first ? naming.rootPool : naming.resourcePool(store.nextNumber()),
  }));
  const parent = inventory.folderOf(`${naming.computeResource.type}:${stored.id}`, "host");
  const compute = new ComputeResource(context, stored, parent);
  compute.join();
  parent.addFixed(compute);
  inventory.computeResources.push(compute);
  for (const hostName of hosts) {
    if (inventory.hosts.some((host) => host.name === hostName)) {
      throw new Error(`There are two hosts '${hostName}'; give every host of the lab a name of its own`);
    }
    const host = keep(storedHosts, hostName, only && hosts.length === 1, (first) => ({
      id: first ? naming.host : naming.hostId(store.nextNumber()),
      name: hostName,
      uuid: first ? store.inventory.hostUuid : randomUUID(),
      computeResource: stored.id,
    }));
    host.computeResource = stored.id;
    const made = new Host(context, host, compute);
    inventory.hosts.push(made);
    made.join();
  }
}

function keep<T extends { name: string }>(all: T[], name: string, only: boolean, make: (first: boolean) => T): T {
  const known = only && all.length === 1 ? all[0] : all.find((entry) => entry.name === name);
  if (known) {
    known.name = name;
    return known;
  }
  const made = make(all.length === 0);
  all.push(made);
  return made;
}

/** Folders that users made. Parents come before children, whatever the order of the index. */
function loadFolders(context: LabContext, roots: readonly Folder[]): void {
  const { folders } = context.inventory;
  for (const root of roots) folders.set(root.reference.value, root);
  const remaining = new Set(context.store.inventory.folders);
  for (let progress = true; progress; ) {
    progress = false;
    for (const stored of remaining) {
      const parent = folders.get(stored.parent);
      if (!parent) continue;
      parent.addSubfolder(stored.id, stored.name);
      remaining.delete(stored);
      progress = true;
    }
  }
}

const center = (context: LabContext): boolean => context.naming.personality === "VirtualCenter";
const rootName = (context: LabContext): string => (center(context) ? "Datacenters" : "ha-folder-root");

export interface DatastoreOptions {
  name: string;
  directory: string;
  /** Names of the hosts that have it; all when it is missing. */
  hosts?: readonly string[];
}

/** Datastores by their names; a name keeps its id. */
export async function addDatastores(context: LabContext, datastores: readonly DatastoreOptions[]): Promise<void> {
  const { store, naming, inventory, registry } = context;
  for (const { name, directory, hosts } of datastores) {
    const unknown = hosts?.find((host) => !inventory.hosts.some((known) => known.name === host));
    if (unknown !== undefined)
      throw new Error(`The datastore '${name}' is on the host '${unknown}', which is not there`);
    if (!/^[^[\]/\\%\x00-\x1f]{1,42}$/.test(name) || context.folders.has(name)) {
      throw new Error(
        `'${name}' is no usable name of a datastore; use up to 42 characters without [ ] / \\ % and only once`,
      );
    }
    let stored = store.inventory.datastores.find((entry) => entry.name === name);
    if (!stored) {
      stored = { id: naming.datastore(store.nextNumber()), name };
      store.inventory.datastores.push(stored);
    }
    const files = new DatastoreFolder(name, await realpath(directory));
    await clearWorkArea(files);
    context.folders.set(name, files);
    const browser: Reference = { type: "HostDatastoreBrowser", value: `datastoreBrowser-${stored.id}` };
    const folder = inventory.folderOf(`Datastore:${stored.id}`, "datastore");
    const datastore = new Datastore(context, { type: "Datastore", value: stored.id }, files, folder, browser, hosts);
    registry.add(new DatastoreBrowser(context, browser, () => [datastore]));
    registry.add(datastore);
    inventory.datastores.push(datastore);
    folder.addFixed(datastore);
    await inventory.relations.scan(files.directory);
  }
}

/** Pools and VMs of the index. */
export async function loadStored(context: LabContext): Promise<void> {
  const { inventory, log } = context;
  const { inventory: index } = context.store;
  const pools = new Set(index.pools);
  for (let progress = true; progress; ) {
    progress = false;
    for (const stored of pools) {
      const parent = inventory.findPool(stored.parent);
      if (!parent) continue;
      inventory.addPool(stored.id, stored, parent, parent.owner);
      pools.delete(stored);
      progress = true;
    }
  }
  const [first] = inventory.computeResources;
  if (!first) throw new Error("The inventory has no compute resource");
  for (const stored of index.virtualMachines) {
    const pool = inventory.findPool(stored.pool) ?? first.rootPool;
    const parent = inventory.folders.get(stored.folder) ?? inventory.roots?.vm;
    const host = pool.owner.hosts.find(({ reference }) => reference.value === stored.host) ?? pool.owner.hosts[0];
    try {
      if (!parent || !host) throw new Error(`${pool.owner.name} has no host for it`);
      await loadVirtualMachine(context, parent, { pool, host }, stored);
    } catch (error) {
      // It stays in the index: its datastore may be back at the next start.
      log(`${stored.vmPathName} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/** Takes over the VMs that went on running while the lab was away. */
export async function adoptRunning(context: LabContext): Promise<void> {
  const definitions = [];
  for (const vm of context.inventory.virtualMachines) {
    const { folder, path } = vm.home;
    const directory = await folder.resolve(path);
    definitions.push(
      await machineDefinition(vm.reference.value, directory, vm.configuration, context.inventory.resolve, true),
    );
  }
  const running = new Map((await context.hypervisor.adopt(definitions)).map((machine) => [machine.id, machine]));
  for (const vm of context.inventory.virtualMachines) {
    const machine = running.get(vm.reference.value);
    if (machine && machine.state !== "stopped") {
      try {
        await vm.power.lockFiles(vm.configuration);
      } catch (error) {
        // It runs all the same, and the other VMs need the lab.
        const reason = error instanceof Error ? error.message : String(error);
        context.log(`${vm.name} runs without locks of its files: ${reason}`);
      }
      vm.power.started(machine, new Date());
    } else if (vm.powerState === "poweredOff") {
      vm.volatileInfo.clear();
    }
  }
}

/** What the hypervisor tells of machines, taken to their VMs. `find` is asked late: the hypervisor is there before the inventory. */
export function machineEvents(inventory: () => Inventory | undefined): MachineEvents {
  return {
    stopped(id, cause) {
      const how = { guest: "The guest powered it off.", host: "It was powered off.", crashed: "The machine crashed." };
      inventory()?.findVirtualMachine(id)?.power.machineStopped(`${how[cause.kind]} ${cause.detail}`.trim());
    },
    outOfSpace(id) {
      const vm = inventory()?.findVirtualMachine(id);
      if (!vm) return;
      void askForSpace(vm).catch((error: Error) => vm.context.log(`${vm.name}: out of space: ${error.message}`));
    },
    guestInfo(id) {
      const vm = inventory()?.findVirtualMachine(id);
      if (!vm) throw new Error(`There is no VM ${id}`);
      return guestInfoStore(vm);
    },
  };
}
