import { type DataObject, data, type Reference } from "../model/data.ts";
import type { LabContext } from "./context.ts";
import { Entity } from "./entity.ts";
import type { Host } from "./host.ts";

/** A standard port group as VMs see it. */
export class Network extends Entity {
  constructor(
    context: LabContext,
    reference: Reference,
    name: string,
    parent: Entity,
    /** Ids of the hosts that have it; undefined: all. */
    private readonly hostIds: () => readonly string[] | undefined,
  ) {
    super(context, reference, name, parent);
    this.properties({
      summary: () => data("NetworkSummary", { network: reference, name: this.name, accessible: true, ipPoolName: "" }),
      host: () => context.inventory.hosts.filter((host) => this.isOn(host)).map((host) => host.reference),
      vm: () => context.inventory.virtualMachines.filter((vm) => vm.usesNetwork(this)).map((vm) => vm.reference),
    });
  }

  isOn(host: Host): boolean {
    return this.hostIds()?.includes(host.reference.value) ?? true;
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
