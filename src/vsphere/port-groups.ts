/** Port groups of standard switches: made and removed on every host that our VMs may run on. */
import { type PortGroupSpec, VSphereFault } from "./contract.ts";
import type { Inventory } from "./inventory.ts";
import { retrieveOne } from "./properties.ts";
import type { Session } from "./session.ts";
import type { ManagedObjectReference } from "./vim25/index.ts";

type NetworkSystem = ManagedObjectReference<"HostNetworkSystem">;

/**
 * What a guest may not do on a network of ours: take another address than its vNIC's, send as somebody else, listen in.
 * (vSphere's names; a new standard switch allows the first two unless told otherwise.)
 */
const SECURITY = { allowPromiscuous: false, macChanges: false, forgedTransmits: false } as const;

export class PortGroups {
  constructor(
    private readonly session: Session,
    private readonly inventory: Inventory,
  ) {}

  /** There already is no error: a step that was cut off is repeated. */
  async add({ name, virtualSwitch, vlanId }: PortGroupSpec): Promise<void> {
    const portgrp = { name, vlanId, vswitchName: virtualSwitch, policy: { security: { ...SECURITY } } };
    await this.#onEveryHost("AlreadyExists", (system) => this.session.call("AddPortGroup", system, { portgrp }));
  }

  /** Gone already is no error. Throws ResourceInUse while a VM is on it. */
  async remove(name: string): Promise<void> {
    await this.#onEveryHost("NotFound", (system) => this.session.call("RemovePortGroup", system, { pgName: name }));
  }

  async #onEveryHost(done: string, change: (system: NetworkSystem) => Promise<void>): Promise<void> {
    for (const system of await this.#networkSystems()) {
      try {
        await change(system);
      } catch (error) {
        if (!(error instanceof VSphereFault) || error.fault !== done) throw error;
      }
    }
  }

  async #networkSystems(): Promise<NetworkSystem[]> {
    const { host, compute } = this.inventory;
    const hosts = host ? [host] : references((await retrieveOne(this.session, compute, ["host"])).get("host"));
    const systems: NetworkSystem[] = [];
    for (const member of hosts) {
      const values = await retrieveOne(this.session, member, ["configManager.networkSystem"]);
      const [system] = references(values.get("configManager.networkSystem"));
      if (system) systems.push(system as NetworkSystem);
    }
    if (systems.length === 0)
      throw new VSphereFault(
        "NoPermission",
        "vSphere does not show this user the hosts' network configuration: it needs System.Read and Host.Config.Network on them",
      );
    return systems;
  }
}

/** References out of a property value: one, or an array of them. */
function references(value: unknown): ManagedObjectReference[] {
  const list = Array.isArray(value) ? value : [value];
  return list.filter(
    (entry): entry is ManagedObjectReference =>
      typeof entry === "object" && entry !== null && "type" in entry && "value" in entry,
  );
}
