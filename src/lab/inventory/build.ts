/** Makes the fixed objects of an inventory and brings the stored ones back. */
import { realpath } from "node:fs/promises";
import type { MachineEvents } from "../hypervisor/contract.ts";
import type { Reference } from "../model/data.ts";
import { EnvironmentBrowser } from "../service/environment-browser.ts";
import { NetworkSystem } from "../service/network-system.ts";
import { DatastoreBrowser } from "../storage/datastore-browser.ts";
import { DatastoreFolder } from "../storage/datastore-folder.ts";
import { clearWorkArea } from "../storage/work-area.ts";
import { guestInfoStore } from "../vm/guest-info.ts";
import type { Journal } from "../vm/journal.ts";
import { machineDefinition } from "../vm/machine-definition.ts";
import { loadVirtualMachine } from "../vm/provisioning.ts";
import { ComputeResource } from "./compute-resource.ts";
import type { LabContext } from "./context.ts";
import { Datacenter } from "./datacenter.ts";
import { Datastore } from "./datastore.ts";
import { Folder } from "./folder.ts";
import { Host } from "./host.ts";

export interface BuiltInventory {
  vmFolder: Folder;
  networkFolder: Folder;
  networks: NetworkSystem;
}

/** Folders, datacenter, compute resource, host and root pool. */
export function buildInventory(
  context: LabContext,
  hostName: string,
  journal: Journal,
): BuiltInventory & {
  datastoreFolder: Folder;
} {
  const { naming, registry, content } = context;
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
  const compute = add(new ComputeResource(context, naming.computeResource, naming.computeResourceName, folders.host));
  const host = add(new Host(context, { type: "HostSystem", value: naming.host }, hostName, compute, journal));
  context.host = host;
  folders.host.addFixed(compute);
  compute.rootPool = host.addPool(undefined, compute, compute);
  Object.assign(content, {
    rootFolder: root.reference,
    datacenter: datacenter.reference,
    computeResource: compute.reference,
  });
  context.events.place = { datacenter, computeResource: compute, host };
  const networkSystem = { type: "HostNetworkSystem", value: center(context) ? "networkSystem-9" : "networkSystem" };
  content.networkSystem = networkSystem;
  const networks = add(new NetworkSystem(context, networkSystem, folders.network));
  const browser: Reference = {
    type: "HostDatastoreBrowser",
    value: center(context) ? "datastoreBrowser-9" : "ha-host-datastorebrowser",
  };
  content.datastoreBrowser = browser;
  add(new DatastoreBrowser(context, browser, () => host.datastores));
  const environment: Reference = {
    type: "EnvironmentBrowser",
    value: center(context) ? "envbrowser-7" : "ha-env-browser",
  };
  content.environmentBrowser = environment;
  add(new EnvironmentBrowser(context, environment, browser));
  return { vmFolder: folders.vm, networkFolder: folders.network, networks, datastoreFolder: folders.datastore };
}

const center = (context: LabContext): boolean => context.naming.personality === "VirtualCenter";
const rootName = (context: LabContext): string => (center(context) ? "Datacenters" : "ha-folder-root");

/** Datastores by their names; a name keeps its id. */
export async function addDatastores(
  context: LabContext,
  folder: Folder,
  datastores: readonly { name: string; directory: string }[],
): Promise<void> {
  const { store, naming, host, registry } = context;
  for (const { name, directory } of datastores) {
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
    const datastore = new Datastore(context, { type: "Datastore", value: stored.id }, files, folder, browser);
    registry.add(new DatastoreBrowser(context, browser, () => [datastore]));
    registry.add(datastore);
    host.datastores.push(datastore);
    folder.addFixed(datastore);
    await host.relations.scan(files.directory);
  }
}

/** Folders, pools and VMs of the index. */
export async function loadStored(context: LabContext, vmFolder: Folder): Promise<void> {
  const { inventory } = context.store;
  const folders = new Map([[vmFolder.reference.value, vmFolder]]);
  const remaining = new Set(inventory.folders);
  // Parents come before children, whatever the order of the index.
  for (let progress = true; progress; ) {
    progress = false;
    for (const stored of remaining) {
      const parent = folders.get(stored.parent);
      if (!parent) continue;
      folders.set(stored.id, parent.addSubfolder(stored.id, stored.name));
      remaining.delete(stored);
      progress = true;
    }
  }
  const root = context.host.findPool(context.naming.rootPool);
  if (!root) throw new Error("The inventory has no root pool");
  const pools = new Set(inventory.pools);
  for (let progress = true; progress; ) {
    progress = false;
    for (const stored of pools) {
      const parent = context.host.findPool(stored.parent);
      if (!parent) continue;
      context.host.addPool(stored, parent, root.parent ?? root);
      pools.delete(stored);
      progress = true;
    }
  }
  for (const stored of inventory.virtualMachines) {
    const pool = context.host.findPool(stored.pool) ?? root;
    const folder = folders.get(stored.folder) ?? vmFolder;
    try {
      await loadVirtualMachine(context, folder, pool, stored);
    } catch (error) {
      // It stays in the index: its datastore may be back at the next start.
      context.log(`${stored.vmPathName} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/** Takes over the VMs that went on running while the lab was away. */
export async function adoptRunning(context: LabContext): Promise<void> {
  const definitions = [];
  for (const vm of context.host.virtualMachines) {
    const { folder, path } = vm.home;
    const directory = await folder.resolve(path);
    definitions.push(await machineDefinition(vm.reference.value, directory, vm.configuration, context.host.resolve));
  }
  const running = new Map((await context.hypervisor.adopt(definitions)).map((machine) => [machine.id, machine]));
  for (const vm of context.host.virtualMachines) {
    const machine = running.get(vm.reference.value);
    if (machine && machine.state !== "stopped") {
      await vm.power.lockFiles(vm.configuration);
      vm.power.started(machine, new Date());
    } else if (vm.powerState === "poweredOff") {
      vm.volatileInfo.clear();
    }
  }
}

/** What the hypervisor tells of machines, taken to their VMs. `find` is asked late: the hypervisor is there before the inventory. */
export function machineEvents(host: () => Host | undefined): MachineEvents {
  return {
    stopped(id, cause) {
      const how = { guest: "The guest powered it off.", host: "It was powered off.", crashed: "The machine crashed." };
      host()?.findVirtualMachine(id)?.power.machineStopped(`${how[cause.kind]} ${cause.detail}`.trim());
    },
    guestInfo(id) {
      const vm = host()?.findVirtualMachine(id);
      if (!vm) throw new Error(`There is no VM ${id}`);
      return guestInfoStore(vm);
    },
  };
}
