/** What the parts of the engine share. Made once by createEngine, in order of dependence. */
import type { InventoryView, VSphere } from "../vsphere/contract.ts";
import type { BindSettings } from "./binds/settings.ts";
import type { BootAdmission } from "./boot-admission.ts";
import type { ContainerTable } from "./containers/table.ts";
import type { RecentRuns } from "./containers/timeline.ts";
import type { EventLog } from "./events/event-log.ts";
import type { GuestLinks } from "./guests/guest-links.ts";
import type { ImageStore } from "./images/contract.ts";
import type { IsoCatalog } from "./isos/catalog.ts";
import type { VirtualMachineLoaders } from "./loader/pool.ts";
import type { NetworkTable } from "./networks/network-table.ts";
import type { PeerFeed } from "./networks/peer-feed.ts";
import type { EnginePaths } from "./paths.ts";
import type { UntilDone } from "./until-done.ts";
import type { VolumeStore } from "./volumes/store.ts";
import type { Semaphore } from "./waiting.ts";

/** What loaders and volumes need. */
export interface InfrastructureContext {
  /** Of the VCH. */
  readonly name: string;
  readonly vsphere: VSphere;
  readonly view: InventoryView;
  readonly paths: EnginePaths;
  readonly links: GuestLinks;
  readonly events: EventLog;
  readonly table: ContainerTable;
  readonly networks: NetworkTable;
  /** Bounds the changes asked of vSphere at a time. */
  readonly changes: Semaphore;
  /** Repeats what must be done in the end. */
  readonly untilDone: UntilDone;
  /** Bounds the VMs that boot at a time. */
  readonly boots: BootAdmission;
  /** Bootstrap ISOs. */
  readonly isos: IsoCatalog;
  readonly log: (message: string) => void;
  /** What only somebody who looks for something wants to read. */
  readonly debug: (message: string) => void;
}

export interface EngineContext extends InfrastructureContext {
  readonly recentRuns: RecentRuns;
  readonly peers: PeerFeed;
  readonly loaders: VirtualMachineLoaders;
  readonly volumes: VolumeStore;
  readonly images: ImageStore;
  /** Images that only a removed container still held may go. */
  containerRemoved(): Promise<void>;
  readonly binds: BindSettings;
  readonly defaults: { memoryMB: number; cpus: number };
  /** Most containers of this VCH; 0 for no limit. */
  readonly containerLimit: number;
  /** Of the hosts, read at start. `cpuMhz` of one CPU. */
  readonly capacity: { cpus: number; cpuMhz: number; memoryBytes: number; hosts: number };
}
