import { LabFault } from "../fault.ts";
import { data, type Reference } from "../model/data.ts";
import { type Call, sessionOf } from "../model/managed-object.ts";
import type { Task } from "../task/task.ts";
import { destroyVirtualMachine, unregisterVirtualMachine } from "../vm/removal.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";
import type { ComputeResource } from "./compute-resource.ts";
import type { LabContext } from "./context.ts";
import type { Entity } from "./entity.ts";
import type { Folder } from "./folder.ts";
import type { StoredPool, StoredVirtualApp } from "./inventory-store.ts";
import { ResourcePool } from "./resource-pool.ts";
import { checkedVAppConfig, vAppConfigInfo } from "./virtual-app-config.ts";

/** A pool whose VMs are powered on and off together, one group of the start order after the other. */
export class VirtualApp extends ResourcePool {
  constructor(
    context: LabContext,
    reference: Reference,
    parent: Entity,
    stored: StoredPool,
    private readonly app: StoredVirtualApp,
    owner: ComputeResource,
  ) {
    super(context, reference, parent, stored, owner);
    this.properties({
      parentFolder: () => this.parentFolder?.reference,
      datastore: () =>
        context.inventory.datastores
          .filter((store) => this.virtualMachines.some((vm) => vm.usesDatastore(store)))
          .map((store) => store.reference),
      network: () =>
        context.inventory.networks
          .filter((network) => this.virtualMachines.some((vm) => vm.usesNetwork(network)))
          .map((network) => network.reference),
      vAppConfig: () => vAppConfigInfo(app),
      summary: () =>
        data("VirtualAppSummary", {
          ...this.summaryFields(),
          vAppState: this.#isOn ? "started" : "stopped",
          suspended: this.virtualMachines.some(({ powerState }) => powerState === "suspended"),
          installBootRequired: false,
          instanceUuid: app.instanceUuid,
        }),
    });
    const run = (call: Call, operation: (task: Task) => Promise<unknown>): Reference =>
      context.tasks.run(call.method, this, sessionOf(call).user.name, operation);
    this.methods({
      PowerOnVApp_Task: (_, call) => run(call, (task) => this.#powerOn(task)),
      PowerOffVApp_Task: (p, call) => run(call, () => this.#stop(p.force === true)),
      SuspendVApp_Task: (_, call) =>
        run(call, async () => {
          for (const vm of this.#inOrder().reverse()) if (vm.powerState === "poweredOn") await vm.power.suspend();
          this.changed("summary");
        }),
      UpdateVAppConfig: async (p) => {
        Object.assign(app, checkedVAppConfig(context, p.spec as never, app));
        this.changed("vAppConfig");
        await context.store.save();
      },
      unregisterVApp_Task: (_, call) =>
        run(call, async () => {
          this.#requireStopped();
          for (const vm of this.virtualMachines) await unregisterVirtualMachine(vm);
          await super.destroy();
          this.parentFolder?.changed("childEntity");
        }),
    });
  }

  get parentFolder(): Folder | undefined {
    return this.context.inventory.folders.get(this.app.folder) ?? this.context.inventory.roots?.vm;
  }

  get #isOn(): boolean {
    return this.virtualMachines.some(({ powerState }) => powerState === "poweredOn");
  }

  #requireStopped(): void {
    if (!this.#isOn) return;
    throw new LabFault("InvalidState", `The vApp '${this.name}' is powered on; power it off first.`);
  }

  #settings({ reference }: VirtualMachine) {
    return this.app.entities.find(({ id }) => id === reference.value);
  }

  #inOrder(): VirtualMachine[] {
    const order = (vm: VirtualMachine): number => this.#settings(vm)?.startOrder ?? 0;
    return [...this.virtualMachines].sort((a, b) => order(a) - order(b));
  }

  async #powerOn(task: Task): Promise<void> {
    let before: number | undefined;
    let delay = 0;
    for (const vm of this.#inOrder()) {
      const { startOrder = 0, startDelay = 0, startAction = "powerOn" } = this.#settings(vm) ?? {};
      if (before !== undefined && startOrder !== before) {
        await pause(task, delay);
        delay = 0;
      }
      before = startOrder;
      if (startAction === "none" || vm.powerState === "poweredOn") continue;
      await vm.power.on();
      delay = Math.max(delay, startDelay);
    }
    this.changed("summary");
  }

  async #stop(force: boolean): Promise<void> {
    for (const vm of this.#inOrder().reverse()) {
      if (vm.powerState !== "poweredOn") continue;
      const { stopAction = "powerOff" } = this.#settings(vm) ?? {};
      if (stopAction === "none" && !force) continue;
      if (stopAction === "suspend" && !force) await vm.power.suspend();
      else if (stopAction === "guestShutdown" && !force) await vm.power.shutdownGuest();
      else await vm.power.off();
    }
    this.changed("summary");
  }

  /** Unlike a pool's, its VMs go with it. */
  protected override async destroy(): Promise<void> {
    this.#requireStopped();
    for (const vm of this.virtualMachines) await destroyVirtualMachine(vm);
    await super.destroy();
    this.parentFolder?.changed("childEntity");
  }
}

/** Waits between two groups; the task can be cancelled meanwhile. */
async function pause(task: Task, seconds: number): Promise<void> {
  if (seconds <= 0) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, seconds * 1000);
  task.cancelWith(reject);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    task.cancelWith(undefined);
  }
}
