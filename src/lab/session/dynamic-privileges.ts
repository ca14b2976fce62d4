/** Privileges of methods whose need depends on what they are asked for: the schema declares none for them. */
import type { DataObject, Reference } from "../model/data.ts";

type Parameters = Readonly<Record<string, unknown>>;
/** Privileges that the caller needs on the method's object. */
type Needs = (parameters: Parameters, target: Reference) => readonly string[];

/** What each setting of a VirtualMachineConfigSpec needs, as in the documentation of ReconfigVM_Task. */
const SETTINGS: Readonly<Record<string, string>> = {
  name: "VirtualMachine.Config.Rename",
  annotation: "VirtualMachine.Config.Annotation",
  numCPUs: "VirtualMachine.Config.CPUCount",
  numCoresPerSocket: "VirtualMachine.Config.CPUCount",
  memoryMB: "VirtualMachine.Config.Memory",
  cpuAllocation: "VirtualMachine.Config.Resource",
  memoryAllocation: "VirtualMachine.Config.Resource",
  extraConfig: "VirtualMachine.Config.AdvancedConfig",
  swapPlacement: "VirtualMachine.Config.SwapPlacement",
  managedBy: "VirtualMachine.Config.ManagedBy",
  version: "VirtualMachine.Config.UpgradeVirtualHardware",
  files: "VirtualMachine.Config.Settings",
};
const OTHER_SETTING = "VirtualMachine.Config.Settings";

function deviceNeeds(change: DataObject): string {
  const device = change.device as DataObject;
  if (device._type !== "VirtualDisk") {
    return change.operation === "edit" ? "VirtualMachine.Config.EditDevice" : "VirtualMachine.Config.AddRemoveDevice";
  }
  if (change.operation === "remove") return "VirtualMachine.Config.RemoveDisk";
  if (change.operation === "edit") return "VirtualMachine.Config.EditDevice";
  return change.fileOperation === undefined
    ? "VirtualMachine.Config.AddExistingDisk"
    : "VirtualMachine.Config.AddNewDisk";
}

/** Privileges that a configuration specification needs on the VM, or on the folder that a new VM goes to. */
export function configurationNeeds(spec: DataObject): string[] {
  const needs = new Set<string>();
  for (const [name, value] of Object.entries(spec)) {
    if (name === "_type" || name === "changeVersion" || value === undefined) continue;
    if (name === "deviceChange") for (const change of value as DataObject[]) needs.add(deviceNeeds(change));
    else if (!(Array.isArray(value) && value.length === 0)) needs.add(SETTINGS[name] ?? OTHER_SETTING);
  }
  return [...needs];
}

const RENAME: Readonly<Record<string, string>> = {
  VirtualMachine: "VirtualMachine.Config.Rename",
  Folder: "Folder.Rename",
  ResourcePool: "Resource.RenamePool",
  VirtualApp: "VApp.Rename",
  Datacenter: "Datacenter.Rename",
  Datastore: "Datastore.Rename",
  ClusterComputeResource: "Host.Inventory.RenameCluster",
  VmwareDistributedVirtualSwitch: "DVSwitch.Modify",
  DistributedVirtualPortgroup: "DVPortgroup.Modify",
};
const DESTROY: Readonly<Record<string, string>> = {
  VirtualMachine: "VirtualMachine.Inventory.Delete",
  Folder: "Folder.Delete",
  ResourcePool: "Resource.DeletePool",
  VirtualApp: "VApp.Delete",
  Datacenter: "Datacenter.Delete",
  Datastore: "Datastore.Delete",
  ClusterComputeResource: "Host.Inventory.DeleteCluster",
  HostSystem: "Host.Inventory.RemoveHostFromCluster",
  VmwareDistributedVirtualSwitch: "DVSwitch.Delete",
  DistributedVirtualPortgroup: "DVPortgroup.Delete",
  Network: "Network.Delete",
};

const CONSOLE: Readonly<Record<string, string>> = {
  device: "VirtualMachine.Interact.DeviceConnection",
  guestControl: "VirtualMachine.Interact.GuestControl",
};

export const DYNAMIC_PRIVILEGES: Readonly<Record<string, Needs>> = {
  ReconfigVM_Task: ({ spec }) => configurationNeeds(spec as DataObject),
  Rename_Task: (_, { type }) => [RENAME[type] ?? `${type}.Rename`],
  Destroy_Task: (_, { type }) => [DESTROY[type] ?? `${type}.Delete`],
  CloneVM_Task: ({ spec }, _target) => [
    (spec as DataObject).template === true
      ? "VirtualMachine.Provisioning.CreateTemplateFromVM"
      : "VirtualMachine.Provisioning.Clone",
  ],
  MoveIntoFolder_Task: () => ["Folder.Move"],
  MoveIntoResourcePool: () => ["Resource.AssignVMToPool"],
  UpdateConfig: () => ["Resource.EditPool"],
  UpdateChildResourceConfiguration: () => ["Resource.EditPool"],
  DestroyChildren: () => ["Resource.DeletePool"],
  UpdateVAppConfig: () => ["VApp.ApplicationConfig"],
  UpdateOptions: () => ["Global.Settings"],
  CancelTask: () => ["Global.CancelTask"],
  setCustomValue: () => ["Global.SetCustomField"],
  AcquireTicket: ({ ticketType }) => [CONSOLE[String(ticketType)] ?? "VirtualMachine.Interact.ConsoleInteract"],
  ReconfigureDvs_Task: () => ["DVSwitch.Modify"],
  ReconfigureDVPortgroup_Task: () => ["DVPortgroup.Modify"],
};

/** Every privilege that this table can ask for. */
export const DYNAMIC_PRIVILEGE_NAMES: readonly string[] = [
  ...new Set([
    ...Object.values(SETTINGS),
    OTHER_SETTING,
    ...Object.values(RENAME),
    ...Object.values(DESTROY),
    ...Object.values(CONSOLE),
    "VirtualMachine.Config.AddRemoveDevice",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.AddExistingDisk",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Provisioning.Clone",
    "VirtualMachine.Provisioning.CreateTemplateFromVM",
    "Folder.Move",
    "Resource.EditPool",
    "VApp.ApplicationConfig",
    "Global.Settings",
    "Global.CancelTask",
    "Datastore.Browse",
    "Datastore.FileManagement",
    "Network.Assign",
  ]),
];
