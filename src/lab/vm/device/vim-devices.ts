/** Devices as `config.hardware.device` shows them: VMware's types, labels and summaries. */
import { type DataObject, data, type Reference } from "../../model/data.ts";
import {
  type Cdrom,
  childrenOf,
  type Device,
  type Disk,
  IDE_KEYS,
  type NetworkAdapter,
  PCI_KEY,
  SCSI_RESERVED_UNIT,
  type ScsiModel,
  type SerialPort,
  SIO_KEY,
} from "./device.ts";
import { NORMAL_SHARES, vimShares } from "./disk-shares.ts";

/** References that backings carry. */
export interface BackingReferences {
  datastore(path: string): Reference | undefined;
  network(name: string): Reference | undefined;
  /** How a network adapter names a network that is no standard port group. */
  nicBacking(name: string): DataObject | undefined;
}

const SCSI_TYPES: Record<ScsiModel, { type: string; summary: string }> = {
  pvscsi: { type: "ParaVirtualSCSIController", summary: "VMware paravirtual SCSI" },
  lsilogic: { type: "VirtualLsiLogicController", summary: "LSI Logic" },
  lsisas1068: { type: "VirtualLsiLogicSASController", summary: "LSI Logic SAS" },
};
export const SCSI_MODELS: ReadonlyMap<string, ScsiModel> = new Map(
  Object.entries(SCSI_TYPES).map(([model, { type }]) => [type, model as ScsiModel]),
);

/** PCI unit of the first SCSI and SATA controller and of the VMCI device, as ESXi numbers them. */
const SCSI_PCI_UNIT = 3;
const SATA_PCI_UNIT = 24;
const VMCI_PCI_UNIT = 17;

const description = (label: string, summary: string): DataObject => data("Description", { label, summary });

/** All devices, those that every VM has first. */
export function vimDevices(devices: readonly Device[], references: BackingReferences): DataObject[] {
  const numbers = new Map<string, number>();
  const next = (kind: string): number => {
    const number = (numbers.get(kind) ?? 0) + 1;
    numbers.set(kind, number);
    return number;
  };
  const sorted = [...devices].sort((a, b) => a.key - b.key);
  return [...fixedDevices(sorted), ...sorted.map((device) => vimDevice(device, sorted, next, references))];
}

function vimDevice(
  device: Device,
  all: readonly Device[],
  next: (kind: string) => number,
  references: BackingReferences,
): DataObject {
  switch (device.kind) {
    case "scsi":
      return scsiController(all, device.key, device.bus, device.model);
    case "sata":
      return data("VirtualAHCIController", {
        key: device.key,
        deviceInfo: description(`SATA controller ${device.bus}`, "AHCI"),
        controllerKey: PCI_KEY,
        unitNumber: SATA_PCI_UNIT + device.bus,
        busNumber: device.bus,
        device: childrenOf(all, device.key),
      });
    case "disk":
      return disk(device, next("disk"), references);
    case "cdrom":
      return cdrom(device, next("cdrom"), references);
    case "nic":
      return networkAdapter(device, next("nic"), references);
    case "serial":
      return serialPort(device, next("serial"), references);
  }
}

function fixedDevices(devices: readonly Device[]): DataObject[] {
  const onPci = devices.flatMap((device) =>
    "controllerKey" in device || device.kind === "serial" ? [] : [device.key],
  );
  const onSio = devices.filter((device) => device.kind === "serial").map((device) => device.key);
  return [
    ...IDE_KEYS.map((key, bus) =>
      data("VirtualIDEController", {
        key,
        deviceInfo: description(`IDE ${bus}`, `IDE ${bus}`),
        busNumber: bus,
        device: childrenOf(devices, key),
      }),
    ),
    data("VirtualPS2Controller", {
      key: 300,
      deviceInfo: description("PS2 controller 0", "PS2 controller 0"),
      busNumber: 0,
      device: [600, 700],
    }),
    data("VirtualPCIController", {
      key: PCI_KEY,
      deviceInfo: description("PCI controller 0", "PCI controller 0"),
      busNumber: 0,
      device: [500, 12000, ...onPci],
    }),
    data("VirtualSIOController", {
      key: SIO_KEY,
      deviceInfo: description("SIO controller 0", "SIO controller 0"),
      busNumber: 0,
      device: onSio,
    }),
    data("VirtualKeyboard", {
      key: 600,
      deviceInfo: description("Keyboard", "Keyboard"),
      controllerKey: 300,
      unitNumber: 0,
    }),
    data("VirtualPointingDevice", {
      key: 700,
      deviceInfo: description("Pointing device", "Pointing device; Device"),
      backing: data("VirtualPointingDeviceDeviceBackingInfo", {
        deviceName: "",
        useAutoDetect: false,
        hostPointingDevice: "autodetect",
      }),
      controllerKey: 300,
      unitNumber: 1,
    }),
    data("VirtualMachineVideoCard", {
      key: 500,
      deviceInfo: description("Video card ", "Video card"),
      controllerKey: PCI_KEY,
      unitNumber: 0,
      videoRamSizeInKB: 4096,
      numDisplays: 1,
      useAutoDetect: false,
      enable3DSupport: false,
      use3dRenderer: "automatic",
      graphicsMemorySizeInKB: 262144,
    }),
    data("VirtualMachineVMCIDevice", {
      key: 12000,
      deviceInfo: description(
        "VMCI device",
        "Device on the virtual machine PCI bus that provides support for the virtual machine communication interface",
      ),
      controllerKey: PCI_KEY,
      unitNumber: VMCI_PCI_UNIT,
      id: -1,
      allowUnrestrictedCommunication: false,
      filterEnable: true,
    }),
  ];
}

function scsiController(devices: readonly Device[], key: number, bus: number, model: ScsiModel): DataObject {
  const { type, summary } = SCSI_TYPES[model];
  return data(type, {
    key,
    deviceInfo: description(`SCSI controller ${bus}`, summary),
    controllerKey: PCI_KEY,
    unitNumber: SCSI_PCI_UNIT + bus,
    busNumber: bus,
    device: childrenOf(devices, key),
    hotAddRemove: true,
    sharedBus: "noSharing",
    scsiCtlrUnitNumber: SCSI_RESERVED_UNIT,
  });
}

function flatBacking(
  path: string,
  mode: string,
  parents: string[],
  uuid: string | undefined,
  thick: boolean,
  references: BackingReferences,
): DataObject {
  const [parent, ...ancestors] = parents;
  return data("VirtualDiskFlatVer2BackingInfo", {
    fileName: path,
    datastore: references.datastore(path),
    diskMode: mode,
    split: false,
    writeThrough: false,
    thinProvisioned: !(thick && parents.length === 0),
    uuid,
    parent: parent === undefined ? undefined : flatBacking(parent, mode, ancestors, undefined, thick, references),
    digestEnabled: false,
    sharing: "sharingNone",
  });
}

function disk(device: Disk, number: number, references: BackingReferences): DataObject {
  const kilobytes = Math.floor(device.capacityBytes / 1024);
  return data("VirtualDisk", {
    key: device.key,
    deviceInfo: description(`Hard disk ${number}`, `${kilobytes.toLocaleString("en-US")} KB`),
    backing: flatBacking(device.path, device.mode, device.parents, device.uuid, device.thick === true, references),
    controllerKey: device.controllerKey,
    unitNumber: device.unit,
    capacityInKB: kilobytes,
    capacityInBytes: device.capacityBytes,
    ...vimShares(device.shares ?? NORMAL_SHARES),
    diskObjectId: `1-${device.key}`,
    nativeUnmanagedLinkedClone: false,
  });
}

const connectInfo = (device: { startConnected: boolean; connected: boolean; allowGuestControl: boolean }): DataObject =>
  data("VirtualDeviceConnectInfo", {
    startConnected: device.startConnected,
    allowGuestControl: device.allowGuestControl,
    connected: device.connected,
    status: device.connected ? "ok" : "untried",
  });

function cdrom(device: Cdrom, number: number, references: BackingReferences): DataObject {
  const backing =
    device.path === undefined
      ? data("VirtualCdromRemotePassthroughBackingInfo", { deviceName: "", useAutoDetect: false, exclusive: false })
      : data("VirtualCdromIsoBackingInfo", { fileName: device.path, datastore: references.datastore(device.path) });
  return data("VirtualCdrom", {
    key: device.key,
    deviceInfo: description(
      `CD/DVD drive ${number}`,
      device.path === undefined ? "Remote device" : `ISO ${device.path}`,
    ),
    backing,
    connectable: connectInfo(device),
    controllerKey: device.controllerKey,
    unitNumber: device.unit,
  });
}

const NIC_TYPES = { vmxnet3: "VirtualVmxnet3", e1000: "VirtualE1000", e1000e: "VirtualE1000e" } as const;
export const NIC_MODELS: ReadonlyMap<string, NetworkAdapter["model"]> = new Map([
  ["VirtualVmxnet3", "vmxnet3"],
  ["VirtualE1000", "e1000"],
  ["VirtualE1000e", "e1000e"],
]);

function networkAdapter(device: NetworkAdapter, number: number, references: BackingReferences): DataObject {
  const distributed = references.nicBacking(device.network)?.port as DataObject | undefined;
  const summary = distributed === undefined ? device.network : `DVSwitch: ${String(distributed.switchUuid)}`;
  return data(NIC_TYPES[device.model], {
    key: device.key,
    deviceInfo: description(`Network adapter ${number}`, summary),
    backing:
      references.nicBacking(device.network) ??
      data("VirtualEthernetCardNetworkBackingInfo", {
        deviceName: device.network,
        useAutoDetect: false,
        network: references.network(device.network),
      }),
    connectable: connectInfo(device),
    controllerKey: PCI_KEY,
    unitNumber: device.unit,
    addressType: device.addressType,
    macAddress: device.macAddress,
    wakeOnLanEnabled: device.wakeOnLan,
    uptCompatibilityEnabled: device.model === "vmxnet3" ? false : undefined,
  });
}

function serialPort(device: SerialPort, number: number, references: BackingReferences): DataObject {
  const { backing } = device;
  const [vim, summary] =
    backing.kind === "file"
      ? [
          data("VirtualSerialPortFileBackingInfo", {
            fileName: backing.path,
            datastore: references.datastore(backing.path),
          }),
          `File ${backing.path}`,
        ]
      : [
          data("VirtualSerialPortURIBackingInfo", {
            serviceURI: backing.serviceUri,
            direction: backing.direction,
            proxyURI: backing.proxyUri,
          }),
          `Remote ${backing.serviceUri}`,
        ];
  return data("VirtualSerialPort", {
    key: device.key,
    deviceInfo: description(`Serial port ${number}`, summary),
    backing: vim,
    connectable: connectInfo(device),
    controllerKey: SIO_KEY,
    unitNumber: device.unit,
    yieldOnPoll: device.yieldOnPoll,
  });
}
