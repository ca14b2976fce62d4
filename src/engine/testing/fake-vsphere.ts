/** A vSphere in memory, for tests of the engine: VMs, files, an inventory view, and hooks for a guest and for crashes. */
import {
  type DatastoreEntry,
  type DatastoreFiles,
  type DatastorePath,
  type DiskSpec,
  type InventoryView,
  type VirtualMachineChange,
  type VirtualMachineChanges,
  type VirtualMachineRecord,
  type VirtualMachineReference,
  type VirtualMachineSpec,
  type VSphere,
  VSphereFault,
} from "../../vsphere/contract.ts";

export interface FakeMachine {
  reference: VirtualMachineReference;
  spec: VirtualMachineSpec;
  record: VirtualMachineRecord;
  disks: DiskSpec[];
}

export interface FakeGuest {
  powerOff(): void;
}

export class FakeVSphere implements VSphere {
  readonly about = {
    apiType: "HostAgent" as const,
    apiVersion: "8.0.3.0",
    fullName: "Fake vSphere 8.0.3",
    instanceUuid: "564d0000-0000-4000-8000-000000000001",
  };
  readonly machines = new Map<string, FakeMachine>();
  /** Capacities of disks that were made larger. */
  readonly grown = new Map<DatastorePath, number>();
  readonly content = new Map<DatastorePath, Uint8Array>();
  readonly files: DatastoreFiles = new FakeFiles(this);
  /** Every change asked for, in order: for assertions on what an operation costs. */
  readonly calls: string[] = [];
  /** What guests were told of their networks, in order. */
  readonly told: Record<string, unknown>[] = [];
  /** Milliseconds until views hear of a change. */
  viewLag = 0;
  /** Called before each step; a test throws here to cut an operation off. */
  before: (step: string) => void = () => undefined;
  /** Runs the guest of a machine that was powered on. */
  /** Choices that were answered to VMs' questions. */
  readonly answers: string[] = [];
  boot: (machine: FakeMachine) => FakeGuest = () => ({ powerOff: () => undefined });
  readonly #guests = new Map<string, FakeGuest>();
  readonly #views = new Set<FakeView>();
  #next = 1;

  step(name: string): void {
    this.before(name);
    this.calls.push(name);
  }

  capacity() {
    return Promise.resolve({ cpus: 8, cpuMhz: 16_000, memoryBytes: 16 * 1024 ** 3, hosts: 1 });
  }

  networks() {
    return Promise.resolve([]);
  }

  readonly portGroups = new Set<string>(["bridge"]);

  async addPortGroup({ name }: { name: string }): Promise<void> {
    this.step("addPortGroup");
    this.portGroups.add(name);
  }

  async removePortGroup(name: string): Promise<void> {
    this.step("removePortGroup");
    const isUsed = [...this.machines.values()].some(({ record }) =>
      record.networkAdapters.some(({ network }) => network === name),
    );
    if (isUsed) throw new VSphereFault("ResourceInUse", `${name} is in use by a VM`);
    this.portGroups.delete(name);
  }

  openView(): Promise<InventoryView> {
    const view = new FakeView(this, (self) => this.#views.delete(self));
    this.#views.add(view);
    return Promise.resolve(view);
  }

  async createVm(spec: VirtualMachineSpec): Promise<VirtualMachineReference> {
    this.step("createVm");
    await Promise.resolve();
    const reference: VirtualMachineReference = { type: "VirtualMachine", value: `vm-${this.#next++}` };
    const record: VirtualMachineRecord = {
      reference,
      name: spec.name,
      uuid: spec.uuid,
      powerState: "poweredOff",
      connectionState: "connected",
      changeVersion: "1",
      vmPathName: `${spec.directory}/vm.vmx`,
      extraConfig: new Map(Object.entries(spec.extraConfig)),
      annotation: spec.annotation,
      memoryMB: spec.memoryMB,
      cpus: spec.cpus,
      networkAdapters: spec.networkAdapters.map((adapter, index) => ({
        key: 4000 + index,
        macAddress: adapter.macAddress ?? "",
        network: adapter.network,
        connected: adapter.connected,
      })),
    };
    this.machines.set(reference.value, { reference, spec, record, disks: [...spec.disks] });
    for (const { network } of spec.networkAdapters) this.#requirePortGroup(network);
    for (const disk of spec.disks) this.#attach(disk);
    this.content.set(record.vmPathName, new Uint8Array(1));
    this.#publish(record, undefined);
    return reference;
  }

  async reconfigureVm(vm: VirtualMachineReference, changes: VirtualMachineChanges): Promise<void> {
    this.step("reconfigureVm");
    await Promise.resolve();
    const machine = this.#machine(vm);
    for (const disk of changes.addDisks ?? []) {
      this.#attach(disk);
      machine.disks.push(disk);
    }
    for (const { bus, unit } of changes.removeDisks ?? [])
      machine.disks = machine.disks.filter((disk) => disk.bus !== bus || disk.unit !== unit);
    for (const { network } of changes.addNetworkAdapters ?? []) this.#requirePortGroup(network);
    const gone = new Set((changes.removeNetworkAdapters ?? []).map(({ macAddress }) => macAddress));
    const kept = machine.record.networkAdapters.filter(({ macAddress }) => !gone.has(macAddress));
    const networkAdapters = [...kept];
    for (const adapter of changes.addNetworkAdapters ?? [])
      networkAdapters.push({
        key: 4000 + this.#next++,
        macAddress: adapter.macAddress ?? "",
        network: adapter.network,
        connected: adapter.connected,
      });
    const extraConfig = new Map(machine.record.extraConfig);
    for (const [key, value] of Object.entries(changes.extraConfig ?? {}))
      if (value === "") extraConfig.delete(key);
      else extraConfig.set(key, value);
    this.update(machine, {
      extraConfig,
      networkAdapters,
      name: changes.name ?? machine.record.name,
      annotation: changes.annotation ?? machine.record.annotation,
    });
  }

  async powerOn(vm: VirtualMachineReference): Promise<void> {
    this.step("powerOn");
    await Promise.resolve();
    const machine = this.#machine(vm);
    if (machine.record.powerState === "poweredOn") throw new VSphereFault("InvalidPowerState", "already on");
    for (const port of machine.spec.serialPorts)
      if (port.kind === "file") this.content.set(port.path, new Uint8Array(0));
    this.update(machine, { powerState: "poweredOn" });
    this.#guests.set(vm.value, this.boot(machine));
  }

  async powerOff(vm: VirtualMachineReference): Promise<void> {
    this.step("powerOff");
    await Promise.resolve();
    this.cutPower(vm);
  }

  /** Without a call of the engine: by an administrator, or by the guest itself. */
  cutPower(vm: VirtualMachineReference): void {
    const machine = this.machines.get(vm.value);
    if (machine?.record.powerState !== "poweredOn") return;
    this.#guests.get(vm.value)?.powerOff();
    this.#guests.delete(vm.value);
    this.update(machine, { powerState: "poweredOff" });
  }

  suspend(): Promise<void> {
    throw new VSphereFault("NotSupported", "not in the fake");
  }

  async answer(vm: VirtualMachineReference, questionId: string, choiceKey: string): Promise<void> {
    this.step("answer");
    await Promise.resolve();
    const machine = this.#machine(vm);
    if (machine.record.question?.id !== questionId) throw new VSphereFault("ConcurrentAccess", "not asked any more");
    this.answers.push(choiceKey);
    this.update(machine, { question: undefined });
  }

  async destroyVm(vm: VirtualMachineReference, options: { keepDisks: DatastorePath[] }): Promise<void> {
    this.step("destroyVm");
    await Promise.resolve();
    const machine = this.machines.get(vm.value);
    if (!machine) return;
    if (machine.record.powerState !== "poweredOff") throw new VSphereFault("InvalidPowerState", "it is on");
    this.machines.delete(vm.value);
    for (const path of [...this.content.keys()])
      if (path.startsWith(`${machine.spec.directory}/`) && !options.keepDisks.includes(path)) this.content.delete(path);
    for (const view of this.#views) view.emit({ kind: "removed", reference: vm, previous: machine.record });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Change a machine's record and tell the views. */
  update(machine: FakeMachine, change: Partial<VirtualMachineRecord>): void {
    const previous = machine.record;
    machine.record = { ...previous, ...change, changeVersion: String(Number(previous.changeVersion) + 1) };
    this.#publish(machine.record, previous);
  }

  #publish(record: VirtualMachineRecord, previous: VirtualMachineRecord | undefined): void {
    for (const view of this.#views) view.emit({ kind: "updated", record, previous });
  }

  #machine(vm: VirtualMachineReference): FakeMachine {
    const machine = this.machines.get(vm.value);
    if (!machine) throw new VSphereFault("ManagedObjectNotFound", `${vm.value} is gone`);
    return machine;
  }

  #requirePortGroup(name: string): void {
    if (!this.portGroups.has(name)) throw new VSphereFault("NotFound", `there is no network ${name}`);
  }

  #attach(disk: DiskSpec): void {
    if (disk.create) this.content.set(disk.path, new Uint8Array(64));
    else if (!this.content.has(disk.path)) throw new VSphereFault("FileNotFound", `File ${disk.path} was not found`);
  }
}

/** Like the real one it knows only what it was told, `viewLag` later and in order. */
class FakeView implements InventoryView {
  readonly #listeners = new Set<(change: VirtualMachineChange) => void>();
  readonly #records = new Map<string, VirtualMachineRecord>();

  constructor(
    readonly vsphere: FakeVSphere,
    readonly closed: (view: FakeView) => void,
  ) {
    for (const { reference, record } of vsphere.machines.values()) this.#records.set(reference.value, record);
  }

  get(reference: VirtualMachineReference) {
    return this.#records.get(reference.value);
  }

  list() {
    return [...this.#records.values()];
  }

  onChange(listener: (change: VirtualMachineChange) => void) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(change: VirtualMachineChange): void {
    if (this.vsphere.viewLag === 0) this.#deliver(change);
    else setTimeout(() => this.#deliver(change), this.vsphere.viewLag);
  }

  #deliver(change: VirtualMachineChange): void {
    if (change.kind === "removed") this.#records.delete(change.reference.value);
    else this.#records.set(change.record.reference.value, change.record);
    for (const listener of [...this.#listeners]) listener(change);
  }

  waitFor(
    reference: VirtualMachineReference,
    predicate: (record: VirtualMachineRecord) => boolean,
    timeoutMilliseconds: number,
    what: string,
  ): Promise<VirtualMachineRecord> {
    const present = this.get(reference);
    if (present && predicate(present)) return Promise.resolve(present);
    const { promise, resolve, reject } = Promise.withResolvers<VirtualMachineRecord>();
    const timer = setTimeout(() => reject(new Error(`${what} took too long`)), timeoutMilliseconds);
    const stop = this.onChange((change) => {
      if (change.kind === "updated" && change.record.reference.value === reference.value && predicate(change.record))
        resolve(change.record);
      if (change.kind === "removed" && change.reference.value === reference.value)
        reject(new VSphereFault("ManagedObjectNotFound", `${what}: the VM is gone`));
    });
    return promise.finally(() => {
      clearTimeout(timer);
      stop();
    });
  }

  close(): Promise<void> {
    this.#listeners.clear();
    this.closed(this);
    return Promise.resolve();
  }
}

class FakeFiles implements DatastoreFiles {
  readonly datastore = "ds1";
  readonly #directories = new Set<DatastorePath>();

  constructor(readonly vsphere: FakeVSphere) {}

  async read(path: DatastorePath) {
    return new Response(this.#get(path)).body ?? new ReadableStream<Uint8Array>();
  }

  async readText(path: DatastorePath) {
    return new TextDecoder().decode(this.#get(path));
  }

  async write(
    path: DatastorePath,
    content: Uint8Array | string | { stream: ReadableStream<Uint8Array>; length: number },
  ) {
    this.vsphere.step("write");
    const bytes =
      typeof content === "string"
        ? new TextEncoder().encode(content)
        : content instanceof Uint8Array
          ? content
          : await new Response(content.stream).bytes();
    this.vsphere.content.set(path, bytes);
  }

  async list(directory: DatastorePath): Promise<DatastoreEntry[]> {
    const found = new Map<string, DatastoreEntry>();
    const paths = [...this.vsphere.content].map(([path, bytes]) => ({ path, size: bytes.length, leaf: true }));
    for (const path of this.#directories) paths.push({ path, size: 0, leaf: false });
    for (const { path, size, leaf } of paths) {
      if (!path.startsWith(`${directory}/`)) continue;
      const [name = "", ...rest] = path.slice(directory.length + 1).split("/");
      found.set(name, { name, directory: rest.length > 0 || !leaf, size, modified: new Date(0) });
    }
    return [...found.values()];
  }

  async exists(path: DatastorePath) {
    return (
      this.vsphere.content.has(path) ||
      this.#directories.has(path) ||
      [...this.vsphere.content.keys()].some((key) => key.startsWith(`${path}/`))
    );
  }

  async makeDirectory(path: DatastorePath) {
    this.#directories.add(path);
  }

  async remove(path: DatastorePath) {
    this.vsphere.step("remove");
    for (const key of [...this.vsphere.content.keys()])
      if (key === path || key.startsWith(`${path}/`)) this.vsphere.content.delete(key);
    for (const key of [...this.#directories])
      if (key === path || key.startsWith(`${path}/`)) this.#directories.delete(key);
  }

  async move(from: DatastorePath, to: DatastorePath) {
    this.vsphere.step("move");
    this.vsphere.content.set(to, this.#get(from));
    this.vsphere.content.delete(from);
  }

  async space() {
    return { capacityBytes: 100e9, freeBytes: 50e9 };
  }

  async makeDisk(path: DatastorePath) {
    this.vsphere.content.set(path, new Uint8Array(64));
  }

  async growDisk(path: DatastorePath, capacityBytes: number) {
    this.vsphere.step("growDisk");
    this.#get(path);
    this.vsphere.grown.set(path, capacityBytes);
  }

  async removeDisk(path: DatastorePath) {
    this.vsphere.step("removeDisk");
    this.vsphere.content.delete(path);
  }

  #get(path: DatastorePath): Uint8Array {
    const bytes = this.vsphere.content.get(path);
    if (!bytes) throw new VSphereFault("FileNotFound", `File ${path} was not found`);
    return bytes;
  }
}
