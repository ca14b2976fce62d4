import { invalidArgument, LabFault } from "../fault.ts";
import type { Host } from "../inventory/host.ts";
import type { StoredAutoStart } from "../inventory/inventory-store.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { VirtualMachine } from "../vm/virtual-machine.ts";
import { HostPart } from "./host-part.ts";

const DEFAULT_DELAY_SECONDS = 120;

/** VMs that are powered on when the lab starts. Their delays are kept and told; the lab starts one after the other at once. */
export class AutoStartManager extends HostPart {
  constructor(host: Host, reference: Reference) {
    super(host, reference);
    this.properties({ config: () => this.#config() });
    this.methods({
      ReconfigureAutostart: (p) => this.#reconfigure(p.spec as DataObject),
      AutoStartPowerOn: () => this.start(),
      AutoStartPowerOff: async () => {
        for (const vm of this.#ordered().reverse()) if (vm.powerState === "poweredOn") await vm.power.off();
      },
    });
  }

  /** Powers on what shall run and does not. One that cannot start does not keep the others from it. */
  async start(): Promise<void> {
    const failures: string[] = [];
    for (const vm of this.#ordered()) {
      if (vm.powerState !== "poweredOff") continue;
      try {
        await vm.power.on();
      } catch (error) {
        failures.push(`${vm.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    if (failures.length > 0)
      throw new LabFault("GenericVmConfigFault", failures.join("; "), { reason: failures.join("; ") });
  }

  get enabled(): boolean {
    return this.#stored.enabled;
  }

  get #stored(): StoredAutoStart {
    const { inventory } = this.host.context.store;
    const id = this.host.reference.value;
    inventory.autoStart ??= {};
    inventory.autoStart[id] ??= { enabled: false, virtualMachines: [] };
    return inventory.autoStart[id];
  }

  #ordered(): VirtualMachine[] {
    return [...this.#stored.virtualMachines]
      .sort((a, b) => a.order - b.order)
      .flatMap(({ id }) => this.host.context.inventory.findVirtualMachine(id) ?? []);
  }

  async #reconfigure(spec: DataObject): Promise<void> {
    const defaults = spec.defaults as DataObject | undefined;
    const changes = ((spec.powerInfo as DataObject[] | undefined) ?? []).map((info) => this.#change(info));
    const stored = this.#stored;
    if (typeof defaults?.enabled === "boolean") stored.enabled = defaults.enabled;
    for (const { id, order } of changes) {
      stored.virtualMachines = stored.virtualMachines.filter((known) => known.id !== id);
      if (order !== undefined) stored.virtualMachines.push({ id, order });
    }
    this.changed("config");
    await this.host.context.store.save();
  }

  #change(info: DataObject): { id: string; order: number | undefined } {
    const vm = this.registry.getAs(VirtualMachine, info.key, "spec.powerInfo.key");
    if (vm.host !== this.host) throw invalidArgument("spec.powerInfo.key", `The VM ${vm.name} is on another host.`);
    if (info.startAction === "none") return { id: vm.reference.value, order: undefined };
    if (info.startAction !== "powerOn") {
      throw invalidArgument("spec.powerInfo.startAction", "The lab starts a VM (powerOn) or does not (none).");
    }
    const order = info.startOrder as number;
    return { id: vm.reference.value, order: order < 0 ? Number.MAX_SAFE_INTEGER : order };
  }

  #config(): DataObject {
    const { enabled, virtualMachines } = this.#stored;
    return data("HostAutoStartManagerConfig", {
      defaults: data("AutoStartDefaults", {
        enabled,
        startDelay: DEFAULT_DELAY_SECONDS,
        stopDelay: DEFAULT_DELAY_SECONDS,
        waitForHeartbeat: false,
        stopAction: "None",
      }),
      powerInfo: virtualMachines.map(({ id, order }) =>
        data("AutoStartPowerInfo", {
          key: { type: "VirtualMachine", value: id },
          startOrder: order === Number.MAX_SAFE_INTEGER ? -1 : order,
          startDelay: -1,
          waitForHeartbeat: "systemDefault",
          startAction: "powerOn",
          stopDelay: -1,
          stopAction: "systemDefault",
        }),
      ),
    });
  }
}
