import type { LabContext } from "../inventory/context.ts";
import { Entity, escapeName } from "../inventory/entity.ts";
import type { Host } from "../inventory/host.ts";
import type { Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";
import { formatDatastorePath, parseDatastorePath } from "../storage/datastore-path.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";

/** Finds entities by what identifies them. Nothing found is an unset result. */
export class SearchIndex extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
  ) {
    super(context.registry, reference);
    const byUuid = (p: Readonly<Record<string, unknown>>): Reference[] => {
      const uuid = String(p.uuid).toLowerCase();
      if (p.vmSearch !== true) return this.#hosts((host) => host.uuid === uuid);
      const field = p.instanceUuid === true ? "instanceUuid" : "uuid";
      return this.#vms((vm) => vm.configuration[field] === uuid);
    };
    const byGuest = (p: Readonly<Record<string, unknown>>, key: string, value: unknown): Reference[] =>
      p.vmSearch === true
        ? this.#vms((vm) => vm.toolsRunning && vm.effectiveExtraConfig().get(key) === value)
        : this.#hosts((host) => host.name === value);
    this.methods({
      FindByUuid: (p) => byUuid(p)[0],
      FindAllByUuid: byUuid,
      FindByIp: (p) => byGuest(p, "guestinfo.ip", p.ip)[0],
      FindAllByIp: (p) => byGuest(p, "guestinfo.ip", p.ip),
      FindByDnsName: (p) => byGuest(p, "guestinfo.hostname", p.dnsName)[0],
      FindAllByDnsName: (p) => byGuest(p, "guestinfo.hostname", p.dnsName),
      FindByDatastorePath: (p) => {
        const path = formatDatastorePath(parseDatastorePath(p.path as string));
        return this.#vms((vm) => vm.vmPathName === path)[0];
      },
      FindByInventoryPath: (p) => this.#byPath(p.inventoryPath as string),
      FindChild: (p) => this.#child(context.registry.getAs(Entity, p.entity, "entity"), p.name as string)?.reference,
    });
  }

  #vms(fits: (vm: VirtualMachine) => boolean): Reference[] {
    return this.context.inventory.virtualMachines.filter(fits).map((vm) => vm.reference);
  }

  #hosts(fits: (host: Host) => boolean): Reference[] {
    return this.context.inventory.hosts.filter(fits).map((host) => host.reference);
  }

  #byPath(path: string): Reference | undefined {
    let entity: Entity | undefined = this.context.registry.getAs(Entity, this.context.content.rootFolder, "rootFolder");
    for (const name of path.split("/").filter(Boolean)) {
      entity = entity && this.#child(entity, name);
    }
    return entity?.reference;
  }

  #child(entity: Entity, name: string): Entity | undefined {
    const children =
      "viewChildren" in entity ? (entity as Entity & { viewChildren(): ManagedObject[] }).viewChildren() : [];
    const named = (child: ManagedObject): child is Entity =>
      child instanceof Entity && (child.name === name || escapeName(child.name) === name);
    return children.find(named);
  }
}
