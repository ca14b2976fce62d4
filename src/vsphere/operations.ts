/**
 * Every vim25 method that the driver calls, with the privileges that a call of ours needs. `vch role` prints the role that follows
 * from it, `vch doctor` looks whether a user holds it, and docs/vsphere.md shows it. A test compares it with the source.
 */
import type { MethodName } from "./vim25/index.ts";

/** On which object a privilege has to be held. */
export type PrivilegeScope = "folder" | "resource pool" | "datastore" | "network";

/** The operations role, with the scope of each privilege. A VM inherits from the folder it is in. */
export const OPERATIONS_PRIVILEGES = {
  "Datastore.AllocateSpace": "datastore",
  "Datastore.Browse": "datastore",
  "Datastore.FileManagement": "datastore",
  "Network.Assign": "network",
  "Resource.AssignVMToPool": "resource pool",
  "VirtualMachine.Config.AddExistingDisk": "folder",
  "VirtualMachine.Config.AddNewDisk": "folder",
  "VirtualMachine.Config.AddRemoveDevice": "folder",
  "VirtualMachine.Config.AdvancedConfig": "folder",
  "VirtualMachine.Config.Annotation": "folder",
  "VirtualMachine.Config.CPUCount": "folder",
  "VirtualMachine.Config.Memory": "folder",
  "VirtualMachine.Config.RemoveDisk": "folder",
  "VirtualMachine.Config.Rename": "folder",
  "VirtualMachine.Config.Resource": "folder",
  "VirtualMachine.Interact.AnswerQuestion": "folder",
  "VirtualMachine.Interact.PowerOff": "folder",
  "VirtualMachine.Interact.PowerOn": "folder",
  "VirtualMachine.Interact.Suspend": "folder",
  "VirtualMachine.Inventory.Create": "folder",
  "VirtualMachine.Inventory.Delete": "folder",
} as const satisfies Record<string, PrivilegeScope>;

/** Not in the role: only a VCH that makes port groups itself needs them, on the hosts of its cluster. */
export const PORT_GROUP_PRIVILEGES = ["Host.Config.Network"] as const;

export type OperationsPrivilege = keyof typeof OPERATIONS_PRIVILEGES;
/** Privileges that every role has, and that need no granting. */
type SystemPrivilege = "System.Anonymous" | "System.View" | "System.Read";

export interface Operation {
  purpose: string;
  privileges: readonly (OperationsPrivilege | SystemPrivilege | (typeof PORT_GROUP_PRIVILEGES)[number])[];
}

const READ = ["System.Read"] as const;
const VIEW = ["System.View"] as const;
const FILES = ["Datastore.FileManagement"] as const;

export const OPERATIONS: Partial<Record<MethodName, Operation>> = {
  RetrieveServiceContent: { purpose: "version and managers", privileges: ["System.Anonymous"] },
  Login: { purpose: "session", privileges: ["System.Anonymous"] },
  Logout: { purpose: "session", privileges: VIEW },
  CurrentTime: { purpose: "keeps the session alive", privileges: VIEW },
  CreateContainerView: { purpose: "inventory, the live view", privileges: VIEW },
  DestroyView: { purpose: "the same", privileges: VIEW },
  RetrievePropertiesEx: { purpose: "reading properties", privileges: READ },
  ContinueRetrievePropertiesEx: { purpose: "the next page", privileges: READ },
  CreatePropertyCollector: { purpose: "the live view, outcomes of tasks", privileges: VIEW },
  DestroyPropertyCollector: { purpose: "the same", privileges: VIEW },
  CreateFilter: { purpose: "the same", privileges: VIEW },
  WaitForUpdatesEx: { purpose: "the same", privileges: READ },
  CreateVM_Task: {
    purpose: "containers and loaders",
    privileges: [
      "VirtualMachine.Inventory.Create",
      "Resource.AssignVMToPool",
      "Datastore.AllocateSpace",
      "Network.Assign",
      "VirtualMachine.Config.AddNewDisk",
      "VirtualMachine.Config.AddExistingDisk",
      "VirtualMachine.Config.AddRemoveDevice",
    ],
  },
  ReconfigVM_Task: {
    purpose: "configuration, results, disks and adapters of containers; rename, update",
    privileges: [
      "VirtualMachine.Config.AdvancedConfig",
      "VirtualMachine.Config.Annotation",
      "VirtualMachine.Config.Rename",
      "VirtualMachine.Config.CPUCount",
      "VirtualMachine.Config.Memory",
      "VirtualMachine.Config.Resource",
      "VirtualMachine.Config.AddExistingDisk",
      "VirtualMachine.Config.AddRemoveDevice",
      "VirtualMachine.Config.RemoveDisk",
      "Network.Assign",
    ],
  },
  PowerOnMultiVM_Task: { purpose: "start, on vCenter", privileges: ["VirtualMachine.Interact.PowerOn"] },
  PowerOnVM_Task: { purpose: "start, on a chosen host or on ESXi", privileges: ["VirtualMachine.Interact.PowerOn"] },
  PowerOffVM_Task: { purpose: "kill, removal", privileges: ["VirtualMachine.Interact.PowerOff"] },
  SuspendVM_Task: { purpose: "pause", privileges: ["VirtualMachine.Interact.Suspend"] },
  AnswerVM: {
    purpose: "a VM goes on, or is ended, when its datastore was full",
    privileges: ["VirtualMachine.Interact.AnswerQuestion"],
  },
  Destroy_Task: { purpose: "removal", privileges: ["VirtualMachine.Inventory.Delete"] },
  SearchDatastore_Task: { purpose: "lists of files", privileges: ["Datastore.Browse"] },
  MakeDirectory: { purpose: "images, volumes, containers", privileges: FILES },
  MoveDatastoreFile_Task: { purpose: "commit markers", privileges: FILES },
  DeleteDatastoreFile_Task: { purpose: "removal", privileges: FILES },
  CreateVirtualDisk_Task: { purpose: "disks of images and volumes", privileges: FILES },
  CopyVirtualDisk_Task: { purpose: "instead of child disks, where there are none", privileges: FILES },
  ExtendVirtualDisk_Task: { purpose: "the same; volumes that grow", privileges: FILES },
  DeleteVirtualDisk_Task: { purpose: "the same", privileges: FILES },
  AddPortGroup: {
    purpose: "docker network create, where the VCH makes port groups itself",
    privileges: PORT_GROUP_PRIVILEGES,
  },
  RemovePortGroup: { purpose: "docker network rm, the same", privileges: PORT_GROUP_PRIVILEGES },
  HasPrivilegeOnEntities: { purpose: "vch doctor --target", privileges: VIEW },
};

/** Requests to `/folder`: not methods, but they need privileges too. */
export const FILE_SERVICE: Record<"GET" | "PUT", Operation> = {
  GET: { purpose: "reading files", privileges: ["Datastore.Browse", "Datastore.FileManagement"] },
  PUT: { purpose: "writing files", privileges: ["Datastore.Browse", "Datastore.FileManagement"] },
};

export function operationsPrivileges(): OperationsPrivilege[] {
  return Object.keys(OPERATIONS_PRIVILEGES) as OperationsPrivilege[];
}
