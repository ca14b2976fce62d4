import { LabFault } from "../fault.ts";
import { Datastore } from "../inventory/datastore.ts";
import { data, type Reference } from "../model/data.ts";
import { disksOf } from "../vm/device/device-changes.ts";
import { reconfigure } from "../vm/reconfigure.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";
import type { DiskService } from "./disk-service.ts";

interface Place {
  controllerKey: number | undefined;
  unitNumber: number | undefined;
}

/** Gives a VM a first class disk, on its first SCSI controller unless a place is named. */
export async function attachDisk(
  vm: VirtualMachine,
  service: DiskService,
  id: string,
  datastore: unknown,
  place: Place,
): Promise<void> {
  const store = vm.registry.getAs(Datastore, datastore as Reference, "datastore");
  const disk = await service.catalog(store).get(id);
  const user = service.consumer(store, disk);
  if (user) throw new LabFault("InvalidState", `The disk '${disk.name}' is attached to the VM '${user.name}'.`);
  const controllerKey = place.controllerKey ?? vm.configuration.devices.find(({ kind }) => kind === "scsi")?.key;
  const device = data("VirtualDisk", {
    key: -1,
    controllerKey,
    unitNumber: place.unitNumber,
    capacityInKB: 0,
    backing: data("VirtualDiskFlatVer2BackingInfo", {
      fileName: store.folder.format(disk.path),
      diskMode: "independent_persistent",
    }),
  });
  const change = data("VirtualDeviceConfigSpec", { operation: "add", device });
  await reconfigure(vm, data("VirtualMachineConfigSpec", { deviceChange: [change] }));
}

export async function detachDisk(vm: VirtualMachine, service: DiskService, id: string): Promise<void> {
  const { store, disk } = await service.find(id);
  const path = store.folder.format(disk.path);
  const attached = disksOf(vm.configuration.devices).find((device) => device.path === path);
  if (!attached) throw new LabFault("NotFound", `The VM '${vm.name}' does not have the disk '${disk.name}'.`);
  const device = data("VirtualDisk", { key: attached.key, capacityInKB: 0 });
  const change = data("VirtualDeviceConfigSpec", { operation: "remove", device });
  await reconfigure(vm, data("VirtualMachineConfigSpec", { deviceChange: [change] }));
}
