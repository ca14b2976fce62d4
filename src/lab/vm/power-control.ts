import { rm } from "node:fs/promises";
import { LabFault, notSupported } from "../fault.ts";
import type { RunningMachine } from "../hypervisor/contract.ts";
import { inMaintenance } from "../inventory/placement.ts";
import type { Configuration } from "./configuration.ts";
import { disksOf } from "./device/device-changes.ts";
import { discardsWrites, machineDefinition } from "./machine-definition.ts";
import { settleIdentity } from "./moved-or-copied.ts";
import type { VirtualMachine } from "./virtual-machine.ts";
import type { PowerState } from "./vm-properties.ts";

const STATE_NAMES: Record<PowerState, string> = {
  poweredOn: "Powered on",
  poweredOff: "Powered off",
  suspended: "Suspended",
};

export const invalidPowerState = (requestedState: PowerState | undefined, existingState: PowerState): LabFault =>
  new LabFault(
    "InvalidPowerState",
    `The attempted operation cannot be performed in the current state (${STATE_NAMES[existingState]}).`,
    { requestedState, existingState },
  );

/** A VM's way between powered on, powered off and suspended. */
export class PowerControl {
  #suspending = false;

  constructor(private readonly vm: VirtualMachine) {}

  /** `from.stateFile`: memory of a snapshot, which is kept. */
  async on(from?: { stateFile: string }): Promise<void> {
    const { vm } = this;
    const { context } = vm;
    if (vm.powerState === "poweredOn") throw invalidPowerState("poweredOn", vm.powerState);
    if (vm.configuration.template) {
      throw new LabFault(
        "NotSupported",
        "The operation is not supported on the object: a template cannot be powered on.",
      );
    }
    if (vm.configuration.cpus > context.inventory.facts.threads) {
      throw new LabFault(
        "GenericVmConfigFault",
        `The VM has ${vm.configuration.cpus} CPUs but the host only ${context.inventory.facts.threads}; give it fewer.`,
        { reason: "Too many CPUs" },
      );
    }
    if (vm.host.inMaintenanceMode) throw inMaintenance(vm.host);
    await settleIdentity(vm);
    const { configuration } = vm;
    context.events.post("VmStartingEvent", vm, `${vm.name} on ${vm.host.name} is starting`);
    const { folder, path } = vm.home;
    const directory = await folder.resolve(path);
    const definition = await machineDefinition(vm.reference.value, directory, configuration, context.inventory.resolve);
    await this.lockFiles(configuration);
    let machine: RunningMachine;
    try {
      const suspendFile = configuration.suspendFile && (await folder.resolve(`${path}/${configuration.suspendFile}`));
      const stateFile = from?.stateFile ?? suspendFile;
      machine = await context.hypervisor.powerOn(definition, stateFile === undefined ? undefined : { stateFile });
      if (suspendFile !== undefined) await this.#forgetSuspendFile(suspendFile);
    } catch (error) {
      if (!vm.machine) context.locks.release(vm.reference.value);
      throw error;
    }
    // The guest may have come and gone before the hypervisor's answer got here.
    if (machine.state === "stopped") return this.#switchedOff("The guest has powered off.");
    this.started(machine, new Date());
    context.events.post("VmPoweredOnEvent", vm, `${vm.name} on ${vm.host.name} is powered on`);
  }

  /** A machine runs now, freshly started or adopted. */
  started(machine: RunningMachine, bootTime: Date): void {
    const { vm } = this;
    vm.machine = machine;
    vm.bootTime = bootTime;
    vm.suspendTime = undefined;
    this.#enter("poweredOn");
    this.#connectDevices(true);
  }

  /** The VM's configuration names a file with its memory now. */
  suspended(): void {
    this.vm.suspendTime = new Date();
    this.#enter("suspended");
  }

  /** A running VM's disks have changed: its locks follow them. */
  async relock(): Promise<void> {
    this.vm.context.locks.release(this.vm.reference.value);
    await this.lockFiles(this.vm.configuration);
  }

  async off(): Promise<void> {
    const { vm } = this;
    if (vm.powerState === "poweredOff") throw invalidPowerState("poweredOff", vm.powerState);
    if (vm.powerState === "suspended") {
      const { folder, path } = vm.home;
      const { suspendFile } = vm.configuration;
      if (suspendFile !== undefined) await this.#forgetSuspendFile(await folder.resolve(`${path}/${suspendFile}`));
    } else {
      await vm.machine?.powerOff();
    }
    // The hypervisor may have told it while we waited.
    if (this.#isOn || vm.powerState === "suspended") this.#switchedOff("It was powered off.");
  }

  async reset(): Promise<void> {
    const { vm } = this;
    if (vm.powerState !== "poweredOn" || !vm.machine) throw invalidPowerState("poweredOn", vm.powerState);
    await vm.machine.reset();
    vm.toolsRunning = false;
    vm.touch("guest", "summary", "guestHeartbeatStatus");
    vm.context.events.post("VmResettingEvent", vm, `${vm.name} on ${vm.host.name} is reset`);
  }

  async suspend(): Promise<void> {
    const { vm } = this;
    if (vm.powerState !== "poweredOn" || !vm.machine) throw invalidPowerState("suspended", vm.powerState);
    const { folder, path } = vm.home;
    const suspendFile = `${vm.reference.value}-${Date.now().toString(16)}.vmss`;
    const stateFile = await folder.resolve(`${path}/${suspendFile}`);
    const machine = vm.machine;
    this.#suspending = true;
    try {
      await machine.suspend(stateFile);
      await vm.store({ ...vm.configuration, suspendFile });
    } finally {
      this.#suspending = false;
    }
    this.#forgetMachine();
    vm.suspendTime = new Date();
    this.#enter("suspended");
    vm.context.events.post("VmSuspendedEvent", vm, `${vm.name} on ${vm.host.name} is suspended`);
  }

  async shutdownGuest(): Promise<void> {
    await this.#withTools().requestShutdown();
  }

  /** What only VMware Tools can do: the tether in a guest of the lab answers the power button, nothing else. */
  requireTools(method: string): never {
    this.#withTools();
    throw notSupported(`${method}: the guest answers ShutdownGuest only; use ResetVM_Task or SuspendVM_Task.`);
  }

  #withTools(): RunningMachine {
    const { vm } = this;
    if (vm.powerState !== "poweredOn" || !vm.machine) throw invalidPowerState("poweredOn", vm.powerState);
    if (!vm.toolsRunning) {
      throw new LabFault(
        "ToolsUnavailable",
        "Cannot complete operation because VMware Tools is not running in this virtual machine.",
      );
    }
    return vm.machine;
  }

  /** The hypervisor says that the machine is gone: by its guest, by a crash, or by an operation of ours that knows already. */
  machineStopped(detail: string): void {
    if (this.vm.powerState === "poweredOn" && !this.#suspending) this.#switchedOff(detail);
  }

  /** What was volatile is gone with the power. */
  #switchedOff(detail: string): void {
    const { vm } = this;
    vm.withdrawQuestion();
    this.#forgetMachine();
    vm.suspendTime = undefined;
    vm.toolsRunning = false;
    vm.volatileInfo.clear();
    this.#enter("poweredOff");
    this.#connectDevices(false);
    vm.context.events.post("VmPoweredOffEvent", vm, `${vm.name} on ${vm.host.name} is powered off. ${detail}`);
  }

  #forgetMachine(): void {
    this.vm.machine = undefined;
    this.vm.bootTime = undefined;
    this.vm.context.locks.release(this.vm.reference.value);
  }

  /** Takes the locks of a running machine: its own disks to write, their parents and ISO images to read. */
  async lockFiles(configuration: Configuration): Promise<void> {
    const { context } = this.vm;
    const write: string[] = [await context.inventory.resolve(this.vm.vmPathName)];
    const read: string[] = [];
    for (const disk of disksOf(configuration.devices)) {
      const file = await context.inventory.resolve(disk.path);
      (discardsWrites(disk) ? read : write).push(file);
      for (const parent of disk.parents) read.push(await context.inventory.resolve(parent));
      if (!discardsWrites(disk)) context.inventory.requireNotParent(file, disk.path);
    }
    for (const device of configuration.devices) {
      if (device.kind === "cdrom" && device.path !== undefined) read.push(await context.inventory.resolve(device.path));
    }
    context.locks.acquire(this.vm.reference.value, { write, read }, context.inventory.display);
  }

  async #forgetSuspendFile(stateFile: string): Promise<void> {
    await this.vm.store({ ...this.vm.configuration, suspendFile: undefined });
    await rm(stateFile, { force: true });
  }

  get #isOn(): boolean {
    return this.vm.powerState === "poweredOn";
  }

  #enter(state: PowerState): void {
    this.vm.powerState = state;
    this.vm.touch("runtime", "summary", "guest", "config", "guestHeartbeatStatus");
  }

  /** `connected` of a device follows the power: what starts connected is connected now. */
  #connectDevices(on: boolean): void {
    const { vm } = this;
    const devices = vm.configuration.devices.map((device) =>
      "connected" in device ? { ...device, connected: on && device.startConnected } : device,
    );
    vm.adopt({ ...vm.configuration, devices });
  }
}
