/**
 * What the lab's vSphere front needs of the hypervisor below it. Implemented with QEMU. Paths here are files of this
 * machine; the front has already resolved and checked datastore paths.
 */

export interface MachineDisk {
  /** vSphere device key, stable for the life of the device. */
  key: number;
  bus: "scsi" | "ide" | "sata" | "nvme";
  controller: number;
  unit: number;
  /** VMDK descriptor or monolithic sparse VMDK. */
  file: string;
  /** Writes are thrown away at power-off (independent_nonpersistent). */
  discardWrites: boolean;
}

export interface MachineCdrom {
  key: number;
  bus: "ide" | "sata";
  controller: number;
  unit: number;
  /** undefined: empty drive. */
  file?: string;
}

export interface MachineNetworkAdapter {
  key: number;
  model: "vmxnet3" | "e1000" | "e1000e";
  macAddress: string;
  /** Port group; the hypervisor keeps one bridge per port group. */
  portGroup: string;
  connected: boolean;
}

export interface MachineSerialPort {
  key: number;
  /** 0 = COM1 … The lab keeps COM4 (0x2e8) for RPCI. */
  unit: number;
  backing:
    | { kind: "file"; file: string }
    | { kind: "network"; serviceUri: string; proxyUri?: string; direction: "client" | "server" }
    | { kind: "none" };
  connected: boolean;
}

/** A serial port that goes through a virtual serial port concentrator. */
export type ProxiedSerialPort = MachineSerialPort & {
  backing: { kind: "network"; serviceUri: string; proxyUri: string; direction: "client" | "server" };
};

export const isProxied = (port: MachineSerialPort): port is ProxiedSerialPort =>
  port.backing.kind === "network" && port.backing.proxyUri !== undefined;

export interface MachineDefinition {
  /** Inventory id, for example `vm-12`; names run files, bridge ports and the process. */
  id: string;
  name: string;
  uuid: string;
  /** The VM's directory on its datastore; vmware.log goes there. */
  directory: string;
  firmware: "bios" | "efi";
  cpus: number;
  memoryMB: number;
  /** Share of one host CPU in MHz, or -1. */
  cpuLimitMhz: number;
  scsiControllers: { key: number; bus: number; model: "pvscsi" | "lsilogic" | "lsisas1068" }[];
  disks: MachineDisk[];
  cdroms: MachineCdrom[];
  networkAdapters: MachineNetworkAdapter[];
  serialPorts: MachineSerialPort[];
}

export type MachineState = "running" | "suspended" | "stopped";

/** Guest RPC (RPCI) as the VM front answers it. Keys with the `guestinfo.` prefix. */
export interface GuestInfoStore {
  get(key: string): string | undefined;
  /** Throws with the text to return to the guest when the value is refused (too long, read-only). */
  set(key: string, value: string): void;
}

export interface MachineEvents {
  /**
   * The QEMU process is gone, by the guest's power-off, by us, or by a crash (`crashed` with the last log lines). Once per
   * machine. Not called for suspend(), nor for machines that were gone when adopt() looked: those it does not return.
   */
  stopped(id: string, cause: { kind: "guest" | "host" | "crashed"; detail: string }): void;
  guestInfo(id: string): GuestInfoStore;
  /** A disk could not grow because its datastore is full. The guest stands still until resume(), which tries again. */
  outOfSpace(id: string): void;
}

export interface RunningMachine {
  readonly id: string;
  readonly state: MachineState;
  /** Immediately, without asking the guest. Resolves when the process is gone. */
  powerOff(): Promise<void>;
  reset(): Promise<void>;
  /** Go on after outOfSpace. */
  resume(): Promise<void>;
  /** ACPI power button. */
  requestShutdown(): Promise<void>;
  suspend(stateFile: string): Promise<void>;
  /**
   * While the guest stands still, its disks are closed: `work` may change their files and says with which disks the guest goes on.
   * With `stateFile`, the memory is saved there first. When anything fails the guest goes on with the disks that it had.
   */
  checkpoint(options: { stateFile?: string; work: () => Promise<MachineDisk[]> }): Promise<void>;
  plugDisk(disk: MachineDisk): Promise<void>;
  unplugDisk(key: number): Promise<void>;
  plugNetworkAdapter(adapter: MachineNetworkAdapter): Promise<void>;
  unplugNetworkAdapter(key: number): Promise<void>;
  setLink(key: number, connected: boolean): Promise<void>;
  changeMedium(key: number, file: string | undefined): Promise<void>;
  /** Plugs a proxied serial port in or out, or into another proxy. Other ports cannot change while the machine runs. */
  changeSerialPort(port: MachineSerialPort): Promise<void>;
  /** The machine counts as on another host from now on: connections of its host are handed over. Never rejects. */
  hostChanged(): Promise<void>;
  /** Counters for performance metrics. */
  counters(): Promise<MachineCounters>;
}

export interface MachineCounters {
  cpuNanoseconds: number;
  residentBytes: number;
  disks: { key: number; readBytes: number; writeBytes: number; readOperations: number; writeOperations: number }[];
  networkAdapters: {
    key: number;
    receiveBytes: number;
    transmitBytes: number;
    receivePackets: number;
    transmitPackets: number;
  }[];
}

/** The vim25 faults that the hypervisor tells its errors by. */
export type HypervisorFault =
  | "CannotAccessFile"
  | "FileAlreadyExists"
  | "FileFault"
  | "FileLocked"
  | "FileNotFound"
  | "GenericVmConfigFault"
  | "HostConfigFault"
  | "InsufficientResourcesFault"
  | "InvalidArgument"
  | "InvalidDatastorePath"
  | "InvalidDiskFormat"
  /** The machine does not run any more. */
  | "InvalidPowerState"
  | "InvalidState"
  | "LimitExceeded"
  | "NoDiskSpace"
  | "NotFound";

/** Thrown by the hypervisor. */
export class HypervisorError extends Error {
  override readonly name = "HypervisorError";
  constructor(
    readonly fault: HypervisorFault,
    message: string,
  ) {
    super(message);
  }
}

/** What VMs on a port group may do, in vSphere's words. */
export interface PortGroupSecurity {
  /** Send from another address than their adapter's. `macChanges` without it has no effect here: the two are one switch. */
  forgedTransmits: boolean;
  /** Receive what is for others. */
  allowPromiscuous: boolean;
}

export interface Hypervisor {
  /** `kvm` only when a tiny guest really booted with it. */
  readonly accelerator: { kind: "kvm" | "tcg"; reason: string };
  powerOn(definition: MachineDefinition, from?: { stateFile: string }): Promise<RunningMachine>;
  /**
   * Take over machines whose processes outlived an earlier lab process; ids not in `known` are ended. So are machines whose
   * power-on was interrupted; an interrupted suspend is undone. Definitions must name the devices that are plugged now.
   */
  adopt(known: MachineDefinition[]): Promise<RunningMachine[]>;
  /** Also changes what VMs that are plugged in from now on may do. Nothing of it unless said otherwise. */
  makePortGroup(name: string, security?: PortGroupSecurity): Promise<{ bridge: string }>;
  removePortGroup(name: string): Promise<void>;
  portGroups(): Promise<{ name: string; bridge: string }[]>;
  /**
   * With `stopMachines`, end every machine (also ones never adopted) and remove every bridge and tap that is ours; the list
   * of port groups stays. Without, let go of the machines and leave everything running.
   */
  dispose(options: { stopMachines: boolean }): Promise<void>;
}

/** Virtual disk files. */
export interface DiskStore {
  create(file: string, capacityBytes: number): Promise<void>;
  /** Delta disk over `parent`; the parent must not be written any more. */
  createChild(file: string, parent: string, capacityBytes?: number): Promise<void>;
  inspect(file: string): Promise<{ capacityBytes: number; allocatedBytes: number; parent?: string }>;
  extend(file: string, capacityBytes: number): Promise<void>;
  /** Blocks of zeros take no room in the copy, unless it shall have all of its room from the start. */
  copy(from: string, to: string, options?: { allocateAll: boolean }): Promise<void>;
  /** Copies one link of a chain; the copy has the same parent. */
  copyLink(from: string, to: string): Promise<void>;
  /**
   * Writes what a child holds into its parent, which then shows what the child shows. The child shows the same all the while, so this
   * may be broken off and done again. The parent must have no other children.
   */
  commit(child: string): Promise<void>;
  /** Puts a disk on another parent that shows the same as its present one. */
  setParent(file: string, parent: string): Promise<void>;
  remove(file: string): Promise<void>;
  /** Makes a disk out of a streamOptimized VMDK. */
  receive(file: string, stream: AsyncIterable<Uint8Array>): Promise<void>;
  /** What the disk and its parents show, as a streamOptimized VMDK of that name. */
  send(file: string, name: string): AsyncIterable<Uint8Array>;
}
