import { type DataObject, data, type Reference } from "../model/data.ts";
import type { LabContext } from "./context.ts";
import { Entity } from "./entity.ts";

/** A standard port group as VMs see it. */
export class Network extends Entity {
  constructor(context: LabContext, reference: Reference, name: string, parent: Entity) {
    super(context, reference, name, parent);
    this.properties({
      summary: () => data("NetworkSummary", { network: reference, name: this.name, accessible: true, ipPoolName: "" }),
      host: () => [context.host.reference],
      vm: () => context.host.virtualMachines.filter((vm) => vm.usesNetwork(this)).map((vm) => vm.reference),
    });
  }

  /** What a network adapter on this network names as its backing. */
  nicBacking(): DataObject {
    return data("VirtualEthernetCardNetworkBackingInfo", {
      deviceName: this.name,
      useAutoDetect: false,
      network: this.reference,
    });
  }
}
