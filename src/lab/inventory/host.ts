import { AutoStartManager } from "../host/auto-start-manager.ts";
import { CertificateManager } from "../host/certificate-manager.ts";
import { DatastoreSystem } from "../host/datastore-system.ts";
import { DateTimeSystem } from "../host/date-time-system.ts";
import { FirewallSystem } from "../host/firewall-system.ts";
import type { HostPart } from "../host/host-part.ts";
import { ServiceSystem } from "../host/service-system.ts";
import { StorageSystem } from "../host/storage-system.ts";
import { VirtualNicManager } from "../host/virtual-nic-manager.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type ManagedObject, sessionOf } from "../model/managed-object.ts";
import { aboutInfo } from "../service/about.ts";
import { hostCapability } from "../service/environment-browser.ts";
import { NetworkSystem } from "../service/network-system.ts";
import { DatastoreBrowser } from "../storage/datastore-browser.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";
import type { ComputeResource } from "./compute-resource.ts";
import type { LabContext } from "./context.ts";
import type { Datastore } from "./datastore.ts";
import { Entity } from "./entity.ts";
import type { StoredHost } from "./inventory-store.ts";
import { enterMaintenanceMode, exitMaintenanceMode } from "./maintenance.ts";
import type { Network } from "./network.ts";

/** An ESXi host of the lab. All of them are this machine: each shows its processors and its memory. */
export class Host extends Entity {
  readonly networkSystem: NetworkSystem;
  readonly autoStart: AutoStartManager;
  readonly #browser: DatastoreBrowser;
  readonly #parts: Record<string, HostPart>;

  constructor(
    context: LabContext,
    private readonly stored: StoredHost,
    readonly computeResource: ComputeResource,
  ) {
    super(context, { type: "HostSystem", value: stored.id }, stored.name, computeResource);
    const own = (type: string, onCenter: string, onHost: string): Reference => ({
      type,
      value: context.naming.personality === "VirtualCenter" ? `${onCenter}-${stored.id.replace(/^host-/, "")}` : onHost,
    });
    this.networkSystem = new NetworkSystem(context, own("HostNetworkSystem", "networkSystem", "networkSystem"), this);
    this.#browser = new DatastoreBrowser(
      context,
      own("HostDatastoreBrowser", "datastoreBrowser", "ha-host-datastorebrowser"),
      () => this.datastores,
    );
    this.autoStart = new AutoStartManager(this, own("HostAutoStartManager", "autoStartManager", "ha-autostart-mgr"));
    this.#parts = {
      autoStartManager: this.autoStart,
      storageSystem: new StorageSystem(this, own("HostStorageSystem", "storageSystem", "storageSystem")),
      datastoreSystem: new DatastoreSystem(this, own("HostDatastoreSystem", "datastoreSystem", "ha-datastoresystem")),
      firewallSystem: new FirewallSystem(this, own("HostFirewallSystem", "firewallSystem", "firewallSystem")),
      serviceSystem: new ServiceSystem(this, own("HostServiceSystem", "serviceSystem", "serviceSystem")),
      dateTimeSystem: new DateTimeSystem(this, own("HostDateTimeSystem", "dateTimeSystem", "dateTimeSystem")),
      virtualNicManager: new VirtualNicManager(this, own("HostVirtualNicManager", "virtualNicManager", "ha-vnic-mgr")),
      certificateManager: new CertificateManager(
        this,
        own("HostCertificateManager", "certificateManager", "ha-certificate-manager"),
      ),
    };
    const partReferences = Object.entries(this.#parts).map(([name, part]) => [name, part.reference] as const);
    this.properties({
      runtime: () => this.#runtime(),
      summary: () => this.#summary(),
      hardware: () => this.#hardware(),
      capability: () => hostCapability(),
      licensableResource: () =>
        data("HostLicensableResourceInfo", {
          resource: [data("KeyAnyValue", { key: "numCpuPackages", value: 1 })],
        }),
      configManager: () =>
        data("HostConfigManager", {
          networkSystem: this.networkSystem.reference,
          advancedOption: context.content.advancedOption,
          ...Object.fromEntries(partReferences),
        }),
      vm: () => this.virtualMachines.map((vm) => vm.reference),
      datastore: () => this.datastores.map((store) => store.reference),
      network: () => this.networks.map((network) => network.reference),
      datastoreBrowser: () => this.#browser.reference,
    });
    this.methods({
      // The host has no TPM: there is no report, as on an ESXi host without one.
      QueryTpmAttestationReport: () => undefined,
      EnterMaintenanceMode_Task: (p, call) =>
        context.tasks.run(call.method, this, sessionOf(call).user.name, (task) =>
          enterMaintenanceMode(this, task, p.timeout as number),
        ),
      ExitMaintenanceMode_Task: (_, call) =>
        context.tasks.run(call.method, this, sessionOf(call).user.name, () => exitMaintenanceMode(this)),
    });
  }

  async setMaintenanceMode(on: boolean): Promise<void> {
    this.stored.maintenance = on;
    this.changed("runtime", "summary");
    this.computeResource.changed("summary");
    await this.context.store.save();
  }

  /** Puts the host and what belongs to it into the registry. */
  join(): void {
    for (const object of [this, this.networkSystem, this.#browser, ...Object.values(this.#parts)]) {
      this.registry.add(object);
    }
  }

  get datastores(): Datastore[] {
    return this.context.inventory.datastores.filter((store) => store.isMountedOn(this));
  }

  get networks(): Network[] {
    return this.context.inventory.networks.filter((network) => network.isOn(this));
  }

  get uuid(): string {
    return this.stored.uuid;
  }

  get inMaintenanceMode(): boolean {
    return this.stored.maintenance === true;
  }

  get virtualMachines(): VirtualMachine[] {
    return this.context.inventory.virtualMachines.filter((vm) => vm.host === this);
  }

  viewChildren(): ManagedObject[] {
    return this.virtualMachines;
  }

  #runtime(): DataObject {
    return data("HostRuntimeInfo", {
      connectionState: "connected",
      powerState: "poweredOn",
      inMaintenanceMode: this.inMaintenanceMode,
      bootTime: this.context.inventory.facts.bootTime,
    });
  }

  #summary(): DataObject {
    const { context, stored } = this;
    const { facts } = context.inventory;
    return data("HostListSummary", {
      host: this.reference,
      hardware: data("HostHardwareSummary", {
        vendor: facts.vendor,
        model: facts.model,
        uuid: stored.uuid,
        memorySize: facts.memoryBytes,
        cpuModel: facts.cpuModel,
        cpuMhz: facts.cpuMhz,
        numCpuPkgs: 1,
        numCpuCores: facts.threads,
        numCpuThreads: facts.threads,
        numNics: 1,
        numHBAs: 1,
      }),
      runtime: this.#runtime(),
      config: data("HostConfigSummary", {
        name: this.name,
        port: context.listen.port,
        sslThumbprint: context.certificate.thumbprint,
        product: aboutInfo({ personality: "HostAgent", instanceUuid: stored.uuid }),
        vmotionEnabled: false,
        faultToleranceEnabled: false,
      }),
      quickStats: data("HostListSummaryQuickStats", {
        uptime: Math.floor((Date.now() - facts.bootTime.getTime()) / 1000),
      }),
      overallStatus: "green",
      rebootRequired: false,
    });
  }

  #hardware(): DataObject {
    const { context, stored } = this;
    const { facts } = context.inventory;
    return data("HostHardwareInfo", {
      systemInfo: data("HostSystemInfo", {
        vendor: facts.vendor,
        model: facts.model,
        uuid: stored.uuid,
      }),
      cpuInfo: data("HostCpuInfo", {
        numCpuPackages: 1,
        numCpuCores: facts.threads,
        numCpuThreads: facts.threads,
        hz: facts.cpuMhz * 1_000_000,
      }),
      cpuPkg: [
        data("HostCpuPackage", {
          index: 0,
          vendor: /amd/i.test(facts.cpuModel) ? "amd" : "intel",
          hz: facts.cpuMhz * 1_000_000,
          busHz: 100_000_000,
          description: facts.cpuModel,
          threadId: Array.from({ length: facts.threads }, (_, index) => index),
        }),
      ],
      memorySize: facts.memoryBytes,
      smcPresent: false,
    });
  }
}
