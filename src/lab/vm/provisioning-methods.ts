import { LabFault, notSupported } from "../fault.ts";
import { chooseHost } from "../inventory/placement.ts";
import type { DataObject, Reference } from "../model/data.ts";
import { type Method, sessionOf } from "../model/managed-object.ts";
import { exportVm } from "../ovf/transfer.ts";
import { requireUserPrivilege } from "../session/privileges.ts";
import { requireDatastorePrivilege, requireSpecPrivileges } from "../session/spec-privileges.ts";
import { cloneVirtualMachine, placeOf } from "./clone.ts";
import { instantClone } from "./instant-clone.ts";
import { invalidPowerState } from "./power-control.ts";
import { relocate } from "./relocate.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/** A VM's methods that make others of it or put it elsewhere. */
export function provisioningMethods(vm: VirtualMachine): Record<string, Method> {
  const { context } = vm;
  const onCenter = (method: string): void => {
    if (context.naming.personality === "HostAgent") throw notSupported(`${method} needs vCenter.`);
  };
  const setTemplate = async (template: boolean): Promise<void> => {
    vm.requireIdle();
    if (vm.powerState !== "poweredOff") throw invalidPowerState("poweredOff", vm.powerState);
    const { configuration } = vm;
    if (configuration.template === template) {
      throw new LabFault("NotSupported", "The operation is not supported on the object: it is one already.");
    }
    await vm.store({ ...configuration, template, modified: new Date(), changes: configuration.changes + 1 });
  };
  return {
    CloneVM_Task: (p, call) => {
      onCenter("CloneVM_Task");
      const { user } = sessionOf(call);
      const spec = p.spec as DataObject;
      const { placement, store } = placeOf(vm, spec.location as DataObject);
      requireUserPrivilege(user, placement.pool.reference, "Resource.AssignVMToPool");
      requireDatastorePrivilege(context, user, store);
      if (spec.config) requireSpecPrivileges(context, user, spec.config as DataObject, vm.reference);
      return vm.exclusive(call.method, call, () =>
        cloneVirtualMachine(vm, p.folder as Reference, p.name as string, p.spec as DataObject),
      );
    },
    InstantClone_Task: (p, call) => {
      onCenter("InstantClone_Task");
      return vm.exclusive(call.method, call, () => instantClone(vm, p.spec as DataObject));
    },
    ExportVm: () => exportVm(vm),
    RelocateVM_Task: (p, call) => vm.exclusive(call.method, call, () => relocate(vm, p.spec as DataObject)),
    MarkAsTemplate: () => {
      onCenter("MarkAsTemplate");
      return setTemplate(true);
    },
    MarkAsVirtualMachine: async (p) => {
      onCenter("MarkAsVirtualMachine");
      const { placement } = placeOf(vm, { pool: p.pool, host: p.host });
      const host = chooseHost(context, placement, vm.vmPathName, vm.configuration);
      await setTemplate(false);
      context.inventory.place(vm, { pool: placement.pool, host });
      await context.store.save();
    },
  };
}
