/** The driver as a whole. */
import { ChildDisks } from "./child-disks.ts";
import {
  type DatastorePath,
  type InventoryView,
  type PortGroupSpec,
  type VirtualMachineChanges,
  type VirtualMachineReference,
  type VirtualMachineSpec,
  type VSphere,
  VSphereFault,
  type VSphereTarget,
} from "./contract.ts";
import { Files } from "./datastore-files.ts";
import { destroyVirtualMachine } from "./destroy.ts";
import { findInventory, type Inventory } from "./inventory.ts";
import { FolderView } from "./inventory-view.ts";
import { Networks } from "./networks.ts";
import { PortGroups } from "./port-groups.ts";
import { retrieveOne } from "./properties.ts";
import { Session } from "./session.ts";
import { taskFault } from "./task-waiter.ts";
import { Tasks } from "./tasks.ts";
import { type ComputeResourceSummary, toNumber } from "./vim25/index.ts";
import { deviceList } from "./virtual-machine-record.ts";
import { changesDevices, createSpec, reconfigureSpec } from "./virtual-machine-spec.ts";

/** Connects, logs in and finds the objects that the target names. Throws ConnectionError or VSphereFault. */
export async function connectVSphere(target: VSphereTarget): Promise<VSphere> {
  const session = await Session.open(target);
  try {
    return new Driver(session, await findInventory(session, target));
  } catch (error) {
    await session.close();
    throw error;
  }
}

class Driver implements VSphere {
  readonly about: VSphere["about"];
  readonly files: Files;
  private readonly tasks: Tasks;
  private readonly childDisks: ChildDisks;
  private readonly networkList: Networks;
  private readonly portGroups: PortGroups;
  private readonly views = new Set<FolderView>();

  constructor(
    private readonly session: Session,
    private readonly inventory: Inventory,
  ) {
    const { about } = session.content;
    this.about = {
      apiType: session.isVirtualCenter ? "VirtualCenter" : "HostAgent",
      apiVersion: about.apiVersion,
      fullName: about.fullName,
      instanceUuid: about.instanceUuid ?? "",
    };
    this.tasks = new Tasks(session);
    this.files = new Files(session, this.tasks, inventory);
    this.childDisks = new ChildDisks(this.files);
    this.networkList = new Networks(session, inventory.networkFolder);
    this.portGroups = new PortGroups(session, inventory);
  }

  async capacity() {
    const values = await retrieveOne(this.session, this.inventory.compute, ["summary"]);
    const summary = values.get("summary") as ComputeResourceSummary | undefined;
    if (!summary)
      throw new VSphereFault(
        "NoPermission",
        "vSphere does not show this user what the hosts have: it needs System.Read on them",
      );
    return {
      cpus: summary.numCpuThreads,
      cpuMhz: summary.totalCpu,
      memoryBytes: toNumber(summary.totalMemory),
      hosts: summary.numHosts,
    };
  }

  networks() {
    return this.networkList.list();
  }

  addPortGroup(spec: PortGroupSpec): Promise<void> {
    return this.portGroups.add(spec);
  }

  removePortGroup(name: string): Promise<void> {
    return this.portGroups.remove(name);
  }

  async openView(): Promise<InventoryView> {
    const view = await FolderView.open(this.session, this.folder, this.networkList);
    this.views.add(view);
    return view;
  }

  async createVm(spec: VirtualMachineSpec): Promise<VirtualMachineReference> {
    const { resourcePool: pool, host } = this.inventory;
    return this.childDisks.with(spec.disks, async (disks) => {
      const config = await createSpec({ ...spec, disks }, this.networkList, this.session.speaks("7.0"));
      return this.tasks.run("CreateVM_Task", this.folder, { config, pool, ...(host ? { host } : {}) });
    });
  }

  async reconfigureVm(vm: VirtualMachineReference, changes: VirtualMachineChanges): Promise<void> {
    if (!changesDevices(changes)) {
      await this.tasks.run("ReconfigVM_Task", vm, { spec: await reconfigureSpec(changes, [], this.networkList) });
      return;
    }
    const values = await retrieveOne(this.session, vm, ["config.changeVersion", "config.hardware.device"]);
    // What is changed is what was read: without a version of the caller's, hold on to the one read with the devices.
    const changeVersion = changes.changeVersion ?? String(values.get("config.changeVersion") ?? "");
    const devices = deviceList(values.get("config.hardware.device"));
    await this.childDisks.with(changes.addDisks ?? [], async (addDisks) => {
      const all = { ...changes, addDisks, ...(changeVersion === "" ? {} : { changeVersion }) };
      await this.tasks.run("ReconfigVM_Task", vm, { spec: await reconfigureSpec(all, devices, this.networkList) });
    });
  }

  async powerOn(vm: VirtualMachineReference): Promise<void> {
    const { host, datacenter } = this.inventory;
    // Only vCenter's own power-on places the VM and honours admission control; a chosen host needs no placement.
    if (!this.session.isVirtualCenter || host) {
      await this.tasks.run("PowerOnVM_Task", vm, host ? { host } : {});
      return;
    }
    const { attempted = [], notAttempted = [] } = await this.tasks.run("PowerOnMultiVM_Task", datacenter, { vm: [vm] });
    const [refused] = notAttempted;
    if (refused) throw taskFault(refused.fault, "PowerOnMultiVM_Task");
    // A VM that is in neither list is not there any more, or not for us: asked for alone, vSphere says why.
    if (attempted.length === 0) await this.tasks.run("PowerOnVM_Task", vm, {});
    for (const { task } of attempted) if (task) await this.tasks.wait(task, "PowerOnVM_Task");
  }

  async powerOff(vm: VirtualMachineReference): Promise<void> {
    try {
      await this.tasks.run("PowerOffVM_Task", vm, {});
    } catch (error) {
      if (
        !(error instanceof VSphereFault) ||
        error.fault !== "InvalidPowerState" ||
        error.detail.existingState !== "poweredOff"
      )
        throw error;
    }
  }

  async suspend(vm: VirtualMachineReference): Promise<void> {
    await this.tasks.run("SuspendVM_Task", vm, {});
  }

  async answer(vm: VirtualMachineReference, questionId: string, choiceKey: string): Promise<void> {
    await this.session.call("AnswerVM", vm, { questionId, answerChoice: choiceKey });
  }

  destroyVm(vm: VirtualMachineReference, options: { keepDisks: DatastorePath[] }): Promise<void> {
    return destroyVirtualMachine(this.session, this.tasks, this.files, vm, options.keepDisks);
  }

  async close(): Promise<void> {
    await Promise.all([...[...this.views].map((view) => view.close()), this.tasks.close()]);
    await this.session.close();
  }

  private get folder() {
    return this.inventory.folder;
  }
}
