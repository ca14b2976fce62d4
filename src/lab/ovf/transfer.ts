/** Leases for importing and exporting VMs, and the OVF manager. */
import { asFault, LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { Datastore } from "../inventory/datastore.ts";
import type { Folder } from "../inventory/folder.ts";
import type { Placement } from "../inventory/placement.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject } from "../model/managed-object.ts";
import type { Configuration } from "../vm/configuration.ts";
import { disksOf } from "../vm/device/device-changes.ts";
import { invalidPowerState } from "../vm/power-control.ts";
import { checkCreate, createVirtualMachine } from "../vm/provisioning.ts";
import { destroyVirtualMachine } from "../vm/removal.ts";
import { VirtualMachine } from "../vm/virtual-machine.ts";
import { specDiskIds } from "./device-ids.ts";
import { diskDeviceId, exportedFileName, ovfDescriptor } from "./export-descriptor.ts";
import { createImportSpec } from "./import-spec.ts";
import { HttpNfcLease, newLeaseReference } from "./lease.ts";

/** ImportVApp: creates the VM at once; its disks are filled through the lease. An aborted import leaves nothing. */
export function importVm(context: LabContext, folder: Folder, placement: Placement, spec: DataObject): Reference {
  if (spec._type !== "VirtualMachineImportSpec") {
    throw new LabFault("NotSupported", `The operation is not supported on the object: importing a ${spec._type}.`);
  }
  const config = spec.configSpec as DataObject;
  checkCreate(context, config);
  let vm: VirtualMachine | undefined;
  const lease = context.registry.add(
    new HttpNfcLease(context, newLeaseReference(), "import", async (completed) => {
      vm?.release();
      if (vm && !completed) await destroyVirtualMachine(vm);
    }),
  );
  const create = async (): Promise<void> => {
    try {
      const reference = await createVirtualMachine(context, folder, placement, config);
      const made = context.registry.getAs(VirtualMachine, reference, "vm");
      vm = made;
      made.hold(lease.reference);
      const ids = specDiskIds(config);
      lease.ready(
        made,
        disksOf(made.configuration.devices).map((disk, index) => ({
          importKey: ids[index]?.id ?? diskDeviceId(made, made.configuration.devices, disk),
          fileName: exportedFileName(index),
          path: disk.path,
          capacityKB: disk.capacityBytes / 1024,
        })),
      );
    } catch (error) {
      lease.fail(asFault(error));
    }
  };
  void create();
  return lease.reference;
}

/** ExportVm: a powered-off VM, which stays so until the lease ends. */
export function exportVm(vm: VirtualMachine): Reference {
  vm.requireIdle();
  if (vm.powerState !== "poweredOff") throw invalidPowerState("poweredOff", vm.powerState);
  return exportDisks(vm, vm.configuration);
}

/** ExportSnapshot: the disks as they were then. The VM may run; nothing about it changes until the lease ends. */
export function exportSnapshot(vm: VirtualMachine, configuration: Configuration): Reference {
  vm.requireIdle();
  return exportDisks(vm, configuration);
}

function exportDisks(vm: VirtualMachine, { devices }: Configuration): Reference {
  const { context } = vm;
  const lease = context.registry.add(
    new HttpNfcLease(context, newLeaseReference(), "export", async () => vm.release()),
  );
  vm.hold(lease.reference);
  lease.ready(
    vm,
    disksOf(devices).map((disk, index) => ({
      importKey: diskDeviceId(vm, devices, disk),
      fileName: exportedFileName(index),
      path: disk.path,
      capacityKB: disk.capacityBytes / 1024,
    })),
  );
  return lease.reference;
}

export class OvfManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference) {
    super(context.registry, reference);
    this.properties({ ovfImportOption: () => [], ovfExportOption: () => [] });
    this.methods({
      CreateImportSpec: (p, _call: Call) =>
        createImportSpec(
          context,
          p.ovfDescriptor as string,
          context.registry.getAs(Datastore, p.datastore, "datastore"),
          p.cisp as DataObject,
        ),
      CreateDescriptor: (p) => {
        const vm = context.registry.getAs(VirtualMachine, p.obj, "obj");
        const params = p.cdp as DataObject;
        const files = (params.ovfFiles as DataObject[] | undefined) ?? [];
        const name = String(params.name ?? vm.name);
        const text = ovfDescriptor(vm, files, name, String(params.description ?? ""));
        return data("OvfCreateDescriptorResult", { ovfDescriptor: text });
      },
    });
  }
}
