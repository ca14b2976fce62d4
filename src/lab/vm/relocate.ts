import { hostArgument } from "../event/event-log.ts";
import { invalidArgument, notSupported } from "../fault.ts";
import { Datastore } from "../inventory/datastore.ts";
import { Folder } from "../inventory/folder.ts";
import { chooseHost } from "../inventory/placement.ts";
import type { DataObject } from "../model/data.ts";
import { placeOf, refuseUnknownLocation } from "./clone.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

const LOCATION = new Set(["_type", "folder", "pool", "host", "datastore", "diskMoveType"]);

/**
 * RelocateVM: another pool, folder or host. The lab's hosts are one machine, so that a running VM goes on where it runs; its new host must
 * have its datastores and networks all the same.
 */
export async function relocate(vm: VirtualMachine, spec: DataObject): Promise<void> {
  const { context } = vm;
  refuseUnknownLocation(spec, LOCATION);
  const { placement, store } = placeOf(vm, spec);
  if (store !== vm.home.folder.name) {
    context.registry.getAs(Datastore, spec.datastore, "spec.datastore");
    throw notSupported("a VM's files stay on their datastore; clone the VM to the other one and destroy this one.");
  }
  if (spec.folder !== undefined) {
    const folder = context.registry.getAs(Folder, spec.folder, "spec.folder");
    await folder.take(vm);
  }
  if (spec.pool === undefined && spec.host === undefined && spec.folder === undefined && spec.datastore === undefined) {
    throw invalidArgument("spec", "It names no place.");
  }
  const before = vm.host;
  const host = chooseHost(context, placement, vm.vmPathName, vm.configuration);
  context.inventory.place(vm, { pool: placement.pool, host });
  await context.store.save();
  if (host !== before) await vm.machine?.hostChanged();
  const type = vm.powerState === "poweredOn" && host !== before ? "VmMigratedEvent" : "VmRelocatedEvent";
  const message =
    host === before ? `Relocated ${vm.name} on ${host.name}` : `${vm.name} moved from ${before.name} to ${host.name}`;
  context.events.post(type, vm, message, { sourceHost: hostArgument(before) });
}
