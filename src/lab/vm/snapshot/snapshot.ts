import type { Reference } from "../../model/data.ts";
import { ManagedObject } from "../../model/managed-object.ts";
import { exportSnapshot } from "../../ovf/transfer.ts";
import type { Session } from "../../session/sessions.ts";
import type { VirtualMachine } from "../virtual-machine.ts";
import { configInfo } from "../vm-properties.ts";
import { removeSnapshots } from "./remove-snapshot.ts";
import { revertToSnapshot } from "./revert-snapshot.ts";
import { snapshotName } from "./snapshot-name.ts";

/** One snapshot of a VM, as clients address it. */
export class Snapshot extends ManagedObject {
  constructor(
    readonly vm: VirtualMachine,
    reference: Reference,
    readonly uid: number,
  ) {
    super(vm.registry, reference);
    this.properties({
      config: () => configInfo(vm.view(vm.snapshots.configuration(uid))),
      childSnapshot: () => vm.snapshots.childReferences(uid),
      vm: () => vm.reference,
      value: () => [],
      availableField: () => [],
    });
    this.methods({
      RevertToSnapshot_Task: (p, call) =>
        vm.exclusive(call.method, call, () => revertToSnapshot(vm, uid, p.suppressPowerOn === true)),
      RemoveSnapshot_Task: (p, call) =>
        vm.exclusive(call.method, call, () =>
          removeSnapshots(vm, p.removeChildren === true ? vm.snapshots.descendants(uid) : [vm.snapshots.find(uid)], {
            consolidate: p.consolidate !== false,
          }),
        ),
      ExportSnapshot: () => exportSnapshot(vm, vm.snapshots.configuration(uid)),
      RenameSnapshot: async (p) => {
        vm.requireIdle();
        const name = p.name === undefined ? undefined : snapshotName(p.name as string);
        const { list } = vm.snapshots;
        await vm.snapshots.store({
          ...list,
          snapshots: list.snapshots.map((snapshot) =>
            snapshot.uid === uid
              ? {
                  ...snapshot,
                  name: name ?? snapshot.name,
                  description: (p.description as string | undefined) ?? snapshot.description,
                }
              : snapshot,
          ),
        });
      },
    });
  }

  override get authority(): ManagedObject {
    return this.vm;
  }

  override isVisibleTo(session: Session): boolean {
    return this.vm.isVisibleTo(session);
  }
}
