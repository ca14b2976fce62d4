/** Where a new network gets its layer 2 from: a port group of its own, or one that the administrator has set aside. */
import type { VSphere } from "../../vsphere/contract.ts";
import { conflict, EngineError, notImplemented } from "../errors.ts";
import { virtualMachineName } from "../identifiers.ts";
import { NETWORK_OPTION, type NetworkRecord } from "./network-record.ts";

export interface PortGroupOptions {
  /** Standard switch that new port groups are added to; without it there are only the given ones. */
  virtualSwitch?: string;
  /** VLANs that new port groups may use. Needed where a switch spans hosts; without it they are untagged. */
  vlans?: { first: number; last: number };
  /** Port groups set aside for networks of this VCH, with this machine's interface on each. */
  given?: readonly { name: string; interfaceName: string }[];
  /** This machine's interface on a port group that was added; undefined when it has none. */
  interfaceOf?: (portGroup: string) => string | undefined;
}

export type PortGroupChoice = Pick<NetworkRecord, "portGroup" | "vlanId" | "portGroupGiven">;

export class PortGroups {
  constructor(
    private readonly vsphere: VSphere,
    private readonly vch: string,
    private readonly options: PortGroupOptions,
  ) {}

  /** Throws EngineError when there is nothing left to choose from. */
  choose(
    network: { id: string; name: string },
    wanted: string | undefined,
    others: readonly NetworkRecord[],
  ): PortGroupChoice {
    const taken = new Set(others.map(({ portGroup }) => portGroup));
    const given = this.options.given ?? [];
    if (wanted !== undefined) {
      if (!given.some(({ name }) => name === wanted))
        throw new EngineError(
          "forbidden",
          `port group ${wanted} is not set aside for networks of ${this.vch}: ${given.length > 0 ? `use one of ${given.map(({ name }) => name).join(", ")}` : "ask the administrator for one"}`,
        );
      if (taken.has(wanted)) throw conflict(`port group ${wanted} is in use by another network`);
      return { portGroup: wanted, portGroupGiven: true };
    }
    if (this.options.virtualSwitch !== undefined)
      return { portGroup: virtualMachineName(`${this.vch}-${network.name}`, network.id), ...this.#freeVlan(others) };
    const free = given.find(({ name }) => !taken.has(name));
    if (free) return { portGroup: free.name, portGroupGiven: true };
    throw notImplemented(
      "there is no free port group for another network: ask the administrator to set one more aside for this virtual container host",
    );
  }

  #freeVlan(others: readonly NetworkRecord[]): { vlanId?: number } {
    const { vlans } = this.options;
    if (vlans === undefined) return {};
    const taken = new Set(others.map(({ vlanId }) => vlanId));
    for (let vlanId = vlans.first; vlanId <= vlans.last; vlanId++) if (!taken.has(vlanId)) return { vlanId };
    throw new EngineError(
      "forbidden",
      `all VLANs from ${vlans.first} to ${vlans.last} are in use by networks of ${this.vch}: remove one, or ask the administrator for more`,
    );
  }

  /** Idempotent. */
  async make({ portGroup, vlanId, portGroupGiven }: PortGroupChoice): Promise<void> {
    const { virtualSwitch } = this.options;
    if (portGroupGiven || virtualSwitch === undefined) return;
    await this.vsphere.addPortGroup({ name: portGroup, virtualSwitch, vlanId: vlanId ?? 0 });
  }

  /** Idempotent. */
  async remove({ portGroup, portGroupGiven }: PortGroupChoice): Promise<void> {
    if (!portGroupGiven && portGroup !== "") await this.vsphere.removePortGroup(portGroup);
  }

  /** Throws when this machine is not on the port group: then it cannot be its gateway. */
  interfaceOf({ portGroup }: PortGroupChoice): string {
    const given = this.options.given?.find(({ name }) => name === portGroup)?.interfaceName;
    const interfaceName = given ?? this.options.interfaceOf?.(portGroup);
    if (interfaceName === undefined)
      throw new EngineError(
        "internal",
        `the endpoint has no network interface on port group ${portGroup}: name it with ${NETWORK_OPTION.portGroup}, or add a vNIC`,
      );
    return interfaceName;
  }
}
