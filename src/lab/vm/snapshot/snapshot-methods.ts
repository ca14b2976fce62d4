import { LabFault } from "../../fault.ts";
import type { DataObject } from "../../model/data.ts";
import type { Method } from "../../model/managed-object.ts";
import type { VirtualMachine } from "../virtual-machine.ts";
import { consolidate } from "./consolidate.ts";
import { createSnapshot } from "./create-snapshot.ts";
import { removeSnapshots } from "./remove-snapshot.ts";
import { revertToSnapshot } from "./revert-snapshot.ts";

/** A VM's methods that concern its snapshots. */
export function snapshotMethods(vm: VirtualMachine): Record<string, Method> {
  const create: Method = (p, call) =>
    vm.exclusive(call.method, call, () =>
      createSnapshot(vm, {
        name: p.name as string,
        description: (p.description as string | undefined) ?? "",
        memory: p.memory === true,
      }),
    );
  return {
    CreateSnapshot_Task: create,
    CreateSnapshotEx_Task: (p, call) => {
      const quiesce = p.quiesceSpec as DataObject | undefined;
      if (quiesce && quiesce._type !== "VirtualMachineGuestQuiesceSpec") {
        throw new LabFault("NotSupported", `The operation is not supported on the object: ${quiesce._type}.`);
      }
      return create(p, call);
    },
    RemoveAllSnapshots_Task: (p, call) =>
      vm.exclusive(call.method, call, () =>
        removeSnapshots(vm, vm.snapshots.list.snapshots, { consolidate: p.consolidate !== false }),
      ),
    RevertToCurrentSnapshot_Task: (p, call) => {
      const { current } = vm.snapshots.list;
      if (current === undefined) {
        throw new LabFault("NotFound", "The virtual machine does not have a current snapshot.");
      }
      return vm.exclusive(call.method, call, () => revertToSnapshot(vm, current, p.suppressPowerOn === true));
    },
    ConsolidateVMDisks_Task: (_, call) => vm.exclusive(call.method, call, () => consolidate(vm)),
  };
}
