import { LabFault, notSupported } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Folder } from "../inventory/folder.ts";
import type { PortSecurity, StoredPortGroup } from "../inventory/inventory-store.ts";
import { Network } from "../inventory/network.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";

const NAME_LIMIT = 80;
/** What a standard switch of vSphere allows when nobody says otherwise. */
const DEFAULT_SECURITY: PortSecurity = { allowPromiscuous: false, macChanges: true, forgedTransmits: true };
/** Of the port groups that the lab has from the start: containers of strangers may be on them. */
const STRICT_SECURITY: PortSecurity = { allowPromiscuous: false, macChanges: false, forgedTransmits: false };

/** The host's virtual switches and port groups. A port group is a bridge of the hypervisor. */
export class NetworkSystem extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
    private readonly folder: Folder,
  ) {
    super(context.registry, reference);
    this.properties({ networkInfo: () => this.#info() });
    this.methods({
      AddVirtualSwitch: (p) => this.#addSwitch(p.vswitchName as string, p.spec as DataObject | undefined),
      RemoveVirtualSwitch: (p) => this.#removeSwitch(p.vswitchName as string),
      AddPortGroup: (p) => this.#addPortGroup(p.portgrp as DataObject),
      RemovePortGroup: (p) => this.#removePortGroup(p.pgName as string),
      RefreshNetworkSystem: () => undefined,
    });
  }

  /** Makes a port group unless it is there, and its Network in any case. */
  async ensurePortGroup(name: string, virtualSwitch = "vSwitch0", security = STRICT_SECURITY): Promise<void> {
    const { store, naming } = this.context;
    let stored = store.inventory.portGroups.find((group) => group.name === name);
    if (!stored) {
      stored = { id: naming.network(name, store.nextNumber()), name, vlanId: 0, virtualSwitch, security };
      store.inventory.portGroups.push(stored);
    }
    await this.activate(stored);
  }

  /** Brings a port group of the index to life. */
  async activate(stored: StoredPortGroup): Promise<void> {
    const { context } = this;
    await context.hypervisor.makePortGroup(stored.name, stored.security ?? DEFAULT_SECURITY);
    if (context.host.networks.some((network) => network.name === stored.name)) return;
    const network = new Network(context, { type: "Network", value: stored.id }, stored.name, this.folder);
    context.registry.add(network);
    context.host.networks.push(network);
    this.folder.addFixed(network);
    this.#announce();
  }

  #announce(): void {
    this.changed("networkInfo");
    this.context.host.changed("network");
    for (const type of ["computeResource", "datacenter"] as const) {
      const reference = this.context.content[type];
      if (reference) this.registry.find(reference)?.changed("network");
    }
  }

  async #addSwitch(name: string, spec: DataObject | undefined): Promise<void> {
    const { inventory } = this.context.store;
    requireName(name);
    if (inventory.virtualSwitches.some((existing) => existing.name === name)) throw alreadyExists(name);
    if (spec?.bridge !== undefined) throw notSupported("virtual switches of the lab have no physical uplink.");
    inventory.virtualSwitches.push({ name, numPorts: Number(spec?.numPorts ?? 128) });
    this.changed("networkInfo");
    await this.context.store.save();
  }

  async #removeSwitch(name: string): Promise<void> {
    const { inventory } = this.context.store;
    if (!inventory.virtualSwitches.some((existing) => existing.name === name)) throw notFound(name);
    if (inventory.portGroups.some((group) => group.virtualSwitch === name)) {
      throw new LabFault("ResourceInUse", `The resource '${name}' is in use: it has port groups.`, {
        type: "vSwitch",
        name,
      });
    }
    inventory.virtualSwitches = inventory.virtualSwitches.filter((existing) => existing.name !== name);
    this.changed("networkInfo");
    await this.context.store.save();
  }

  async #addPortGroup(spec: DataObject): Promise<void> {
    const { inventory } = this.context.store;
    const name = String(spec.name);
    requireName(name);
    if (inventory.portGroups.some((group) => group.name === name)) throw alreadyExists(name);
    if (!inventory.virtualSwitches.some((existing) => existing.name === spec.vswitchName))
      throw notFound(String(spec.vswitchName));
    if (spec.vlanId !== 0)
      throw notSupported("VLANs: every port group of the lab is a network of its own; use VLAN 0.");
    await this.ensurePortGroup(name, String(spec.vswitchName), securityOf(spec));
    await this.context.store.save();
  }

  async #removePortGroup(name: string): Promise<void> {
    const { context } = this;
    const { inventory } = context.store;
    const network = context.host.networks.find((existing) => existing.name === name);
    if (!network) throw notFound(name);
    if (context.host.virtualMachines.some((vm) => vm.usesNetwork(network))) {
      throw new LabFault("ResourceInUse", `The resource '${name}' is in use by a VM.`, { type: "portgroup", name });
    }
    inventory.portGroups = inventory.portGroups.filter((group) => group.name !== name);
    context.host.networks.splice(context.host.networks.indexOf(network), 1);
    this.folder.removeFixed(network);
    context.registry.remove(network);
    this.#announce();
    await context.store.save();
    await context.hypervisor.removePortGroup(name);
  }

  #info(): DataObject {
    const { inventory } = this.context.store;
    const policy = data("HostNetworkPolicy", {});
    return data("HostNetworkInfo", {
      vswitch: inventory.virtualSwitches.map(({ name, numPorts }) =>
        data("HostVirtualSwitch", {
          name,
          key: `key-vim.host.VirtualSwitch-${name}`,
          numPorts,
          numPortsAvailable: numPorts,
          spec: data("HostVirtualSwitchSpec", { numPorts, policy }),
        }),
      ),
      portgroup: inventory.portGroups.map(({ name, vlanId, virtualSwitch, security = DEFAULT_SECURITY }) => {
        const own = data("HostNetworkPolicy", { security: data("HostNetworkSecurityPolicy", { ...security }) });
        return data("HostPortGroup", {
          key: `key-vim.host.PortGroup-${name}`,
          computedPolicy: own,
          spec: data("HostPortGroupSpec", { name, vlanId, vswitchName: virtualSwitch, policy: own }),
        });
      }),
    });
  }
}

/** A policy that says nothing of something leaves it as the switch has it. */
function securityOf(spec: DataObject): PortSecurity {
  const policy = spec.policy as DataObject | undefined;
  const given = policy?.security as Partial<PortSecurity> | undefined;
  return {
    allowPromiscuous: given?.allowPromiscuous ?? DEFAULT_SECURITY.allowPromiscuous,
    macChanges: given?.macChanges ?? DEFAULT_SECURITY.macChanges,
    forgedTransmits: given?.forgedTransmits ?? DEFAULT_SECURITY.forgedTransmits,
  };
}

function requireName(name: string): void {
  if (name.trim() === "" || name.length > NAME_LIMIT || /[\x00-\x1f\x7f]/.test(name)) {
    throw new LabFault("InvalidArgument", `'${name.slice(0, NAME_LIMIT)}' is no name of a network.`, {
      invalidProperty: "name",
    });
  }
}

const alreadyExists = (name: string): LabFault =>
  new LabFault("AlreadyExists", `The specified key, name, or identifier '${name}' already exists.`, { name });
const notFound = (name: string): LabFault => new LabFault("NotFound", `The object '${name}' could not be found.`);
