import { LabFault } from "../fault.ts";
import { attachDisk, detachDisk } from "../first-class-disk/attach.ts";
import type { RunningMachine } from "../hypervisor/contract.ts";
import { vimAllocation } from "../inventory/allocation.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Datastore } from "../inventory/datastore.ts";
import { checkedName, Entity, refuseDuplicate } from "../inventory/entity.ts";
import type { Host } from "../inventory/host.ts";
import type { Network } from "../inventory/network.ts";
import type { Place } from "../inventory/placement.ts";
import type { ResourcePool } from "../inventory/resource-pool.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, sessionOf } from "../model/managed-object.ts";
import { requireSpecPrivileges } from "../session/spec-privileges.ts";
import { writeAtomically } from "../state-file.ts";
import { type DatastoreFolder, datastoreOf } from "../storage/datastore-folder.ts";
import { baseName, parseDatastorePath } from "../storage/datastore-path.ts";
import type { Task } from "../task/task.ts";
import type { Configuration } from "./configuration.ts";
import type { VolatileGuestInfo } from "./guest-info.ts";
import { invalidPowerState, PowerControl } from "./power-control.ts";
import { provisioningMethods } from "./provisioning-methods.ts";
import type { Question } from "./question.ts";
import { reconfigure } from "./reconfigure.ts";
import { destroyVirtualMachine, unregisterVirtualMachine } from "./removal.ts";
import { snapshotMethods } from "./snapshot/snapshot-methods.ts";
import { SnapshotTree } from "./snapshot/snapshot-tree.ts";
import { upgradeHardware } from "./upgrade.ts";
import {
  capability,
  configInfo,
  guestInfo,
  type PowerState,
  runtimeInfo,
  summary,
  type VmView,
} from "./vm-properties.ts";
import { layoutEx, measureStorage, NOT_MEASURED, storageInfo, type Usage } from "./storage-usage.ts";
import { toVmx } from "./vmx-configuration.ts";
import { formatVmx } from "./vmx-file.ts";

const DEVICE_DEPENDENT = [
  "config",
  "summary",
  "runtime",
  "guest",
  "layoutEx",
  "storage",
  "datastore",
  "network",
  "resourceConfig",
];

export class VirtualMachine extends Entity {
  powerState: PowerState = "poweredOff";
  machine: RunningMachine | undefined;
  bootTime: Date | undefined;
  suspendTime: Date | undefined;
  /** The guest has used guest RPC since it booted: what VMware Tools would be. */
  toolsRunning = false;
  pool: ResourcePool;
  host: Host;
  readonly power: PowerControl;
  readonly snapshots: SnapshotTree = new SnapshotTree(this);
  #consolidationNeeded = false;
  #configuration: Configuration;
  #busy: Reference | undefined;
  #question: Question | undefined;
  #config: DataObject | undefined;
  #usage = NOT_MEASURED;

  constructor(
    context: LabContext,
    reference: Reference,
    parent: Entity,
    place: Place,
    /** `[ds] dir/name.vmx` */
    readonly vmPathName: string,
    configuration: Configuration,
    readonly volatileInfo: VolatileGuestInfo,
  ) {
    super(context, reference, configuration.name, parent);
    this.pool = place.pool;
    this.host = place.host;
    this.#configuration = configuration;
    this.power = new PowerControl(this);
    if (configuration.suspendFile !== undefined) this.powerState = "suspended";
    this.properties({
      capability: () => capability(),
      config: () => {
        this.#config ??= configInfo(this.view());
        return this.#config;
      },
      layoutEx: () => layoutEx(this.#usage),
      storage: () =>
        storageInfo(
          this.#usage,
          context.inventory.datastores.filter((store) => this.usesDatastore(store)),
        ),
      environmentBrowser: () => this.host.computeResource.environmentBrowser.reference,
      resourcePool: () => this.pool.reference,
      parentVApp: () => (this.pool.reference.type === "VirtualApp" ? this.pool.reference : undefined),
      resourceConfig: () =>
        data("ResourceConfigSpec", {
          entity: reference,
          cpuAllocation: vimAllocation(this.#configuration.cpu),
          memoryAllocation: vimAllocation(this.#configuration.memory),
        }),
      runtime: () => runtimeInfo(this.view()),
      guest: () => guestInfo(this.view()),
      summary: () => summary(this.view()),
      datastore: () =>
        context.inventory.datastores.filter((store) => this.usesDatastore(store)).map((store) => store.reference),
      network: () =>
        context.inventory.networks.filter((network) => this.usesNetwork(network)).map((network) => network.reference),
      snapshot: () => this.snapshots.info(),
      rootSnapshot: () => this.snapshots.rootReferences,
      guestHeartbeatStatus: () => (this.toolsRunning ? "green" : "gray"),
    });
    this.#addMethods();
  }

  get configuration(): Configuration {
    return this.#configuration;
  }

  /** Directory of the VM on its datastore. */
  get home(): { folder: DatastoreFolder; path: string; vmx: string } {
    const parsed = parseDatastorePath(this.vmPathName);
    const folder = datastoreOf(this.context.folders, parsed);
    return { folder, path: parsed.path.slice(0, parsed.path.lastIndexOf("/")), vmx: parsed.path };
  }

  /** Permissions come from the folder and from the pool. */
  override get authorityParents(): readonly Entity[] {
    return this.parent ? [this.parent, this.pool] : [this.pool];
  }

  /** Name of the VM's files without their endings. */
  get fileStem(): string {
    return baseName(this.home.vmx).replace(/\.vmx$/i, "");
  }

  /** A file of the VM's own directory. */
  resolveOwn(name: string): Promise<string> {
    const { folder, path } = this.home;
    return folder.resolve(`${path}/${name}`);
  }

  /** Waits for a client to answer. RequestCanceled when the lab stops before. */
  async ask(question: Question): Promise<string> {
    this.#question = question;
    this.touch("runtime", "summary");
    this.context.events.post("VmMessageEvent", this, `${this.name}: ${question.text}`, { message: question.text });
    try {
      return await question.answer;
    } finally {
      this.#question = undefined;
      this.touch("runtime", "summary");
    }
  }

  get isAsking(): boolean {
    return this.#question !== undefined;
  }

  withdrawQuestion(): void {
    this.#question?.withdraw();
  }

  get consolidationNeeded(): boolean {
    return this.#consolidationNeeded;
  }

  setConsolidationNeeded(needed: boolean): void {
    if (this.#consolidationNeeded === needed) return;
    this.#consolidationNeeded = needed;
    this.touch("runtime", "summary");
  }

  /** Makes a configuration true: on disk first, then for everybody who watches. */
  async store(configuration: Configuration): Promise<void> {
    const { folder, vmx } = this.home;
    await writeAtomically(await folder.resolve(vmx), formatVmx(toVmx(configuration)));
    this.adopt(configuration);
  }

  /** As `store` for a configuration that is on disk already. */
  adopt(configuration: Configuration): void {
    const renamed = configuration.name !== this.#configuration.name;
    this.#configuration = configuration;
    this.touch(...DEVICE_DEPENDENT);
    if (renamed) this.setName(configuration.name);
  }

  /** Tells watchers that properties changed. */
  touch(...properties: string[]): void {
    this.#config = undefined;
    this.changed(...properties);
  }

  effectiveExtraConfig(): ReadonlyMap<string, string> {
    return this.volatileInfo.over(this.#configuration.extraConfig);
  }

  setFromGuest(key: string, value: string): void {
    this.volatileInfo.set(this.#configuration.extraConfig, [[key, value]]);
    this.touch("config", "guest", "summary");
  }

  guestSpoke(): void {
    if (this.toolsRunning) return;
    this.toolsRunning = true;
    this.touch("guest", "summary", "guestHeartbeatStatus");
  }

  usesNetwork(network: Network): boolean {
    return this.#configuration.devices.some((device) => device.kind === "nic" && device.network === network.name);
  }

  usesDatastore(store: Datastore): boolean {
    const prefix = `[${store.folder.name}]`;
    if (this.vmPathName.startsWith(prefix)) return true;
    return this.#configuration.devices.some(
      (device) => (device.kind === "disk" || device.kind === "cdrom") && device.path?.startsWith(prefix) === true,
    );
  }

  /** Runs one operation that changes the VM as a task; TaskInProgress while another one runs. */
  exclusive(method: string, call: Call, operation: (task: Task) => Promise<unknown>): Reference {
    this.requireIdle();
    const task = this.context.tasks.run(method, this, sessionOf(call).user.name, async (running) => {
      this.#busy = running.reference;
      try {
        const result = await operation(running);
        if (this.registry.find(this.reference) === this) await this.measureStorage();
        return result;
      } finally {
        this.#busy = undefined;
      }
    });
    return task;
  }

  /** Keeps the VM as it is for a while, for example as long as its disks are transferred. */
  hold(by: Reference): void {
    this.requireIdle();
    this.#busy = by;
  }

  release(): void {
    this.#busy = undefined;
  }

  requireIdle(): void {
    if (!this.#busy) return;
    const task = this.#busy.type === "Task" ? this.#busy : undefined;
    throw new LabFault(task ? "TaskInProgress" : "InvalidState", "Another task is already in progress.", { task });
  }

  #addMethods(): void {
    const task = (operation: (call: Call) => Promise<unknown>) => (_: unknown, call: Call) =>
      this.exclusive(call.method, call, () => operation(call));
    this.methods({
      PowerOnVM_Task: task(() => this.power.on()),
      PowerOffVM_Task: task(() => this.power.off()),
      ResetVM_Task: task(() => this.power.reset()),
      SuspendVM_Task: task(() => this.power.suspend()),
      ShutdownGuest: () => this.power.shutdownGuest(),
      RebootGuest: () => this.power.requireTools("RebootGuest"),
      StandbyGuest: () => this.power.requireTools("StandbyGuest"),
      UpgradeVM_Task: (p, call) =>
        this.exclusive(call.method, call, () => upgradeHardware(this, p.version as string | undefined)),
      TerminateVM: () => this.power.off(),
      ReconfigVM_Task: (p, call) => {
        const spec = p.spec as DataObject;
        requireSpecPrivileges(this.context, sessionOf(call).user, spec, this.reference);
        return this.exclusive(call.method, call, () => reconfigure(this, spec));
      },
      Rename_Task: (p, call) => {
        const name = checkedName(p.newName as string, this);
        refuseDuplicate(name, this.context.inventory.virtualMachines, this);
        return this.exclusive(call.method, call, () => reconfigure(this, data("VirtualMachineConfigSpec", { name })));
      },
      Destroy_Task: task(() => destroyVirtualMachine(this)),
      UnregisterVM: async () => {
        this.requireIdle();
        if (this.powerState === "poweredOn") throw invalidPowerState("poweredOff", this.powerState);
        await unregisterVirtualMachine(this);
      },
      ...snapshotMethods(this),
      ...provisioningMethods(this),
      RefreshStorageInfo: () => this.measureStorage(),
      AttachDisk_Task: (p, call) =>
        this.exclusive(call.method, call, () =>
          attachDisk(this, this.context.inventory.firstClassDisks, String((p.diskId as DataObject).id), p.datastore, {
            controllerKey: p.controllerKey as number | undefined,
            unitNumber: p.unitNumber as number | undefined,
          }),
        ),
      DetachDisk_Task: (p, call) =>
        this.exclusive(call.method, call, () =>
          detachDisk(this, this.context.inventory.firstClassDisks, String((p.diskId as DataObject).id)),
        ),
      AnswerVM: (p) => {
        if (!this.#question) throw new LabFault("ConcurrentAccess", "The VM asks nothing now.");
        this.#question.give(p.questionId as string, p.answerChoice as string);
      },
      Reload: () => this.touch(...DEVICE_DEPENDENT),
    });
  }

  /** What the VM's data objects are made of; `configuration` of a snapshot when it is not the present one. */
  view(configuration = this.#configuration): VmView {
    const { context } = this;
    return {
      reference: this.reference,
      configuration,
      extraConfig: configuration === this.#configuration ? this.effectiveExtraConfig() : configuration.extraConfig,
      consolidationNeeded: this.#consolidationNeeded,
      question: this.#question?.info,
      vmPathName: this.vmPathName,
      powerState: this.powerState,
      host: this.host.reference,
      bootTime: this.bootTime,
      suspendTime: this.suspendTime,
      toolsRunning: this.toolsRunning,
      cpuMhz: context.inventory.facts.cpuMhz,
      storage: this.#usage,
      references: context.inventory,
    };
  }

  /**
   * Reads anew what the VM takes on its datastores: at its start here, after each operation, and when a client asks. What a running
   * guest writes shows after the next of these, as on vSphere.
   */
  async measureStorage(): Promise<void> {
    const before = this.#usage;
    const usage = await measureStorage(this).catch((error: unknown) => {
      // An operation that succeeded is not told as failed because its files cannot be looked at.
      this.context.log(
        `${this.name}: its storage cannot be measured: ${error instanceof Error ? error.message : error}`,
      );
      return before;
    });
    this.#usage = usage;
    if (Bun.deepEquals({ ...before, time: usage.time }, usage)) return;
    this.touch("storage", "summary", "layoutEx");
    for (const store of this.context.inventory.datastores) if (this.usesDatastore(store)) store.changed("summary");
  }

  /** Bytes on one datastore. */
  usageOn(store: Datastore): Usage | undefined {
    return this.#usage.stores.get(store.folder.name);
  }
}
