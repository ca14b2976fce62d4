import { type DataObject, data, type Reference } from "../model/data.ts";
import type { ManagedObject } from "../model/managed-object.ts";
import type { LabContext } from "./context.ts";
import { Entity } from "./entity.ts";
import type { ResourcePool } from "./resource-pool.ts";

/** The standalone host's compute resource, or vCenter's cluster of one host. */
export class ComputeResource extends Entity {
  rootPool: ResourcePool | undefined;

  constructor(context: LabContext, reference: Reference, name: string, parent: Entity) {
    super(context, reference, name, parent);
    const cluster = reference.type === "ClusterComputeResource";
    this.properties({
      resourcePool: () => this.rootPool?.reference,
      host: () => [context.host.reference],
      datastore: () => context.host.datastores.map((store) => store.reference),
      network: () => context.host.networks.map((network) => network.reference),
      summary: () => this.#summary(cluster ? "ClusterComputeResourceSummary" : "ComputeResourceSummary"),
      environmentBrowser: () => context.content.environmentBrowser,
      configurationEx: () => data("ComputeResourceConfigInfo", { vmSwapPlacement: "vmDirectory" }),
      lifecycleManaged: () => false,
      ...(cluster ? { summaryEx: () => this.#summary("ClusterComputeResourceSummary") } : {}),
    });
  }

  viewChildren(): ManagedObject[] {
    return this.rootPool ? [this.context.host, this.rootPool] : [this.context.host];
  }

  #summary(type: "ComputeResourceSummary" | "ClusterComputeResourceSummary"): DataObject {
    const { host } = this.context;
    const cluster = type === "ClusterComputeResourceSummary" ? { currentFailoverLevel: 0, numVmotions: 0 } : {};
    return data(type, {
      totalCpu: host.threads * host.cpuMhz,
      totalMemory: host.memoryBytes,
      numCpuCores: host.threads,
      numCpuThreads: host.threads,
      effectiveCpu: host.threads * host.cpuMhz,
      effectiveMemory: Math.floor(host.memoryBytes / 2 ** 20),
      numHosts: 1,
      numEffectiveHosts: 1,
      overallStatus: "green",
      ...cluster,
    });
  }
}
