import { LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { DistributedPortGroup, DistributedSwitch } from "../inventory/distributed-switch.ts";
import type { Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";

/** Finds distributed switches and their port groups by what backings of network adapters name. */
export class DistributedSwitchManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference) {
    super(context.registry, reference);
    const find = (uuid: string): DistributedSwitch => {
      for (const stored of context.store.inventory.distributedSwitches ?? []) {
        const found = context.registry.find({ type: "VmwareDistributedVirtualSwitch", value: stored.id });
        if (stored.uuid === uuid && found instanceof DistributedSwitch) return found;
      }
      throw new LabFault("NotFound", `There is no distributed switch '${uuid}'.`);
    };
    this.methods({
      QueryDvsByUuid: (p) => find(p.uuid as string).reference,
      DVSManagerLookupDvPortGroup: (p) => {
        const owner = find(p.switchUuid as string);
        const group = context.registry.find({ type: "DistributedVirtualPortgroup", value: p.portgroupKey as string });
        if (group instanceof DistributedPortGroup && group.owner === owner) return group.reference;
        throw new LabFault("NotFound", `The switch '${owner.name}' has no port group '${String(p.portgroupKey)}'.`);
      },
    });
  }
}
