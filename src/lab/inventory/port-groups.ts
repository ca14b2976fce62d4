import { LabFault, notSupported } from "../fault.ts";
import type { LabContext } from "./context.ts";
import type { Folder } from "./folder.ts";
import type { Host } from "./host.ts";
import type { PortSecurity, StoredPortGroup } from "./inventory-store.ts";
import { Network } from "./network.ts";

/** What a standard switch of vSphere allows when nobody says otherwise. */
export const DEFAULT_SECURITY: PortSecurity = { allowPromiscuous: false, macChanges: true, forgedTransmits: true };
/** Of the port groups that the lab has from the start: containers of strangers may be on them. */
const STRICT_SECURITY: PortSecurity = { allowPromiscuous: false, macChanges: false, forgedTransmits: false };

/**
 * Standard port groups. A port group is a bridge of this machine; the hosts that have one of the same name share it, and are one Network
 * of the inventory, as on vCenter.
 */
export class PortGroups {
  constructor(
    private readonly context: LabContext,
    private readonly folder: (key: string) => Folder,
  ) {}

  get stored(): readonly StoredPortGroup[] {
    return this.context.store.inventory.portGroups;
  }

  /** Makes a port group of all hosts unless it is there, and its Network in any case. */
  async ensure(name: string): Promise<void> {
    const stored = this.stored.find((group) => group.name === name);
    await this.activate(stored ?? this.#store(name, "vSwitch0", STRICT_SECURITY, undefined));
  }

  /** Brings a port group of the index to life. */
  async activate(stored: StoredPortGroup): Promise<void> {
    const { context } = this;
    await context.hypervisor.makePortGroup(stored.name, stored.security ?? DEFAULT_SECURITY);
    if (context.inventory.networks.some((network) => network.name === stored.name)) return;
    const reference = { type: "Network", value: stored.id };
    const folder = this.folder(`Network:${stored.id}`);
    const network = new Network(context, reference, stored.name, folder, () => stored.hosts);
    context.registry.add(network);
    context.inventory.networks.push(network);
    folder.addFixed(network);
    this.#announce();
  }

  isOn(stored: { hosts?: string[] }, host: Host): boolean {
    return stored.hosts?.includes(host.reference.value) ?? true;
  }

  /** Gives a host a port group; other hosts may have it already. */
  async add(host: Host, name: string, virtualSwitch: string, security: PortSecurity): Promise<void> {
    const known = this.stored.find((group) => group.name === name);
    if (known) {
      if (!sameSecurity(known.security ?? DEFAULT_SECURITY, security)) {
        throw notSupported("other hosts have this port group with another security policy; give it the same one here.");
      }
      known.hosts = [...(known.hosts ?? []), host.reference.value];
      this.#announce();
      this.#network(name)?.changed("host");
    } else await this.activate(this.#store(name, virtualSwitch, security, [host.reference.value]));
    await this.context.store.save();
  }

  /** Takes a port group from a host, and the Network away with the last one. */
  async remove(host: Host, stored: StoredPortGroup): Promise<void> {
    const { context } = this;
    const network = this.#network(stored.name);
    if (network && host.virtualMachines.some((vm) => vm.usesNetwork(network))) {
      const { name } = stored;
      throw new LabFault("ResourceInUse", `The resource '${name}' is in use by a VM.`, { type: "portgroup", name });
    }
    const all = context.inventory.hosts.map(({ reference }) => reference.value);
    const left = (stored.hosts ?? all).filter((id) => id !== host.reference.value && all.includes(id));
    if (left.length > 0) {
      stored.hosts = left;
      network?.changed("host");
      this.#announce();
      await context.store.save();
      return;
    }
    const { inventory } = context.store;
    inventory.portGroups = inventory.portGroups.filter((group) => group !== stored);
    if (network) {
      context.inventory.networks.splice(context.inventory.networks.indexOf(network), 1);
      this.folder(network.key).removeFixed(network);
      context.registry.remove(network);
    }
    this.#announce();
    await context.store.save();
    await context.hypervisor.removePortGroup(stored.name);
  }

  /** New rules for the port group on all of its hosts. VMs that are plugged in later follow them. */
  async secure(stored: StoredPortGroup, security: PortSecurity): Promise<void> {
    stored.security = security;
    await this.context.hypervisor.makePortGroup(stored.name, security);
    this.#announce();
    await this.context.store.save();
  }

  #network(name: string): Network | undefined {
    return this.context.inventory.networks.find((network) => network.name === name);
  }

  #store(name: string, virtualSwitch: string, security: PortSecurity, hosts: string[] | undefined): StoredPortGroup {
    const { store, naming } = this.context;
    const id = naming.network(name, store.nextNumber());
    const stored: StoredPortGroup = { id, name, vlanId: 0, virtualSwitch, security };
    if (hosts) stored.hosts = hosts;
    store.inventory.portGroups.push(stored);
    return stored;
  }

  #announce(): void {
    const { inventory, registry, content } = this.context;
    for (const host of inventory.hosts) {
      host.networkSystem.changed("networkInfo");
      host.changed("network");
      host.computeResource.changed("network");
    }
    if (content.datacenter) registry.find(content.datacenter)?.changed("network");
  }
}

const sameSecurity = (a: PortSecurity, b: PortSecurity): boolean =>
  a.allowPromiscuous === b.allowPromiscuous && a.macChanges === b.macChanges && a.forgedTransmits === b.forgedTransmits;
