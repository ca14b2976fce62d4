import { asFault, LabFault, localizedFault } from "../fault.ts";
import { data, type Reference } from "../model/data.ts";
import { type ManagedObject, sessionOf } from "../model/managed-object.ts";
import type { LabContext } from "./context.ts";
import { Entity } from "./entity.ts";
import type { Folder } from "./folder.ts";

export interface DatacenterFolders {
  vm: Folder;
  host: Folder;
  datastore: Folder;
  network: Folder;
}

export class Datacenter extends Entity {
  folders: DatacenterFolders | undefined;

  constructor(context: LabContext, reference: Reference, name: string, parent: Entity) {
    super(context, reference, name, parent);
    this.properties({
      vmFolder: () => this.folders?.vm.reference,
      hostFolder: () => this.folders?.host.reference,
      datastoreFolder: () => this.folders?.datastore.reference,
      networkFolder: () => this.folders?.network.reference,
      datastore: () => context.inventory.datastores.map((store) => store.reference),
      network: () => context.inventory.networks.map((network) => network.reference),
      configuration: () => data("DatacenterConfigInfo", {}),
    });
    this.methods({
      PowerOnMultiVM_Task: (p, call) => {
        if (context.naming.personality === "HostAgent") {
          throw new LabFault(
            "NotSupported",
            "The operation is not supported on the object: use PowerOnVM_Task on a host.",
          );
        }
        const user = sessionOf(call).user.name;
        const vms = (p.vm as Reference[]).map((reference) =>
          this.registry.getAs(context.inventory.virtualMachineClass, reference, "vm"),
        );
        return context.tasks.run(call.method, this, user, async () => {
          const attempted = [];
          const notAttempted = [];
          for (const vm of vms) {
            try {
              const task = vm.exclusive("PowerOnVM_Task", call, () => vm.power.on());
              attempted.push(data("ClusterAttemptedVmInfo", { vm: vm.reference, task }));
            } catch (error) {
              notAttempted.push(
                data("ClusterNotAttemptedVmInfo", { vm: vm.reference, fault: localizedFault(asFault(error)) }),
              );
            }
          }
          return data("ClusterPowerOnVmResult", { attempted, notAttempted });
        });
      },
    });
  }

  viewChildren(): ManagedObject[] {
    return this.folders ? Object.values(this.folders) : [];
  }
}
