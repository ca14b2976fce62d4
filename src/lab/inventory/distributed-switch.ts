/** Distributed switches of a vCenter and their port groups. A port group is a network of its own, a bridge of the hypervisor. */
import { randomUUID } from "node:crypto";
import { LabFault, notSupported } from "../fault.ts";
import { type DataObject, data, isDataObject, type Reference } from "../model/data.ts";
import { sessionOf } from "../model/managed-object.ts";
import type { LabContext } from "./context.ts";
import { checkedName, Entity, refuseDuplicate } from "./entity.ts";
import type { Folder } from "./folder.ts";
import { Host } from "./host.ts";
import type { StoredDistributedSwitch } from "./inventory-store.ts";
import { Network } from "./network.ts";

const VERSION = "8.0.0";
const PORT_GROUP_LIMIT = 1000;
const DEFAULT_PORTS = 8;

/** CreateDVS: makes a switch without port groups. */
export async function createDistributedSwitch(
  context: LabContext,
  folder: Folder,
  spec: DataObject,
): Promise<Reference> {
  const config = spec.configSpec as DataObject;
  const name = checkedName(String(config.name ?? ""));
  refuseDuplicate(name, folder.children);
  const { store } = context;
  const stored: StoredDistributedSwitch = {
    id: `dvs-${store.nextNumber()}`,
    name,
    uuid: randomUUID(),
    created: new Date().toISOString(),
    description: String(config.description ?? ""),
    version: 1,
    joined: false,
    members: [],
    portGroups: [],
  };
  store.inventory.distributedSwitches = [...(store.inventory.distributedSwitches ?? []), stored];
  const made = new DistributedSwitch(context, stored, folder);
  made.join();
  await store.save();
  return made.reference;
}

/** Brings the switches of the index back. */
export async function loadDistributedSwitches(context: LabContext): Promise<void> {
  for (const stored of context.store.inventory.distributedSwitches ?? []) {
    const folder = context.inventory.folderOf(`VmwareDistributedVirtualSwitch:${stored.id}`, "network");
    const made = new DistributedSwitch(context, stored, folder);
    made.join();
    for (const group of stored.portGroups) await made.activate(group);
  }
}

type StoredGroup = StoredDistributedSwitch["portGroups"][number];

export class DistributedSwitch extends Entity {
  readonly #groups: DistributedPortGroup[] = [];

  constructor(
    context: LabContext,
    readonly stored: StoredDistributedSwitch,
    readonly folder: Folder,
  ) {
    super(context, { type: "VmwareDistributedVirtualSwitch", value: stored.id }, stored.name, folder);
    this.properties({
      uuid: () => stored.uuid,
      capability: () =>
        data("DVSCapability", {
          dvsOperationSupported: true,
          dvPortGroupOperationSupported: true,
          dvPortOperationSupported: false,
        }),
      summary: () =>
        data("DVSSummary", {
          name: this.name,
          uuid: stored.uuid,
          numPorts: this.#ports,
          productInfo,
          hostMember: this.#hosts,
          host: this.#hosts,
          portgroupName: this.#groups.map((group) => group.name),
          description: stored.description,
          numHosts: this.#hosts.length,
        }),
      config: () => this.#config(),
      portgroup: () => this.#groups.map((group) => group.reference),
    });
    this.methods({
      CreateDVPortgroup_Task: (p, call) =>
        context.tasks.run(call.method, this, sessionOf(call).user.name, () => this.#add(p.spec as DataObject)),
      AddDVPortgroup_Task: (p, call) =>
        context.tasks.run(call.method, this, sessionOf(call).user.name, async () => {
          for (const spec of p.spec as DataObject[]) await this.#add(spec);
        }),
      ReconfigureDvs_Task: (p, call) =>
        context.tasks.run(call.method, this, sessionOf(call).user.name, () => this.#reconfigure(p.spec as DataObject)),
      Rename_Task: (p, call) =>
        context.tasks.run(call.method, this, sessionOf(call).user.name, () =>
          this.#reconfigure(data("VMwareDVSConfigSpec", { name: p.newName })),
        ),
      Destroy_Task: (_, call) => context.tasks.run(call.method, this, sessionOf(call).user.name, () => this.#destroy()),
      FetchDVPorts: () => [],
    });
  }

  get #hosts(): Reference[] {
    const members = this.members;
    const { hosts } = this.context.inventory;
    return hosts.map((host) => host.reference).filter(({ value }) => members?.includes(value) ?? true);
  }

  /** Ids of the member hosts; undefined: all. */
  get members(): readonly string[] | undefined {
    return this.stored.joined ? undefined : (this.stored.members ?? []);
  }

  get #ports(): number {
    return this.stored.portGroups.reduce((sum, { numPorts }) => sum + numPorts, 0);
  }

  /** Takes its place in the inventory. */
  join(): void {
    this.registry.add(this);
    this.folder.addFixed(this);
  }

  async activate(stored: StoredGroup): Promise<DistributedPortGroup> {
    const { context } = this;
    await context.hypervisor.makePortGroup(stored.name);
    const group = new DistributedPortGroup(context, stored, this);
    this.#groups.push(group);
    context.registry.add(group);
    context.inventory.networks.push(group);
    this.folder.addFixed(group);
    this.#announce();
    return group;
  }

  async removeGroup(group: DistributedPortGroup): Promise<void> {
    const { context } = this;
    if (context.inventory.virtualMachines.some((vm) => vm.usesNetwork(group))) {
      throw new LabFault("ResourceInUse", `The resource '${group.name}' is in use by a VM.`, {
        type: "DistributedVirtualPortgroup",
        name: group.name,
      });
    }
    this.stored.portGroups = this.stored.portGroups.filter(({ id }) => id !== group.reference.value);
    this.#groups.splice(this.#groups.indexOf(group), 1);
    context.inventory.networks.splice(context.inventory.networks.indexOf(group), 1);
    this.folder.removeFixed(group);
    context.registry.remove(group);
    this.#announce();
    await context.store.save();
    await context.hypervisor.removePortGroup(group.name);
  }

  #announce(): void {
    this.changed("portgroup", "summary", "config");
    for (const host of this.context.inventory.hosts) host.changed("network");
  }

  async #add(spec: DataObject): Promise<Reference> {
    const { context, stored } = this;
    if (stored.portGroups.length >= PORT_GROUP_LIMIT) {
      throw new LabFault("LimitExceeded", `The switch has ${PORT_GROUP_LIMIT} port groups already.`);
    }
    const name = checkedName(String(spec.name ?? ""));
    refuseDuplicate(name, context.inventory.networks);
    refuseVlan(spec);
    const type = String(spec.type ?? "earlyBinding");
    const group: StoredGroup = {
      id: `dvportgroup-${context.store.nextNumber()}`,
      name,
      type,
      numPorts: Number(spec.numPorts ?? DEFAULT_PORTS),
      description: String(spec.description ?? ""),
    };
    stored.portGroups.push(group);
    const made = await this.activate(group);
    await context.store.save();
    return made.reference;
  }

  async #reconfigure(spec: DataObject): Promise<void> {
    const { stored } = this;
    if (
      typeof spec.configVersion === "string" &&
      spec.configVersion !== "" &&
      spec.configVersion !== String(stored.version)
    ) {
      throw new LabFault("ConcurrentAccess", "The switch has been changed by another client; read it again.");
    }
    const known = new Set(["_type", "configVersion", "name", "description", "host"]);
    const other = Object.entries(spec).find(
      ([key, value]) => !known.has(key) && !(Array.isArray(value) && value.length === 0),
    );
    if (other) throw notSupported(`the lab's switches have no setting '${other[0]}'; leave it out.`);
    for (const member of (spec.host as DataObject[] | undefined) ?? []) this.#member(member);
    if (typeof spec.name === "string" && spec.name !== this.name) {
      const name = checkedName(spec.name, this);
      refuseDuplicate(name, this.folder.children, this);
      stored.name = name;
      this.setName(name);
    }
    stored.description = String(spec.description ?? stored.description);
    stored.version++;
    this.changed("summary", "config");
    await this.context.store.save();
  }

  #member(member: DataObject): void {
    const { stored } = this;
    const host = this.registry.getAs(Host, member.host, "spec.host");
    const { value } = host.reference;
    const members = this.#hosts.map((known) => known.value);
    if (member.operation === "add" && members.includes(value)) {
      throw new LabFault("AlreadyExists", "The host is a member of the switch already.", { name: host.name });
    }
    if (member.operation === "remove") {
      if (!members.includes(value)) {
        throw new LabFault("NotFound", `The host '${host.name}' is no member of the switch.`);
      }
      const used = host.virtualMachines.find((vm) => this.#groups.some((group) => vm.usesNetwork(group)));
      if (used) {
        throw new LabFault("ResourceInUse", `The VM '${used.name}' on the host uses the switch.`, {
          type: "DistributedVirtualSwitch",
          name: this.name,
        });
      }
    }
    stored.joined = false;
    stored.members = member.operation === "remove" ? members.filter((known) => known !== value) : [...members, value];
    this.#announce();
    for (const group of this.#groups) group.changed("host");
  }

  async #destroy(): Promise<void> {
    for (const group of [...this.#groups]) await this.removeGroup(group);
    const { inventory } = this.context.store;
    inventory.distributedSwitches = (inventory.distributedSwitches ?? []).filter(({ id }) => id !== this.stored.id);
    this.folder.removeFixed(this);
    this.registry.remove(this);
    await this.context.store.save();
  }

  #config(): DataObject {
    const { stored } = this;
    return data("VMwareDVSConfigInfo", {
      uuid: stored.uuid,
      name: this.name,
      numStandalonePorts: 0,
      numPorts: this.#ports,
      maxPorts: 2 ** 31 - 1,
      uplinkPortPolicy: data("DVSNameArrayUplinkPortPolicy", { uplinkPortName: [] }),
      defaultPortConfig: data("VMwareDVSPortSetting", {}),
      productInfo,
      description: stored.description,
      configVersion: String(stored.version),
      contact: data("DVSContactInfo", {}),
      createTime: new Date(stored.created),
      networkResourceManagementEnabled: false,
      maxMtu: 1500,
    });
  }
}

const productInfo = data("DistributedVirtualSwitchProductSpec", {
  name: "DVS",
  vendor: "VMware, Inc.",
  version: VERSION,
  forwardingClass: "etherswitch",
});

/** Every port group is a network of its own. */
function refuseVlan(spec: DataObject): void {
  const vlan = isDataObject(spec.defaultPortConfig) ? spec.defaultPortConfig.vlan : undefined;
  if (!isDataObject(vlan) || vlan.vlanId === undefined || vlan.vlanId === 0) return;
  throw notSupported("VLANs: every port group of the lab is a network of its own; use VLAN 0.");
}

export class DistributedPortGroup extends Network {
  constructor(
    context: LabContext,
    private readonly stored: StoredGroup,
    readonly owner: DistributedSwitch,
  ) {
    super(
      context,
      { type: "DistributedVirtualPortgroup", value: stored.id },
      stored.name,
      owner.folder,
      () => owner.members,
    );
    this.properties({
      key: () => stored.id,
      portKeys: () => [],
      config: () =>
        data("DVPortgroupConfigInfo", {
          key: stored.id,
          name: this.name,
          numPorts: stored.numPorts,
          distributedVirtualSwitch: owner.reference,
          defaultPortConfig: data("VMwareDVSPortSetting", {
            vlan: data("VmwareDistributedVirtualSwitchVlanIdSpec", { inherited: false, vlanId: 0 }),
          }),
          description: stored.description,
          type: stored.type,
          policy: data("VMwareDVSPortgroupPolicy", {
            blockOverrideAllowed: false,
            shapingOverrideAllowed: false,
            vendorConfigOverrideAllowed: false,
            livePortMovingAllowed: false,
            portConfigResetAtDisconnect: true,
            vlanOverrideAllowed: false,
            uplinkTeamingOverrideAllowed: false,
            securityPolicyOverrideAllowed: false,
          }),
          autoExpand: true,
          uplink: false,
        }),
    });
    this.methods({
      ReconfigureDVPortgroup_Task: (p, call) =>
        context.tasks.run(call.method, this, sessionOf(call).user.name, async () => {
          const spec = p.spec as DataObject;
          refuseVlan(spec);
          if (typeof spec.name === "string" && spec.name !== "" && spec.name !== this.name) {
            throw notSupported("a port group of the lab keeps its name: VMs are connected by it.");
          }
          stored.numPorts = Number(spec.numPorts ?? stored.numPorts);
          stored.description = String(spec.description ?? stored.description);
          this.changed("config");
          await context.store.save();
        }),
      Destroy_Task: (_, call) =>
        context.tasks.run(call.method, this, sessionOf(call).user.name, () => owner.removeGroup(this)),
    });
  }

  override nicBacking(): DataObject {
    return data("VirtualEthernetCardDistributedVirtualPortBackingInfo", {
      port: data("DistributedVirtualSwitchPortConnection", {
        switchUuid: this.owner.stored.uuid,
        portgroupKey: this.stored.id,
      }),
    });
  }
}
