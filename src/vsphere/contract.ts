/**
 * The driver's face towards the engine: what the engine needs of a vSphere (vCenter, ESXi, or the lab, which is one).
 * Implemented in this folder over vim25 SOAP; nothing here knows about Docker.
 */

/** A managed object reference. */
export interface ObjectReference<T extends string = string> {
  type: T;
  value: string;
}
export type VirtualMachineReference = ObjectReference<"VirtualMachine">;

/** `[datastore] directory/file`, vSphere's own notation. */
export type DatastorePath = string;

export interface VSphereTarget {
  /** `https://host[:port]/sdk` */
  url: string;
  username: string;
  password: string;
  /** SHA-256 fingerprint (hex, colons allowed) of the server's certificate, checked before the password is sent. */
  fingerprint?: string;
  /** PEM bundle to verify the server with, instead of a fingerprint. */
  certificateAuthority?: string;
  /** Inventory paths or names; the only one is taken when left out. */
  datacenter?: string;
  resourcePool?: string;
  folder?: string;
  datastore?: string;
  host?: string;
}

export type PowerState = "poweredOn" | "poweredOff" | "suspended";

export interface VirtualMachineQuestion {
  id: string;
  text: string;
  /** Ids in vSphere's message catalogue, `msg.hbacommon.outofspace`. */
  messages: string[];
  /** `label` is the catalogue's name of the choice, `button.retry`; `summary` is the words for people. */
  choices: { key: string; label: string; summary: string }[];
}

/** A VM as the live view knows it. */
export interface VirtualMachineRecord {
  reference: VirtualMachineReference;
  name: string;
  uuid: string;
  powerState: PowerState;
  connectionState: string;
  /** What vSphere waits to be told before the VM goes on. */
  question?: VirtualMachineQuestion;
  /** For optimistic locking of reconfigureVm. */
  changeVersion: string;
  /** `[ds] dir/name.vmx` */
  vmPathName: DatastorePath;
  /** Only keys that start with `vch.` or `guestinfo.vch.`. */
  extraConfig: ReadonlyMap<string, string>;
  annotation: string;
  memoryMB: number;
  cpus: number;
  /** key, MAC (lower case) and connection of each vNIC. */
  networkAdapters: { key: number; macAddress: string; network: string; connected: boolean }[];
}

export type VirtualMachineChange =
  | { kind: "updated"; record: VirtualMachineRecord; previous: VirtualMachineRecord | undefined }
  | { kind: "removed"; reference: VirtualMachineReference; previous: VirtualMachineRecord | undefined };

/** The one property-collector view of the VCH's folder. Recovers by itself from lost sessions and server restarts. */
export interface InventoryView {
  get(reference: VirtualMachineReference): VirtualMachineRecord | undefined;
  list(): VirtualMachineRecord[];
  onChange(listener: (change: VirtualMachineChange) => void): () => void;
  /** Resolves with the first record that satisfies the predicate; rejects on removal (ManagedObjectNotFound) or time-out. */
  waitFor(
    reference: VirtualMachineReference,
    predicate: (record: VirtualMachineRecord) => boolean,
    timeoutMilliseconds: number,
    what: string,
  ): Promise<VirtualMachineRecord>;
  close(): Promise<void>;
}

export type DiskMode = "persistent" | "independent_persistent" | "independent_nonpersistent";

export interface DiskSpec {
  bus: number;
  unit: number;
  path: DatastorePath;
  mode: DiskMode;
  /** Of the datastore's throughput, 200 to 4000; level normal, which is 1000, when left out. */
  ioShares?: number;
  /** Make the file; without it an existing file is attached. A child takes its capacity from its parent unless larger. */
  create?: { capacityBytes?: number; parent?: DatastorePath };
}

export interface NetworkAdapterSpec {
  /** Name of the network (port group) in the inventory. */
  network: string;
  /** Lower case with colons; assigned by vSphere when left out. */
  macAddress?: string;
  connected: boolean;
}

/** A port group of a standard switch. */
export interface PortGroupSpec {
  name: string;
  virtualSwitch: string;
  /** 0 for untagged. On more than one host a network needs a VLAN that the physical switches carry. */
  vlanId: number;
}

export type SerialPortSpec =
  | { kind: "file"; path: DatastorePath }
  | { kind: "network"; serviceUri: string; proxyUri?: string; direction: "client" | "server"; connected: boolean };

export interface VirtualMachineSpec {
  name: string;
  /** BIOS UUID. */
  uuid: string;
  annotation: string;
  /** Datastore directory of the VM, `[ds] dir`. */
  directory: DatastorePath;
  cpus: number;
  memoryMB: number;
  /** MHz or -1 for none. */
  cpuLimitMhz?: number;
  cpuShares?: number;
  memoryReservationMB?: number;
  firmware: "bios" | "efi";
  /** Bootstrap ISO, in the first drive of a controller: IDE unless said otherwise. */
  cdrom?: DatastorePath | { path: DatastorePath; bus: "ide" | "sata" };
  disks: DiskSpec[];
  networkAdapters: NetworkAdapterSpec[];
  serialPorts: SerialPortSpec[];
  extraConfig: Record<string, string>;
}

/** Changes for reconfigureVm; only what is set changes. An extraConfig value of "" deletes the key. */
export interface VirtualMachineChanges {
  changeVersion?: string;
  name?: string;
  annotation?: string;
  cpus?: number;
  memoryMB?: number;
  /** Shares and limits, also of a running VM. A limit of -1 is none, a reservation of 0 is none. */
  allocation?: { cpuLimitMhz?: number; cpuShares?: number; memoryReservationMB?: number };
  extraConfig?: Record<string, string>;
  addDisks?: DiskSpec[];
  /** Detach and keep the file. */
  removeDisks?: { bus: number; unit: number }[];
  addNetworkAdapters?: NetworkAdapterSpec[];
  removeNetworkAdapters?: { macAddress: string }[];
}

export interface DatastoreEntry {
  name: string;
  directory: boolean;
  size: number;
  modified: Date;
}

/** Files of the VCH's datastore, by the `/folder` HTTP service and the file managers. */
export interface DatastoreFiles {
  /** Name of the datastore, the part in brackets. */
  readonly datastore: string;
  read(path: DatastorePath, range?: { start: number; end?: number }): Promise<ReadableStream<Uint8Array>>;
  readText(path: DatastorePath, limitBytes: number): Promise<string>;
  write(
    path: DatastorePath,
    content: Uint8Array | string | { stream: ReadableStream<Uint8Array>; length: number },
  ): Promise<void>;
  list(directory: DatastorePath): Promise<DatastoreEntry[]>;
  exists(path: DatastorePath): Promise<boolean>;
  makeDirectory(path: DatastorePath): Promise<void>;
  /** Files and whole directories. Not finding it is no error. */
  remove(path: DatastorePath): Promise<void>;
  /** Atomic replace within the datastore; the way commit markers are written. */
  move(from: DatastorePath, to: DatastorePath): Promise<void>;
  space(): Promise<{ capacityBytes: number; freeBytes: number }>;
  makeDisk(path: DatastorePath, capacityBytes: number): Promise<void>;
  /** Of a disk that no running VM has. As large already is no error. */
  growDisk(path: DatastorePath, capacityBytes: number): Promise<void>;
  removeDisk(path: DatastorePath): Promise<void>;
}

export interface VSphere {
  readonly about: {
    apiType: "VirtualCenter" | "HostAgent";
    apiVersion: string;
    fullName: string;
    instanceUuid: string;
  };
  readonly files: DatastoreFiles;
  /** Hosts' totals, for `docker info`. */
  capacity(): Promise<{ cpus: number; cpuMhz: number; memoryBytes: number; hosts: number }>;
  networks(): Promise<{ name: string; reference: ObjectReference; kind: "standard" | "distributed" | "opaque" }[]>;
  /** On every host that our VMs may run on. There already is no error. */
  addPortGroup(spec: PortGroupSpec): Promise<void>;
  /** Gone already is no error; throws ResourceInUse while a VM is on it. */
  removePortGroup(name: string): Promise<void>;
  openView(): Promise<InventoryView>;
  createVm(spec: VirtualMachineSpec): Promise<VirtualMachineReference>;
  reconfigureVm(vm: VirtualMachineReference, changes: VirtualMachineChanges): Promise<void>;
  powerOn(vm: VirtualMachineReference): Promise<void>;
  /** Not powered on is no error. */
  powerOff(vm: VirtualMachineReference): Promise<void>;
  suspend(vm: VirtualMachineReference): Promise<void>;
  /** Answer a question of the VM. Throws ConcurrentAccess when it is not asked any more. */
  answer(vm: VirtualMachineReference, questionId: string, choiceKey: string): Promise<void>;
  /**
   * Detach every disk that has other users or a parent (keeping the files named in `keepDisks`), destroy the VM and delete its
   * directory. Deleted already is no error.
   */
  destroyVm(vm: VirtualMachineReference, options: { keepDisks: DatastorePath[] }): Promise<void>;
  close(): Promise<void>;
}

/** A vim25 fault, by SOAP or in a task, with its type name without `Fault`: `InvalidPowerState`, `FileNotFound`, … */
export class VSphereFault extends Error {
  override readonly name = "VSphereFault";
  constructor(
    readonly fault: string,
    message: string,
    readonly detail: Record<string, unknown> = {},
  ) {
    // The operating system's words, which people and programs know.
    super(fault === "NoDiskSpace" ? `no space left on device: ${message}` : message);
  }
}
