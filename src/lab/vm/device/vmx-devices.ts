/** Devices as `.vmx` entries, with VMware's own keys where there are some. */
import {
  busOf,
  type Cdrom,
  type Device,
  type Disk,
  type DiskMode,
  IDE_KEYS,
  type NetworkAdapter,
  type NetworkAdapterModel,
  type ScsiModel,
  type SerialPort,
  sataKey,
  scsiKey,
  unitKey,
} from "./device.ts";
import { formatShares, parseShares } from "./disk-shares.ts";

type Entries = [string, string][];
const flag = (value: boolean): string => (value ? "TRUE" : "FALSE");

export function writeDevices(devices: readonly Device[]): Entries {
  return devices.flatMap((device) => [...writeDevice(device, devices), ...writeShares(device, devices)]);
}

function writeDevice(device: Device, devices: readonly Device[]): Entries {
  switch (device.kind) {
    case "scsi":
      return fields(`scsi${device.bus}`, { present: "TRUE", virtualDev: device.model });
    case "sata":
      return fields(`sata${device.bus}`, { present: "TRUE" });
    case "disk":
      return fields(slot(devices, device), {
        present: "TRUE",
        deviceType: "disk",
        fileName: device.path,
        mode: device.mode,
        "lab.uuid": device.uuid,
        "lab.capacity": String(device.capacityBytes),
      });
    case "cdrom":
      return fields(slot(devices, device), {
        present: "TRUE",
        deviceType: device.path === undefined ? "atapi-cdrom" : "cdrom-image",
        ...(device.path === undefined ? { clientDevice: "TRUE" } : { fileName: device.path }),
        ...connection(device),
      });
    case "nic":
      return fields(`ethernet${device.key - 4000}`, {
        present: "TRUE",
        virtualDev: device.model,
        networkName: device.network,
        addressType: device.addressType === "manual" ? "static" : "vpx",
        [device.addressType === "manual" ? "address" : "generatedAddress"]: device.macAddress,
        wakeOnPcktRcv: flag(device.wakeOnLan),
        ...connection(device),
      });
    case "serial":
      return fields(`serial${device.key - 9000}`, {
        present: "TRUE",
        ...serialBacking(device),
        yieldOnMsrRead: flag(device.yieldOnPoll),
        ...connection(device),
      });
  }
}

/** ESXi's own key for them. */
const sharesKey = (slotName: string): string => `sched.${slotName}.shares`;

const writeShares = (device: Device, devices: readonly Device[]): Entries =>
  device.kind === "disk" && device.shares !== undefined
    ? [[sharesKey(slot(devices, device)), formatShares(device.shares)]]
    : [];

const fields = (prefix: string, values: Record<string, string>): Entries =>
  Object.entries(values).map(([name, value]) => [`${prefix}.${name}`, value]);

function slot(devices: readonly Device[], device: Disk | Cdrom): string {
  const place = busOf(devices, device.controllerKey);
  return `${place?.bus ?? "scsi"}${place?.controller ?? 0}:${device.unit}`;
}

const connection = (device: { startConnected: boolean; connected: boolean; allowGuestControl: boolean }) => ({
  startConnected: flag(device.startConnected),
  allowGuestConnectionControl: flag(device.allowGuestControl),
  "lab.connected": flag(device.connected),
});

function serialBacking({ backing }: SerialPort): Record<string, string> {
  if (backing.kind === "file") return { fileType: "file", fileName: backing.path };
  const proxy: Record<string, string> = backing.proxyUri === undefined ? {} : { vspc: backing.proxyUri };
  return { fileType: "network", fileName: backing.serviceUri, "network.endPoint": backing.direction, ...proxy };
}

/** Fields that this file writes. Others, such as `pciSlotNumber`, stay with the VM's extraConfig. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  "present",
  "virtualDev",
  "deviceType",
  "fileName",
  "mode",
  "clientDevice",
  "networkName",
  "addressType",
  "address",
  "generatedAddress",
  "wakeOnPcktRcv",
  "fileType",
  "network.endPoint",
  "vspc",
  "yieldOnMsrRead",
  "startConnected",
  "allowGuestConnectionControl",
  "lab.connected",
  "lab.uuid",
  "lab.capacity",
]);

/** In the group of a disk's entries, the value of its `sched.` key. */
const SHARES = "sched.shares";
const SHARES_ENTRY = /^sched\.((?:scsi|sata|ide)\d:\d+)\.shares$/;
const DEVICE_ENTRY = /^((?:scsi|sata|ide)\d:\d+|(?:scsi|sata|ethernet|serial)\d+)\.(.+)$/;

/** Takes the device entries out of `entries`. Devices that the lab does not offer are left there. */
export function readDevices(entries: Map<string, string>): Device[] {
  const groups = new Map<string, Map<string, string>>();
  for (const [key, value] of entries) {
    const shares = SHARES_ENTRY.exec(key)?.[1];
    const match = shares === undefined ? DEVICE_ENTRY.exec(key) : [key, shares, SHARES];
    if (!match?.[1] || !match[2]) continue;
    const group = groups.get(match[1]) ?? new Map<string, string>();
    groups.set(match[1], group.set(match[2], value));
  }
  const devices: Device[] = [];
  const take = (name: string, device: Device | undefined): void => {
    if (!device) return;
    devices.push(device);
    for (const field of OWN_FIELDS) entries.delete(`${name}.${field}`);
    if (device.kind === "disk") entries.delete(sharesKey(name));
  };
  const present = [...groups].filter(([, group]) => group.get("present")?.toUpperCase() === "TRUE");
  for (const [name, group] of present) take(name, readController(name, group));
  for (const [name, group] of present) take(name, readPart(name, group, devices));
  return devices;
}

function readController(name: string, group: Map<string, string>): Device | undefined {
  const match = /^(scsi|sata)(\d)$/.exec(name);
  const bus = Number(match?.[2]);
  if (match?.[1] === "scsi") {
    const model = group.get("virtualDev") ?? "lsilogic";
    if (!["pvscsi", "lsilogic", "lsisas1068"].includes(model)) return undefined;
    return { kind: "scsi", key: scsiKey(bus), bus, model: model as ScsiModel };
  }
  return match ? { kind: "sata", key: sataKey(bus), bus } : undefined;
}

function readPart(name: string, group: Map<string, string>, devices: Device[]): Device | undefined {
  const at = /^(scsi|sata|ide)(\d):(\d+)$/.exec(name);
  if (at) {
    const number = Number(at[2]);
    const controllerKey = at[1] === "scsi" ? scsiKey(number) : at[1] === "sata" ? sataKey(number) : IDE_KEYS[number];
    const place = controllerKey === undefined ? undefined : busOf(devices, controllerKey);
    if (!place || controllerKey === undefined) return undefined;
    const unit = Number(at[3]);
    const base = { key: unitKey(place, unit), controllerKey, unit };
    if (/cdrom/.test(group.get("deviceType") ?? "")) return readCdrom(base, group);
    const shares = group.get(SHARES);
    const disk = readDisk(base, group);
    return disk && shares !== undefined ? { ...disk, shares: parseShares(shares) } : disk;
  }
  const index = Number(/\d+$/.exec(name)?.[0]);
  if (name.startsWith("ethernet")) return readNetworkAdapter(index, group);
  return name.startsWith("serial") ? readSerial(index, group) : undefined;
}

interface Place {
  key: number;
  controllerKey: number;
  unit: number;
}

const isTrue = (value: string | undefined, fallback: boolean): boolean =>
  value === undefined ? fallback : value.toUpperCase() === "TRUE";

const readConnection = (group: Map<string, string>) => ({
  startConnected: isTrue(group.get("startConnected"), true),
  allowGuestControl: isTrue(group.get("allowGuestConnectionControl"), true),
  connected: isTrue(group.get("lab.connected"), false),
});

function readDisk(place: Place, group: Map<string, string>): Disk | undefined {
  const path = group.get("fileName");
  if (path === undefined) return undefined;
  return {
    kind: "disk",
    ...place,
    path,
    mode: (group.get("mode") ?? "persistent") as DiskMode,
    capacityBytes: Number(group.get("lab.capacity") ?? 0),
    // Read from the disk itself when the VM is loaded.
    parents: [],
    uuid: group.get("lab.uuid") ?? crypto.randomUUID(),
  };
}

function readCdrom(place: Place, group: Map<string, string>): Cdrom {
  return { kind: "cdrom", ...place, path: group.get("fileName"), ...readConnection(group) };
}

function readNetworkAdapter(index: number, group: Map<string, string>): NetworkAdapter | undefined {
  const model = group.get("virtualDev") ?? "e1000";
  const network = group.get("networkName");
  const macAddress = group.get("address") ?? group.get("generatedAddress");
  if (!["vmxnet3", "e1000", "e1000e"].includes(model) || network === undefined || macAddress === undefined) {
    return undefined;
  }
  return {
    kind: "nic",
    key: 4000 + index,
    unit: 7 + index,
    model: model as NetworkAdapterModel,
    network,
    macAddress,
    addressType: group.has("address") ? "manual" : "assigned",
    wakeOnLan: isTrue(group.get("wakeOnPcktRcv"), true),
    ...readConnection(group),
  };
}

function readSerial(index: number, group: Map<string, string>): SerialPort | undefined {
  const target = group.get("fileName");
  const type = group.get("fileType");
  if (target === undefined || (type !== "file" && type !== "network")) return undefined;
  const proxyUri = group.get("vspc");
  return {
    kind: "serial",
    key: 9000 + index,
    unit: index,
    backing:
      type === "file"
        ? { kind: "file", path: target }
        : {
            kind: "network",
            serviceUri: target,
            direction: group.get("network.endPoint") === "client" ? "client" : "server",
            ...(proxyUri === undefined ? {} : { proxyUri }),
          },
    yieldOnPoll: isTrue(group.get("yieldOnMsrRead"), true),
    ...readConnection(group),
  };
}

/** Does the key of an extraConfig entry belong to a device's own settings? Those change through deviceChange only. */
export function isDeviceEntry(key: string): boolean {
  const match = DEVICE_ENTRY.exec(key);
  return match?.[2] !== undefined && OWN_FIELDS.has(match[2]);
}
