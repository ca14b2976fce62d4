import { hostArgument } from "../event/event-log.ts";
import { invalidArgument, notSupported } from "../fault.ts";
import { Datastore } from "../inventory/datastore.ts";
import { Folder } from "../inventory/folder.ts";
import type { DataObject } from "../model/data.ts";
import { placeOf, refuseUnknownLocation } from "./clone.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

const LOCATION = new Set(["_type", "folder", "pool", "host", "datastore", "diskMoveType"]);

/** RelocateVM: another pool, folder or host. The lab's hosts share their datastores, so that the files stay where they are. */
export async function relocate(vm: VirtualMachine, spec: DataObject): Promise<void> {
  const { context } = vm;
  refuseUnknownLocation(spec, LOCATION);
  const { pool, store } = placeOf(vm, spec);
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
  context.host.movePool(vm, pool);
  await context.store.save();
  context.events.post("VmRelocatedEvent", vm, `Relocated ${vm.name} on ${context.host.name}`, {
    sourceHost: hostArgument(context.host),
  });
}
