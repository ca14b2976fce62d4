/**
 * The lab: a small, strict vSphere (standalone ESXi host or vCenter) whose VMs really run. It serves the vim25 SOAP API and
 * `/folder` over HTTPS; one folder of state holds its inventory, and VM processes outlive it.
 */
import { mkdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { EventLog } from "./event/event-log.ts";
import { StorageObjectManager } from "./first-class-disk/manager.ts";
import type { DiskStore, Hypervisor, MachineEvents } from "./hypervisor/contract.ts";
import {
  addDatastores,
  adoptRunning,
  buildInventory,
  type ClusterOptions,
  type DatastoreOptions,
  loadStored,
  machineEvents,
} from "./inventory/build.ts";
import type { LabContext } from "./inventory/context.ts";
import { loadDistributedSwitches } from "./inventory/distributed-switch.ts";
import { Inventory } from "./inventory/inventory.ts";
import { InventoryStore } from "./inventory/inventory-store.ts";
import { namingOf, type Personality } from "./inventory/naming.ts";
import type { Reference } from "./model/data.ts";
import { Registry } from "./model/registry.ts";
import { OvfManager } from "./ovf/transfer.ts";
import { PerformanceManager } from "./performance/performance-manager.ts";
import { PropertyCollectorFront } from "./property/property-collector.ts";
import { loadServerCertificate } from "./server/certificate.ts";
import { Dispatcher } from "./server/dispatcher.ts";
import { FolderService } from "./server/folder-service.ts";
import { LabServer } from "./server/lab-server.ts";
import { NfcService } from "./server/nfc-service.ts";
import { API_VERSION } from "./server/service-versions.ts";
import { AuthorizationManager, knownPrivileges } from "./service/authorization-manager.ts";
import { CustomFieldsManager } from "./service/custom-fields-manager.ts";
import { DiagnosticManager, LogBook } from "./service/diagnostic-manager.ts";
import { DistributedSwitchManager } from "./service/distributed-switch-manager.ts";
import { ExtensionManager } from "./service/extension-manager.ts";
import { addGuestOperations } from "./service/guest-operations.ts";
import { LicenseManager, OptionManager, StorageResourceManager } from "./service/minor-managers.ts";
import { SearchIndex } from "./service/search-index.ts";
import { ServiceInstance } from "./service/service-instance.ts";
import { SessionManager } from "./service/session-manager.ts";
import { Authorization } from "./session/authorization.ts";
import { ServiceTickets } from "./session/service-tickets.ts";
import { Sessions } from "./session/sessions.ts";
import { ROLES, Users } from "./session/users.ts";
import { DatastoreNamespaceManager } from "./storage/datastore-namespace-manager.ts";
import { FileLocks } from "./storage/file-locks.ts";
import { FileManager } from "./storage/file-manager.ts";
import { VirtualDiskManager } from "./storage/virtual-disk-manager.ts";
import { TaskManager } from "./task/task.ts";
import { ViewManager } from "./view/view-manager.ts";
import { Journal } from "./vm/journal.ts";
import { settleIntent } from "./vm/recovery.ts";

export interface LabOptions {
  /** Holds the inventory, the certificate and, unless `datastores` says otherwise, the datastore `datastore1`. */
  stateDirectory: string;
  /** Port 0 takes a free one. */
  listen: { host: string; port: number };
  personality: Personality;
  /** The administrator's account. */
  username: string;
  password: string;
  /** Further accounts that can look but not touch. */
  readOnlyUsers?: { username: string; password: string }[];
  /** Further accounts that may do nothing until they are given permissions. */
  users?: { username: string; password: string }[];
  /** Clusters of a vCenter with their hosts, all of which are this machine. One of one host unless it says otherwise. */
  clusters?: ClusterOptions[];
  datastores?: DatastoreOptions[];
  /** Port groups that are there from the start. */
  portGroups: string[];
  /** Called once; the hypervisor tells `events` what its machines do and opens no disk outside of `diskRoots`. */
  hypervisor: (events: MachineEvents, diskRoots: readonly string[]) => Hypervisor | Promise<Hypervisor>;
  /** Called once. The roots are the datastores' directories: what a client uploaded must not name the host's other files. */
  disks: (options: { roots: readonly string[] }) => DiskStore;
  log: (line: string) => void;
}

export interface Lab {
  /** `https://host:port/sdk` */
  url: string;
  /** SHA-256 of the certificate. */
  fingerprint: string;
  certificatePem: string;
  /** Stops serving. VMs go on running; the next start takes them over. */
  close(): Promise<void>;
}

/** Starts the lab from its folder of state. Rejects when the folder, a datastore or the port cannot be used. */
export async function startLab(options: LabOptions): Promise<Lab> {
  const { stateDirectory, personality } = options;
  const store = await InventoryStore.open(stateDirectory, personality);
  const certificate = await loadServerCertificate(stateDirectory, certificateHosts(options.listen.host));
  const journal = await Journal.open(stateDirectory);
  let known: Inventory | undefined;
  const datastores = await datastoresOf(options);
  const roots = datastores.map(({ directory }) => directory);
  const hypervisor = await options.hypervisor(
    machineEvents(() => known),
    roots,
  );
  const context = makeContext(options, store, certificate, hypervisor, options.disks({ roots }));
  const { log } = context;
  const users = new Users();
  users.add(options.username, options.password, ROLES.administrator);
  for (const user of options.readOnlyUsers ?? []) users.add(user.username, user.password, ROLES.readOnly);
  for (const user of options.users ?? []) users.add(user.username, user.password, ROLES.noAccess);
  const sessions = new Sessions();
  const tickets = new ServiceTickets();
  const inventory = new Inventory(context, journal);
  known = inventory;
  context.inventory = inventory;
  buildInventory(context, clustersOf(options, context));
  addServices(context, sessions, users, tickets, options.username);
  await addDatastores(context, datastores);
  await journal.recover((intent) => settleIntent(context, intent));
  for (const group of store.inventory.portGroups) await inventory.portGroups.activate(group);
  for (const name of options.portGroups) await inventory.portGroups.ensure(name);
  await loadDistributedSwitches(context);
  await loadStored(context);
  await store.save();
  await adoptRunning(context);
  for (const { autoStart, name } of inventory.hosts) {
    if (!autoStart.enabled) continue;
    void autoStart.start().catch((error: Error) => log(`VMs of ${name} do not start: ${error.message}`));
  }
  const server = await LabServer.listen(
    {
      certificate,
      dispatcher: new Dispatcher(context.registry, API_VERSION, log),
      folder: new FolderService(context),
      nfc: new NfcService(context),
      sessions,
      users,
      tickets,
      log,
    },
    options.listen,
  );
  context.listen.port = server.port;
  context.logBook.add(`The lab serves ${personality} with ${inventory.hosts.length} host(s) on port ${server.port}`);
  const shownHost = options.listen.host.includes(":") ? `[${options.listen.host}]` : options.listen.host;
  return {
    url: `https://${shownHost}:${server.port}/sdk`,
    fingerprint: certificate.fingerprint,
    certificatePem: certificate.certificatePem,
    async close() {
      await server.close();
      sessions.close();
      for (const vm of inventory.virtualMachines) vm.withdrawQuestion();
      context.tasks.cancelWaiting();
      await context.tasks.settled();
      await store.save();
      await hypervisor.dispose({ stopMachines: false });
    },
  };
}

const certificateHosts = (host: string): string[] => [
  ...new Set([host === "0.0.0.0" || host === "::" ? hostname() : host, "localhost", "127.0.0.1"]),
];

function clustersOf({ clusters, personality }: LabOptions, { naming }: LabContext): readonly ClusterOptions[] {
  if (clusters === undefined) return [{ name: naming.computeResourceName, hosts: [hostname()] }];
  if (personality === "HostAgent") throw new Error("A standalone host has no clusters; start the lab as VirtualCenter");
  if (clusters.length === 0) throw new Error("A vCenter of the lab needs a cluster");
  return clusters;
}

async function datastoresOf(options: LabOptions): Promise<DatastoreOptions[]> {
  const datastores = options.datastores ?? [
    { name: "datastore1", directory: join(options.stateDirectory, "datastore1") },
  ];
  for (const { directory } of datastores) await mkdir(directory, { recursive: true });
  return datastores;
}

function makeContext(
  options: LabOptions,
  store: InventoryStore,
  certificate: LabContext["certificate"],
  hypervisor: Hypervisor,
  disks: DiskStore,
): LabContext {
  const registry = new Registry();
  const naming = namingOf(options.personality);
  const content = managerReferences(options.personality);
  const tasks = new TaskManager(registry, content.taskManager, naming.task);
  const logBook = new LogBook();
  let inventory: Inventory | undefined;
  return {
    registry,
    tasks: registry.add(tasks),
    events: registry.add(new EventLog(registry, content.eventManager)),
    naming,
    store,
    hypervisor,
    disks,
    folders: new Map(),
    locks: new FileLocks(),
    stateDirectory: options.stateDirectory,
    certificate,
    log: (line) => {
      logBook.add(line);
      options.log(line);
    },
    logBook,
    listen: { ...options.listen },
    content,
    get inventory(): Inventory {
      if (!inventory) throw new Error("The inventory is not built yet");
      return inventory;
    },
    set inventory(built: Inventory) {
      inventory = built;
    },
  };
}

/** Ids of the managers as the two products spell them. */
function managerReferences(personality: Personality) {
  const center = personality === "VirtualCenter";
  const reference = (type: string, onCenter: string, onHost: string): Reference => ({
    type,
    value: center ? onCenter : onHost,
  });
  return {
    propertyCollector: reference("PropertyCollector", "propertyCollector", "ha-property-collector"),
    viewManager: reference("ViewManager", "ViewManager", "ViewManager"),
    setting: reference("OptionManager", "VpxSettings", "HostAgentSettings"),
    advancedOption: reference("OptionManager", "EsxHostAdvSettings-9", "ha-adv-options"),
    sessionManager: reference("SessionManager", "SessionManager", "ha-sessionmgr"),
    authorizationManager: reference("AuthorizationManager", "AuthorizationManager", "ha-authmgr"),
    eventManager: reference("EventManager", "EventManager", "ha-eventmgr"),
    taskManager: reference("TaskManager", "TaskManager", "ha-taskmgr"),
    licenseManager: reference("LicenseManager", "LicenseManager", "ha-license-manager"),
    licenseAssignmentManager: reference(
      "LicenseAssignmentManager",
      "LicenseAssignmentManager",
      "ha-license-assignment-manager",
    ),
    searchIndex: reference("SearchIndex", "SearchIndex", "ha-searchindex"),
    fileManager: reference("FileManager", "FileManager", "ha-nfc-file-manager"),
    virtualDiskManager: reference("VirtualDiskManager", "virtualDiskManager", "ha-vdiskmanager"),
    ovfManager: reference("OvfManager", "OvfManager", "ha-ovf-manager"),
    perfManager: reference("PerformanceManager", "PerfMgr", "ha-perfmgr"),
    vStorageObjectManager: center
      ? { type: "VcenterVStorageObjectManager", value: "VStorageObjectManager" }
      : { type: "HostVStorageObjectManager", value: "ha-vstorage-object-manager" },
    diagnosticManager: reference("DiagnosticManager", "DiagMgr", "ha-diagnosticmgr"),
    datastoreNamespaceManager: reference(
      "DatastoreNamespaceManager",
      "DatastoreNamespaceManager",
      "ha-datastore-namespace-manager",
    ),
    storageResourceManager: reference(
      "StorageResourceManager",
      "StorageResourceManager",
      "ha-storage-resource-manager",
    ),
    guestOperationsManager: reference(
      "GuestOperationsManager",
      "guestOperationsManager",
      "ha-guest-operations-manager",
    ),
    // A host has neither, as ESXi.
    ...(center
      ? {
          customFieldsManager: { type: "CustomFieldsManager", value: "CustomFieldsManager" },
          extensionManager: { type: "ExtensionManager", value: "ExtensionManager" },
          dvSwitchManager: { type: "DistributedVirtualSwitchManager", value: "DVSManager" },
        }
      : {}),
  };
}

function addServices(
  context: LabContext,
  sessions: Sessions,
  users: Users,
  tickets: ServiceTickets,
  administrator: string,
): void {
  const { registry } = context;
  const content = context.content as LabContext["content"] & ReturnType<typeof managerReferences>;
  registry.add(new ServiceInstance(context));
  registry.add(new PropertyCollectorFront(registry, content.propertyCollector));
  registry.add(new ViewManager(registry, content.viewManager));
  registry.add(new OptionManager(context, content.setting, { "config.vpxd.SerialPort.PersistNetworkBacking": true }));
  registry.add(new OptionManager(context, content.advancedOption, {}));
  registry.add(new SessionManager(context, content.sessionManager, sessions, users, tickets));
  const privileges = knownPrivileges();
  const root = (): Reference => content.rootFolder as Reference;
  context.authorization = new Authorization(registry, context.store, users, root, privileges);
  registry.add(
    new AuthorizationManager(
      context,
      content.authorizationManager,
      context.authorization,
      users,
      administrator,
      privileges,
    ),
  );
  const licenses = registry.add(new LicenseManager(context, content.licenseManager));
  registry.add(LicenseManager.assignments(context, content.licenseAssignmentManager, licenses));
  registry.add(new SearchIndex(context, content.searchIndex));
  registry.add(new FileManager(context, content.fileManager));
  registry.add(new VirtualDiskManager(context, content.virtualDiskManager));
  registry.add(new OvfManager(context, content.ovfManager));
  registry.add(new PerformanceManager(context, content.perfManager));
  registry.add(new StorageObjectManager(context, content.vStorageObjectManager, context.inventory.firstClassDisks));
  registry.add(new DiagnosticManager(context, content.diagnosticManager));
  registry.add(new StorageResourceManager(context, content.storageResourceManager));
  registry.add(new DatastoreNamespaceManager(context, content.datastoreNamespaceManager));
  if (content.dvSwitchManager) registry.add(new DistributedSwitchManager(context, content.dvSwitchManager));
  addGuestOperations(context, content.guestOperationsManager);
  if (content.customFieldsManager) registry.add(new CustomFieldsManager(context, content.customFieldsManager));
  if (content.extensionManager) registry.add(new ExtensionManager(context, content.extensionManager));
}
