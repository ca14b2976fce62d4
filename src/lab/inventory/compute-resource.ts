import { notSupported } from "../fault.ts";
import { type DataObject, data } from "../model/data.ts";
import { type ManagedObject, sessionOf } from "../model/managed-object.ts";
import { EnvironmentBrowser } from "../service/environment-browser.ts";
import { DatastoreBrowser } from "../storage/datastore-browser.ts";
import { clusterSettings, reconfigureCluster } from "./cluster-settings.ts";
import type { LabContext } from "./context.ts";
import type { Datastore } from "./datastore.ts";
import { Entity } from "./entity.ts";
import type { Host } from "./host.ts";
import type { StoredComputeResource } from "./inventory-store.ts";
import type { Network } from "./network.ts";
import type { ResourcePool } from "./resource-pool.ts";

/** The standalone host's compute resource, or a cluster of vCenter. */
export class ComputeResource extends Entity {
  readonly rootPool: ResourcePool;
  readonly environmentBrowser: EnvironmentBrowser;
  readonly #browser: DatastoreBrowser;

  constructor(context: LabContext, stored: StoredComputeResource, parent: Entity) {
    super(context, { type: context.naming.computeResource.type, value: stored.id }, stored.name, parent);
    const cluster = this.reference.type === "ClusterComputeResource";
    const suffix = cluster ? `-${stored.id.replace(/^domain-c/, "")}` : "";
    this.#browser = new DatastoreBrowser(
      context,
      { type: "HostDatastoreBrowser", value: cluster ? `datastoreBrowser${suffix}` : "ha-compute-datastorebrowser" },
      () => this.datastores,
    );
    const environment = { type: "EnvironmentBrowser", value: cluster ? `envbrowser${suffix}` : "ha-env-browser" };
    this.environmentBrowser = new EnvironmentBrowser(this, environment, this.#browser.reference);
    this.properties({
      resourcePool: () => this.rootPool.reference,
      host: () => this.hosts.map((host) => host.reference),
      datastore: () => this.datastores.map((store) => store.reference),
      network: () => this.networks.map((network) => network.reference),
      summary: () => this.#summary(cluster),
      environmentBrowser: () => environment,
      configurationEx: () => this.#configuration(cluster),
      lifecycleManaged: () => false,
      ...(cluster ? { summaryEx: () => this.#summary(true), configuration: () => this.#oldConfiguration() } : {}),
    });
    this.methods({
      ReconfigureComputeResource_Task: (p, call) => {
        if (!cluster) throw notSupported("a standalone host has no cluster settings.");
        return context.tasks.run(call.method, this, sessionOf(call).user.name, () =>
          reconfigureCluster(this, p.spec as DataObject),
        );
      },
    });
    this.rootPool = context.inventory.addPool(stored.rootPool, undefined, this, this);
  }

  join(): void {
    for (const object of [this, this.environmentBrowser, this.#browser]) this.registry.add(object);
  }

  get hosts(): Host[] {
    return this.context.inventory.hosts.filter((host) => host.computeResource === this);
  }

  /** What at least one host has. */
  get datastores(): Datastore[] {
    return this.context.inventory.datastores.filter((store) => this.hosts.some((host) => store.isMountedOn(host)));
  }

  get networks(): Network[] {
    return this.context.inventory.networks.filter((network) => this.hosts.some((host) => network.isOn(host)));
  }

  viewChildren(): ManagedObject[] {
    return [...this.hosts, this.rootPool];
  }

  /** The hosts are one machine: its processors and its memory count once. */
  #summary(cluster: boolean): DataObject {
    const { hosts } = this;
    const { facts } = this.context.inventory;
    const able = hosts.filter((host) => !host.inMaintenanceMode).length;
    const total = (count: number, amount: number): number => (count > 0 ? amount : 0);
    return data(cluster ? "ClusterComputeResourceSummary" : "ComputeResourceSummary", {
      totalCpu: total(hosts.length, facts.threads * facts.cpuMhz),
      totalMemory: total(hosts.length, facts.memoryBytes),
      numCpuCores: total(hosts.length, facts.threads),
      numCpuThreads: total(hosts.length, facts.threads),
      effectiveCpu: total(able, facts.threads * facts.cpuMhz),
      effectiveMemory: total(able, Math.floor(facts.memoryBytes / 2 ** 20)),
      numHosts: hosts.length,
      numEffectiveHosts: able,
      overallStatus: "green",
      ...(cluster ? { currentFailoverLevel: 0, numVmotions: 0 } : {}),
    });
  }

  #oldConfiguration(): DataObject {
    return data("ClusterConfigInfo", {
      dasConfig: dasConfig(),
      drsConfig: drsConfig(),
      rule: clusterSettings(this).rules,
    });
  }

  #configuration(cluster: boolean): DataObject {
    const common = { vmSwapPlacement: "vmDirectory" };
    if (!cluster) return data("ComputeResourceConfigInfo", common);
    const { rules, groups } = clusterSettings(this);
    return data("ClusterConfigInfoEx", {
      ...common,
      dasConfig: dasConfig(),
      drsConfig: drsConfig(),
      rule: rules,
      group: groups,
    });
  }
}

/** The lab neither restarts VMs elsewhere nor moves them by itself. */
const dasConfig = (): DataObject => data("ClusterDasConfigInfo", { enabled: false });
const drsConfig = (): DataObject =>
  data("ClusterDrsConfigInfo", { enabled: false, enableVmBehaviorOverrides: false, defaultVmBehavior: "manual" });
