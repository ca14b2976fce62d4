/** Privileges that a VM's specification needs: on the VM or its folder, on datastores that get new files, on networks it joins. */
import type { LabContext } from "../inventory/context.ts";
import { type DataObject, isReference, type Reference } from "../model/data.ts";
import { configurationNeeds } from "./dynamic-privileges.ts";
import { requireUserPrivilege } from "./privileges.ts";
import type { User } from "./users.ts";

/** NoPermission when the user may not put files on the datastore. */
export function requireDatastorePrivilege(context: LabContext, user: User, name: string): void {
  const store = context.inventory.datastores.find(({ folder }) => folder.name === name);
  if (store) requireUserPrivilege(user, store.reference, "Datastore.AllocateSpace");
}

const datastoreOf = (path: unknown): string | undefined => /^\s*\[([^\]]+)\]/.exec(String(path ?? ""))?.[1];

/** @param target the VM, or the folder that a new VM is created in */
export function requireSpecPrivileges(context: LabContext, user: User, spec: DataObject, target: Reference): void {
  if (target.type === "VirtualMachine") {
    for (const privilege of configurationNeeds(spec)) requireUserPrivilege(user, target, privilege);
  } else {
    const home = datastoreOf((spec.files as DataObject | undefined)?.vmPathName);
    if (home !== undefined) requireDatastorePrivilege(context, user, home);
    // Of a new VM's settings only its disks and other devices need more than the right to create it.
    const { deviceChange = [] } = spec;
    const devices: DataObject = { _type: spec._type, deviceChange };
    for (const privilege of configurationNeeds(devices)) requireUserPrivilege(user, target, privilege);
  }
  for (const change of (spec.deviceChange as DataObject[] | undefined) ?? []) {
    if (change.operation === "remove") continue;
    const backing = (change.device as DataObject).backing as DataObject | undefined;
    const store = change.fileOperation === "create" ? datastoreOf(backing?.fileName) : undefined;
    if (store !== undefined) requireDatastorePrivilege(context, user, store);
    const network = context.inventory.networks.find(({ name, reference }) =>
      isReference(backing?.network)
        ? backing.network.value === reference.value
        : backing?._type === "VirtualEthernetCardNetworkBackingInfo" && backing.deviceName === name,
    );
    if (network) requireUserPrivilege(user, network.reference, "Network.Assign");
  }
}
