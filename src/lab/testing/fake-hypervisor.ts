import type {
  Hypervisor,
  MachineDefinition,
  MachineEvents,
  MachineState,
  MachineSerialPort,
  RunningMachine,
} from "../hypervisor/contract.ts";
import { HypervisorError } from "../hypervisor/contract.ts";

/** A machine that is only bookkeeping. Its `guest` does what a guest would. */
export class FakeMachine implements RunningMachine {
  state: MachineState = "running";
  readonly plugged = new Set<number>();

  constructor(
    readonly definition: MachineDefinition,
    private readonly owner: FakeHypervisor,
  ) {
    for (const device of [...definition.disks, ...definition.networkAdapters]) this.plugged.add(device.key);
  }

  get id(): string {
    return this.definition.id;
  }

  readonly guest = {
    infoGet: (key: string): string | undefined => this.owner.events?.guestInfo(this.id).get(key),
    infoSet: (key: string, value: string): void => this.owner.events?.guestInfo(this.id).set(key, value),
    powerOff: (): void => this.#stop("guest"),
  };

  async powerOff(): Promise<void> {
    this.#stop("host");
  }
  resets = 0;
  async reset(): Promise<void> {
    this.resets++;
  }
  async requestShutdown(): Promise<void> {
    queueMicrotask(() => this.#stop("guest"));
  }
  async suspend(stateFile: string): Promise<void> {
    await Bun.write(stateFile, "memory");
    this.#stop("host", "suspended");
  }
  async checkpoint({ stateFile, work }: { stateFile?: string; work: () => Promise<unknown> }): Promise<void> {
    if (stateFile !== undefined) await Bun.write(stateFile, "memory");
    await work();
  }
  async plugDisk(disk: { key: number; file: string }): Promise<void> {
    if (this.owner.refusePlug) throw new HypervisorError("GenericVmConfigFault", "the machine refuses the device");
    this.plugged.add(disk.key);
  }
  readonly serialPorts: MachineSerialPort[] = [];
  async changeSerialPort(port: MachineSerialPort): Promise<void> {
    this.serialPorts.push(port);
  }
  hostChanges = 0;
  async hostChanged(): Promise<void> {
    this.hostChanges++;
  }
  async unplugDisk(key: number): Promise<void> {
    this.plugged.delete(key);
  }
  async plugNetworkAdapter(adapter: { key: number }): Promise<void> {
    this.plugged.add(adapter.key);
  }
  async unplugNetworkAdapter(key: number): Promise<void> {
    this.plugged.delete(key);
  }
  resumed = 0;
  async resume(): Promise<void> {
    this.resumed++;
  }
  readonly links = new Map<number, boolean>();
  async setLink(key: number, connected: boolean): Promise<void> {
    this.links.set(key, connected);
  }
  readonly media = new Map<number, string | undefined>();
  async changeMedium(key: number, file: string | undefined): Promise<void> {
    this.media.set(key, file);
  }
  async counters() {
    return { cpuNanoseconds: 0, residentBytes: 0, disks: [], networkAdapters: [] };
  }

  #stop(kind: "guest" | "host", state: MachineState = "stopped"): void {
    if (this.state !== "running") return;
    this.state = state;
    this.owner.machines.delete(this.id);
    this.owner.events?.stopped(this.id, { kind, detail: "" });
  }
}

/** Keeps its machines while labs come and go, as QEMU processes do. */
export class FakeHypervisor implements Hypervisor {
  readonly accelerator = { kind: "tcg" as const, reason: "fake" };
  readonly machines = new Map<string, FakeMachine>();
  readonly groups = new Set<string>();
  events: MachineEvents | undefined;
  refusePlug = false;

  readonly connect = (events: MachineEvents): this => {
    this.events = events;
    return this;
  };

  async powerOn(definition: MachineDefinition): Promise<RunningMachine> {
    const machine = new FakeMachine(definition, this);
    this.machines.set(definition.id, machine);
    return machine;
  }
  async adopt(known: MachineDefinition[]): Promise<RunningMachine[]> {
    return known.flatMap(({ id }) => this.machines.get(id) ?? []);
  }
  async makePortGroup(name: string): Promise<{ bridge: string }> {
    this.groups.add(name);
    return { bridge: `br-${name}` };
  }
  async removePortGroup(name: string): Promise<void> {
    this.groups.delete(name);
  }
  async portGroups(): Promise<{ name: string; bridge: string }[]> {
    return [...this.groups].map((name) => ({ name, bridge: `br-${name}` }));
  }
  async dispose({ stopMachines }: { stopMachines: boolean }): Promise<void> {
    if (stopMachines) this.machines.clear();
  }
}
