/** Devices out of the specs that clients send, each field checked, applied or refused. */
import { type Long, toNumber } from "../../../vsphere/vim25/index.ts";
import type { DataObject } from "../../model/data.ts";
import {
  busOf,
  type Cdrom,
  type Device,
  type Disk,
  type DiskMode,
  LIMITS,
  type NetworkAdapter,
  PCI_KEY,
  SCSI_RESERVED_UNIT,
  type SerialBacking,
  type SerialPort,
  SIO_KEY,
  unitKey,
} from "./device.ts";
import {
  type ChangeContext,
  invalidController,
  invalidDevice,
  invalidDeviceOperation,
  missingController,
  realKey,
} from "./device-changes.ts";
import { NORMAL_SHARES, wantedShares } from "./disk-shares.ts";
import { NIC_MODELS } from "./vim-devices.ts";

const DISK_MODES: ReadonlySet<unknown> = new Set<DiskMode>([
  "persistent",
  "independent_persistent",
  "independent_nonpersistent",
  "nonpersistent",
]);
/** VMFS's limit for a virtual disk. */
const CAPACITY_LIMIT = 62 * 2 ** 40;
const SECTOR = 512;
const MAC_ADDRESS = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;

/** A place on the controller that the spec names: the wanted unit or, with -1 or none, the first free one. */
function place(context: ChangeContext, device: DataObject): { key: number; controllerKey: number; unit: number } {
  const { devices } = context.plan;
  if (typeof device.controllerKey !== "number") {
    throw missingController(context, "The device has no controllerKey.");
  }
  const controllerKey = realKey(context, device.controllerKey);
  const bus = busOf(devices, controllerKey);
  if (!bus) {
    throw invalidController(context, `The VM has no disk controller with key ${controllerKey}.`, controllerKey);
  }
  const used = new Set(bus.bus === "scsi" ? [SCSI_RESERVED_UNIT] : []);
  for (const other of devices) {
    if ("controllerKey" in other && other.controllerKey === controllerKey) used.add(other.unit);
  }
  let unit = device.unitNumber as number | undefined;
  if (unit === undefined || unit < 0) {
    unit = 0;
    while (used.has(unit)) unit++;
  }
  if (unit >= bus.units || used.has(unit)) {
    throw invalidDevice(context, `Unit ${unit} of controller ${controllerKey} is not free.`);
  }
  return { key: unitKey(bus, unit), controllerKey, unit };
}

function diskBacking(context: ChangeContext, device: DataObject): DataObject {
  const backing = device.backing as DataObject | undefined;
  if (backing?._type === "VirtualDiskFlatVer2BackingInfo" || backing?._type === "VirtualDiskSeSparseBackingInfo") {
    return backing;
  }
  const what = backing
    ? `The disk backing ${backing._type} is not available; use`
    : "The disk has no backing; give it a";
  const fault = backing ? "DeviceUnsupportedForVmPlatform" : "InvalidDeviceBacking";
  throw invalidDevice(context, `${what} VirtualDiskFlatVer2BackingInfo.`, fault);
}

function diskMode(context: ChangeContext, backing: DataObject): DiskMode {
  const mode = backing.diskMode === "" ? "persistent" : backing.diskMode;
  if (DISK_MODES.has(mode)) return mode as DiskMode;
  throw invalidDevice(context, `The disk mode '${String(mode)}' is not available.`, "InvalidDeviceBacking");
}

function capacity(context: ChangeContext, device: DataObject): number {
  const bytes =
    device.capacityInBytes === undefined
      ? toNumber((device.capacityInKB as Long | undefined) ?? 0) * 1024
      : toNumber(device.capacityInBytes as Long);
  if (bytes < 0 || bytes > CAPACITY_LIMIT) throw invalidDevice(context, `A disk cannot have ${bytes} bytes.`);
  return Math.ceil(bytes / SECTOR) * SECTOR;
}

export async function addDisk(context: ChangeContext, change: DataObject, device: DataObject): Promise<Disk> {
  const { plan, environment } = context;
  const at = place(context, device);
  const backing = diskBacking(context, device);
  const mode = diskMode(context, backing);
  const wanted = capacity(context, device);
  const uuid = typeof backing.uuid === "string" && backing.uuid !== "" ? backing.uuid : crypto.randomUUID();
  const fileName = String(backing.fileName ?? "");
  const shares = wantedShares(context, device, NORMAL_SHARES);
  const base = { kind: "disk" as const, ...at, mode, uuid, ...(shares.level === "normal" ? {} : { shares }) };
  if (change.fileOperation === undefined) {
    if (!/\.vmdk$/i.test(fileName))
      throw invalidDevice(context, "The backing names no .vmdk file.", "InvalidDeviceBacking");
    const path = environment.normalizePath(fileName);
    return { ...base, path, ...(await environment.inspectDisk(path)) };
  }
  if (change.fileOperation !== "create") {
    throw invalidDeviceOperation(context, "Only create goes with add.", change);
  }
  const taken = new Set([...plan.createDisks, ...plan.devices.filter((d) => d.kind === "disk")].map((d) => d.path));
  const named = /\.vmdk$/i.test(fileName);
  const path = named
    ? environment.normalizePath(fileName)
    : await environment.newDiskPath(fileName || undefined, taken);
  const parent = (backing.parent as DataObject | undefined)?.fileName;
  if (typeof parent !== "string") {
    if (wanted === 0) throw invalidDevice(context, "A new disk needs a capacity.");
    // Disks are thin unless the client wants them otherwise, as on NFS datastores. Eager or lazy, zeros are written at once.
    const thick = backing.thinProvisioned === false || backing.eagerlyScrub === true;
    plan.createDisks.push({ path, parent: undefined, capacityBytes: wanted, thick });
    return { ...base, path, capacityBytes: wanted, parents: [], thick };
  }
  const parentPath = environment.normalizePath(parent);
  const above = await environment.inspectDisk(parentPath);
  if (wanted !== 0 && wanted < above.capacityBytes) {
    throw invalidDevice(context, `A child disk cannot be smaller than its parent (${above.capacityBytes} bytes).`);
  }
  const capacityBytes = Math.max(wanted, above.capacityBytes);
  plan.createDisks.push({ path, parent: parentPath, capacityBytes, thick: false });
  return { ...base, path, capacityBytes, parents: [parentPath, ...above.parents], thick: above.thick };
}

function connectable(device: DataObject, fallback = true) {
  const info = device.connectable as DataObject | undefined;
  return {
    startConnected: (info?.startConnected as boolean | undefined) ?? fallback,
    connected: (info?.connected as boolean | undefined) ?? false,
    allowGuestControl: (info?.allowGuestControl as boolean | undefined) ?? true,
  };
}

async function isoPath(context: ChangeContext, device: DataObject): Promise<string | undefined> {
  const backing = device.backing as DataObject | undefined;
  if (backing?._type === "VirtualCdromIsoBackingInfo") {
    const path = context.environment.normalizePath(String(backing.fileName));
    if (!(await context.environment.exists(path))) {
      throw invalidDevice(context, `The ISO image ${path} was not found.`, "InvalidDeviceBacking");
    }
    return path;
  }
  if (
    backing?._type === "VirtualCdromRemotePassthroughBackingInfo" ||
    // The host's own drive: it has none, so that the VM's drive is empty.
    backing?._type === "VirtualCdromAtapiBackingInfo" ||
    backing?._type === "VirtualCdromRemoteAtapiBackingInfo"
  ) {
    return undefined;
  }
  throw invalidDevice(context, "A CD drive of the lab holds an ISO image or is empty.", "InvalidDeviceBacking");
}

export async function addCdrom(context: ChangeContext, device: DataObject): Promise<Cdrom> {
  const at = place(context, device);
  if (busOf(context.plan.devices, at.controllerKey)?.bus === "scsi") {
    throw invalidController(context, "A CD drive needs an IDE or SATA controller.", at.controllerKey);
  }
  return { kind: "cdrom", ...at, path: await isoPath(context, device), ...connectable(device) };
}

function freeIndex(context: ChangeContext, kind: "nic" | "serial", first: number, limit: number): number {
  const used = new Set(
    context.plan.devices.filter((device) => device.kind === kind).map((device) => device.key - first),
  );
  for (let index = 0; index < limit; index++) if (!used.has(index)) return index;
  throw invalidDevice(
    context,
    `A VM of the lab can have ${limit} ${kind === "nic" ? "network adapters" : "serial ports"}.`,
  );
}

function requireController(context: ChangeContext, device: DataObject, key: number): void {
  if (device.controllerKey === undefined || device.controllerKey === key || (device.controllerKey as number) < 0)
    return;
  throw invalidController(context, `The device belongs on controller ${key}.`, device.controllerKey);
}

function networkOf(context: ChangeContext, device: DataObject): string {
  const backing = device.backing as DataObject | undefined;
  let name: string | undefined;
  if (backing?._type === "VirtualEthernetCardDistributedVirtualPortBackingInfo") {
    const value = (backing.port as DataObject).portgroupKey;
    name = context.environment.networkName({ type: "DistributedVirtualPortgroup", value });
  } else if (backing?._type === "VirtualEthernetCardNetworkBackingInfo") {
    name = String(backing.deviceName ?? "") || context.environment.networkName(backing.network);
  } else {
    throw invalidDevice(
      context,
      `The lab has port groups, not ${backing?._type ?? "nothing"}.`,
      "InvalidDeviceBacking",
    );
  }
  if (name === undefined || !context.environment.hasNetwork(name)) {
    throw invalidDevice(context, `There is no network '${name ?? ""}'.`, "InvalidDeviceBacking");
  }
  return name;
}

function macAddress(context: ChangeContext, device: DataObject, taken: ReadonlySet<string>) {
  const given = typeof device.macAddress === "string" ? device.macAddress.toLowerCase().replaceAll("-", ":") : "";
  if (given === "" || device.addressType === "generated" || (device.addressType === "assigned" && given === "")) {
    return { macAddress: context.environment.newMacAddress(taken), addressType: "assigned" as const };
  }
  // The lowest bit of the first byte marks a multicast address.
  if (!MAC_ADDRESS.test(given) || Number.parseInt(given.slice(0, 2), 16) % 2 === 1 || given === "00:00:00:00:00:00") {
    throw invalidDevice(context, `'${given}' is not the MAC address of one adapter.`);
  }
  return {
    macAddress: given,
    addressType: device.addressType === "assigned" ? ("assigned" as const) : ("manual" as const),
  };
}

export function addNetworkAdapter(context: ChangeContext, device: DataObject): NetworkAdapter {
  requireController(context, device, PCI_KEY);
  const model = NIC_MODELS.get(device._type) ?? "vmxnet3";
  const index = freeIndex(context, "nic", 4000, LIMITS.networkAdapters);
  const taken = new Set(context.plan.devices.flatMap((other) => (other.kind === "nic" ? [other.macAddress] : [])));
  return {
    kind: "nic",
    key: 4000 + index,
    unit: 7 + index,
    model,
    network: networkOf(context, device),
    ...macAddress(context, device, taken),
    wakeOnLan: (device.wakeOnLanEnabled as boolean | undefined) ?? true,
    ...connectable(device),
  };
}

function serialBacking(context: ChangeContext, device: DataObject): SerialBacking {
  const backing = device.backing as DataObject | undefined;
  if (backing?._type === "VirtualSerialPortFileBackingInfo") {
    return { kind: "file", path: context.environment.normalizePath(String(backing.fileName)) };
  }
  if (backing?._type === "VirtualSerialPortURIBackingInfo") {
    const direction = backing.direction;
    if (direction !== "client" && direction !== "server") {
      throw invalidDevice(context, `'${String(direction)}' is no direction of a serial port.`, "InvalidDeviceBacking");
    }
    const proxyUri = typeof backing.proxyURI === "string" && backing.proxyURI !== "" ? backing.proxyURI : undefined;
    return {
      kind: "network",
      serviceUri: String(backing.serviceURI),
      direction,
      ...(proxyUri === undefined ? {} : { proxyUri }),
    };
  }
  throw invalidDevice(context, "A serial port of the lab is backed by a file or by a URI.", "InvalidDeviceBacking");
}

export function addSerialPort(context: ChangeContext, device: DataObject): SerialPort {
  requireController(context, device, SIO_KEY);
  const index = freeIndex(context, "serial", 9000, LIMITS.serialPorts);
  return {
    kind: "serial",
    key: 9000 + index,
    unit: index,
    backing: serialBacking(context, device),
    yieldOnPoll: device.yieldOnPoll === true,
    ...connectable(device),
  };
}

/** Puts the changed device in `found`'s place. */
export async function editDevice(
  context: ChangeContext,
  change: DataObject,
  device: DataObject,
  found: Device,
): Promise<void> {
  if (change.fileOperation !== undefined) {
    throw invalidDeviceOperation(context, "No file operation goes with edit.", change);
  }
  const { plan } = context;
  plan.devices[plan.devices.indexOf(found)] = await edited(context, device, found);
}

async function edited(context: ChangeContext, device: DataObject, found: Device): Promise<Device> {
  switch (found.kind) {
    case "disk":
      return editDisk(context, device, found);
    case "cdrom": {
      const path = device.backing === undefined ? found.path : await isoPath(context, device);
      return { ...found, path, ...editedConnection(device, found) };
    }
    case "nic": {
      const network = device.backing === undefined ? found.network : networkOf(context, device);
      const keep =
        device.macAddress === undefined || device.macAddress === "" || device.macAddress === found.macAddress;
      const mac = keep ? {} : macAddress(context, device, new Set());
      return { ...found, network, ...mac, ...editedConnection(device, found) };
    }
    case "serial": {
      const backing = device.backing === undefined ? found.backing : serialBacking(context, device);
      return { ...found, backing, ...editedConnection(device, found) };
    }
    default:
      // Clients send controllers back as they are; there is nothing of them that could be changed.
      return found;
  }
}

function editedConnection(
  device: DataObject,
  found: { startConnected: boolean; connected: boolean; allowGuestControl: boolean },
) {
  if (device.connectable !== undefined) return connectable(device);
  const { startConnected, connected, allowGuestControl } = found;
  return { startConnected, connected, allowGuestControl };
}

function editDisk(context: ChangeContext, device: DataObject, found: Disk): Disk {
  const backing = device.backing as DataObject | undefined;
  const file = backing?.fileName;
  if (typeof file === "string" && file !== "" && context.environment.normalizePath(file) !== found.path) {
    throw invalidDevice(context, "The file of a disk cannot be changed; remove the disk and add the other.");
  }
  const mode = backing === undefined ? found.mode : diskMode(context, backing);
  const shares = wantedShares(context, device, found.shares ?? NORMAL_SHARES);
  const wanted = capacity(context, device);
  if (wanted !== 0 && wanted < found.capacityBytes) throw invalidDevice(context, "A disk cannot be made smaller.");
  if (wanted <= found.capacityBytes) return { ...found, mode, shares };
  context.plan.extendDisks.push({ path: found.path, capacityBytes: wanted });
  return { ...found, mode, shares, capacityBytes: wanted };
}
