import { LabFault, notSupported } from "../fault.ts";
import { managementNic } from "../host/virtual-nic-manager.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Host } from "../inventory/host.ts";
import type { PortSecurity, StoredPortGroup } from "../inventory/inventory-store.ts";
import { DEFAULT_SECURITY } from "../inventory/port-groups.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";

const NAME_LIMIT = 80;
const DEFAULT_PORTS = 128;

/** A host's virtual switches and port groups. */
export class NetworkSystem extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
    private readonly host: Host,
  ) {
    super(context.registry, reference);
    this.properties({ networkInfo: () => this.#info() });
    this.methods({
      AddVirtualSwitch: (p) => this.#addSwitch(p.vswitchName as string, p.spec as DataObject | undefined),
      UpdateVirtualSwitch: (p) => this.#updateSwitch(p.vswitchName as string, p.spec as DataObject),
      RemoveVirtualSwitch: (p) => this.#removeSwitch(p.vswitchName as string),
      AddPortGroup: (p) => this.#addPortGroup(p.portgrp as DataObject),
      UpdatePortGroup: (p) => this.#updatePortGroup(p.pgName as string, p.portgrp as DataObject),
      RemovePortGroup: (p) => context.inventory.portGroups.remove(this.host, this.#portGroup(p.pgName as string)),
      RefreshNetworkSystem: () => undefined,
      // Virtual switches are bridges without physical adapters: nothing is there that could see a network.
      QueryNetworkHint: (p) => {
        const [device] = (p.device as string[] | undefined) ?? [];
        if (device !== undefined) throw notFound(device);
        return [];
      },
    });
  }

  override get authority(): ManagedObject {
    return this.host;
  }

  get #switches() {
    return this.context.store.inventory.virtualSwitches.filter((known) => this.#has(known));
  }

  get #portGroups(): StoredPortGroup[] {
    return this.context.inventory.portGroups.stored.filter((known) => this.#has(known));
  }

  #has(stored: { hosts?: string[] }): boolean {
    return this.context.inventory.portGroups.isOn(stored, this.host);
  }

  #portGroup(name: string): StoredPortGroup {
    const stored = this.#portGroups.find((group) => group.name === name);
    if (stored) return stored;
    throw notFound(name);
  }

  #switch(name: string) {
    const stored = this.#switches.find((existing) => existing.name === name);
    if (stored) return stored;
    throw notFound(name);
  }

  async #addSwitch(name: string, spec: DataObject | undefined): Promise<void> {
    requireName(name);
    if (this.#switches.some((existing) => existing.name === name)) throw alreadyExists(name);
    const numPorts = portsOf(spec) ?? DEFAULT_PORTS;
    this.context.store.inventory.virtualSwitches.push({ name, numPorts, hosts: [this.host.reference.value] });
    this.changed("networkInfo");
    await this.context.store.save();
  }

  async #updateSwitch(name: string, spec: DataObject): Promise<void> {
    const stored = this.#switch(name);
    stored.numPorts = portsOf(spec) ?? stored.numPorts;
    this.changed("networkInfo");
    await this.context.store.save();
  }

  async #removeSwitch(name: string): Promise<void> {
    const { inventory } = this.context.store;
    const stored = this.#switch(name);
    if (this.#portGroups.some((group) => group.virtualSwitch === name)) {
      throw new LabFault("ResourceInUse", `The resource '${name}' is in use: it has port groups.`, {
        type: "vSwitch",
        name,
      });
    }
    const left = (stored.hosts ?? this.context.inventory.hosts.map(({ reference }) => reference.value)).filter(
      (id) => id !== this.host.reference.value,
    );
    if (left.length > 0) stored.hosts = left;
    else inventory.virtualSwitches = inventory.virtualSwitches.filter((existing) => existing !== stored);
    this.changed("networkInfo");
    await this.context.store.save();
  }

  async #addPortGroup(spec: DataObject): Promise<void> {
    const name = String(spec.name);
    requireName(name);
    if (this.#portGroups.some((group) => group.name === name)) throw alreadyExists(name);
    this.#switch(String(spec.vswitchName));
    refuseVlan(spec);
    await this.context.inventory.portGroups.add(this.host, name, String(spec.vswitchName), securityOf(spec));
  }

  async #updatePortGroup(name: string, spec: DataObject): Promise<void> {
    const stored = this.#portGroup(name);
    refuseVlan(spec);
    if (spec.name !== name) throw notSupported("a port group of the lab keeps its name: VMs are connected by it.");
    if (spec.vswitchName !== stored.virtualSwitch) throw notSupported("a port group of the lab stays on its switch.");
    await this.context.inventory.portGroups.secure(stored, securityOf(spec, stored.security));
  }

  #info(): DataObject {
    const [switches, portGroups] = [this.#switches, this.#portGroups];
    const policy = data("HostNetworkPolicy", {});
    return data("HostNetworkInfo", {
      vnic: [managementNic()],
      vswitch: switches.map(({ name, numPorts }) =>
        data("HostVirtualSwitch", {
          name,
          key: `key-vim.host.VirtualSwitch-${name}`,
          numPorts,
          numPortsAvailable: numPorts,
          spec: data("HostVirtualSwitchSpec", { numPorts, policy }),
        }),
      ),
      portgroup: portGroups.map(({ name, vlanId, virtualSwitch, security = DEFAULT_SECURITY }) => {
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
function securityOf(spec: DataObject, before = DEFAULT_SECURITY): PortSecurity {
  const policy = spec.policy as DataObject | undefined;
  const given = policy?.security as Partial<PortSecurity> | undefined;
  return {
    allowPromiscuous: given?.allowPromiscuous ?? before.allowPromiscuous,
    macChanges: given?.macChanges ?? before.macChanges,
    forgedTransmits: given?.forgedTransmits ?? before.forgedTransmits,
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

function refuseVlan(spec: DataObject): void {
  if (spec.vlanId === 0) return;
  throw notSupported("VLANs: every port group of the lab is a network of its own; use VLAN 0.");
}

function portsOf(spec: DataObject | undefined): number | undefined {
  if (spec?.bridge !== undefined) throw notSupported("virtual switches of the lab have no physical uplink.");
  return spec?.numPorts === undefined ? undefined : Number(spec.numPorts);
}
