import type { MachineDefinition, MachineDisk, MachineNetworkAdapter } from "../hypervisor/contract.ts";
import type { Configuration } from "./configuration.ts";
import { busOf, type Cdrom, type Device, type Disk, type NetworkAdapter, type SerialPort } from "./device/device.ts";

/** Spells a datastore path as a file of this machine. */
export type Resolve = (path: string) => Promise<string>;

/** The machine that the hypervisor shall run for a configuration. */
export async function machineDefinition(
  id: string,
  directory: string,
  configuration: Configuration,
  resolve: Resolve,
  /** It runs already: what was plugged in or out since its start counts. */
  running = false,
): Promise<MachineDefinition> {
  const { devices } = configuration;
  const of = <K extends Device["kind"]>(kind: K) =>
    devices.filter((device): device is Extract<Device, { kind: K }> => device.kind === kind);
  return {
    id,
    name: configuration.name,
    uuid: configuration.uuid,
    directory,
    firmware: configuration.firmware,
    cpus: configuration.cpus,
    memoryMB: configuration.memoryMB,
    cpuLimitMhz: configuration.cpu.limit,
    scsiControllers: of("scsi").map(({ key, bus, model }) => ({ key, bus, model })),
    disks: await Promise.all(of("disk").map((disk) => machineDisk(disk, devices, resolve))),
    cdroms: await Promise.all(of("cdrom").map((drive) => machineCdrom(drive, devices, resolve))),
    networkAdapters: of("nic").map((adapter) => machineNetworkAdapter(adapter, adapter.startConnected)),
    serialPorts: await Promise.all(
      of("serial").map((port) => machineSerialPort(port, running ? port.connected : port.startConnected, resolve)),
    ),
  };
}

export async function machineDisk(disk: Disk, devices: readonly Device[], resolve: Resolve): Promise<MachineDisk> {
  const place = busOf(devices, disk.controllerKey);
  return {
    key: disk.key,
    bus: place?.bus ?? "scsi",
    controller: place?.controller ?? 0,
    unit: disk.unit,
    file: await resolve(disk.path),
    discardWrites: discardsWrites(disk),
  };
}

export const discardsWrites = (disk: Disk): boolean => disk.mode.endsWith("nonpersistent");

async function machineCdrom(drive: Cdrom, devices: readonly Device[], resolve: Resolve) {
  const place = busOf(devices, drive.controllerKey);
  const inserted = drive.path !== undefined && drive.startConnected ? { file: await resolve(drive.path) } : {};
  return {
    key: drive.key,
    bus: place?.bus === "sata" ? ("sata" as const) : ("ide" as const),
    controller: place?.controller ?? 0,
    unit: drive.unit,
    ...inserted,
  };
}

export const machineNetworkAdapter = (adapter: NetworkAdapter, connected: boolean): MachineNetworkAdapter => ({
  key: adapter.key,
  model: adapter.model,
  macAddress: adapter.macAddress,
  portGroup: adapter.network,
  connected,
});

export async function machineSerialPort(port: SerialPort, connected: boolean, resolve: Resolve) {
  const backing =
    port.backing.kind === "file" ? { kind: "file" as const, file: await resolve(port.backing.path) } : port.backing;
  return { key: port.key, unit: port.unit, backing, connected };
}
