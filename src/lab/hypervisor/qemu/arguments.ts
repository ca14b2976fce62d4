/** From a machine's definition to QEMU's command line. Pure: files and networks are prepared by the caller. */
import type { MachineDefinition, MachineDisk, MachineNetworkAdapter, MachineSerialPort } from "../contract.ts";
import { HypervisorError, isProxied } from "../contract.ts";
import { proxyAddress } from "../serial/proxy-connection.ts";
import {
  type DiskImages,
  diskBlockNode,
  mediumBlockNode,
  type QmpObject,
  type QmpValue,
  scsiDiskDevice,
} from "./block-nodes.ts";
import type { DirectBoot } from "./direct-boot.ts";
import {
  adapterBackend,
  adapterDevice,
  adapterSlot,
  cdromDevice,
  diskDevice,
  diskNode,
  mediumNode,
  nvmeSlot,
  type RunFiles,
  sataSlot,
  scsiSlot,
} from "./naming.ts";

/** COM4 carries guest RPC. */
export const RPCI_SERIAL_UNIT = 3;
/**
 * Baud rate behind divisor 1. QEMU moves bytes as fast as the guest takes them; the rate only sets how long a part-filled FIFO
 * waits before it interrupts. Measured under TCG: 8 KB to the guest in 0.07 s instead of 0.14 s.
 */
const RPCI_BAUD_BASE = 4_000_000;
/** Interrupts of COM1 … COM4. COM3 and COM4 do not share those of COM1 and COM2: QEMU's ISA lines lose interrupts when shared. */
const SERIAL_INTERRUPTS = [4, 3, 5, 7];
/**
 * MiB of translated code per VM under TCG; a full buffer is thrown away and filled anew. A VM fills what it is given, so this is
 * memory against time: a container that runs `true`, from power-on to power-off, took 5.3 s with 32 (216 MiB of the host), 4.4 s
 * with 64 (247 MiB) and 4.0 s with 128 (314 MiB).
 */
const TRANSLATION_BUFFER_MB = 64;
/**
 * Five-level page tables only make emulated page walks longer. `rep movsb` and `rep stosb` are emulated byte by byte: without
 * ERMS and FSRM programs and kernel use wider stores; in runs that took turns the same start took 10 % less.
 */
const EMULATED_CPU = "max,la57=off,erms=off,fsrm=off";
const MAXIMUM_CPUS = 255;
const SCSI_CONTROLLERS = 4;
const SCSI_UNITS = 64;
/** SCSI target of a controller itself, as on ESXi. */
const SCSI_CONTROLLER_UNIT = 7;

export interface LaunchContext {
  files: RunFiles;
  accelerator: "kvm" | "tcg";
  qemuVersion: readonly [number, number];
  disks: readonly DiskImages[];
  /** Name of the tap interface of each network adapter. */
  taps: ReadonlyMap<number, string>;
  /** UEFI firmware and this machine's variables. */
  firmware?: { code: string; variables: string };
  /** Load this kernel instead of what the firmware finds on the first CD-ROM. */
  directBoot?: DirectBoot;
  /** Wait for a saved state instead of starting at the firmware. */
  resuming: boolean;
}

function refuse(message: string): never {
  throw new HypervisorError("GenericVmConfigFault", message);
}

/** A value inside a comma-separated option. */
function escaped(value: string): string {
  if (/[\0\n]/.test(value)) refuse(`${JSON.stringify(value)} cannot be handed to QEMU`);
  return value.replaceAll(",", ",,");
}

function option(head: string, properties: Record<string, string | number | boolean | undefined>): string {
  const parts = Object.entries(properties).flatMap(([key, value]) => {
    if (value === undefined) return [];
    return [`${key}=${typeof value === "boolean" ? (value ? "on" : "off") : escaped(String(value))}`];
  });
  return [head, ...parts].join(",");
}

const json = (value: QmpValue) => JSON.stringify(value);

/** `VMware-56 4d …`: how ESXi derives the system serial number from the BIOS UUID. */
export function vmwareSerialNumber(uuid: string): string {
  const bytes = uuid.replaceAll("-", "").toLowerCase().match(/../g);
  if (bytes?.length !== 16) return refuse(`${JSON.stringify(uuid)} is not a UUID`);
  return `VMware-${bytes.slice(0, 8).join(" ")}-${bytes.slice(8).join(" ")}`;
}

function machineArguments(definition: MachineDefinition, context: LaunchContext): string[] {
  const { cpus, memoryMB } = definition;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAXIMUM_CPUS)
    refuse(`a VM has 1 to ${MAXIMUM_CPUS} CPUs, not ${cpus}`);
  if (!Number.isInteger(memoryMB) || memoryMB < 4) refuse(`a VM needs at least 4 MB of memory, not ${memoryMB}`);
  const machine: Record<string, string | boolean> = {
    usb: false,
    hpet: false,
    vmport: false,
    graphics: false,
    "dump-guest-core": false,
  };
  const firmware: string[] = [];
  if (definition.firmware === "efi") {
    if (context.firmware === undefined)
      return refuse("UEFI firmware is not installed; install the package ovmf, or use BIOS");
    for (const [node, filename, readOnly] of [
      ["firmware-code", context.firmware.code, true],
      ["firmware-variables", context.firmware.variables, false],
    ] as const) {
      firmware.push(
        "-blockdev",
        json({ driver: "raw", "node-name": node, "read-only": readOnly, file: { driver: "file", filename } }),
      );
    }
    machine.pflash0 = "firmware-code";
    machine.pflash1 = "firmware-variables";
  }
  const kvm = context.accelerator === "kvm";
  return [
    ...firmware,
    // i440FX and PIIX are what ESXi shows (440BX); Linux cloud kernels have ata_piix but no AHCI.
    ...["-machine", option("pc", machine)],
    ...["-accel", kvm ? "kvm" : option("tcg", { thread: "multi", "tb-size": TRANSLATION_BUFFER_MB })],
    ...["-cpu", kvm ? "host" : EMULATED_CPU],
    ...["-smp", String(cpus)],
    ...["-m", `${memoryMB}M`],
    ...["-uuid", definition.uuid],
    ...["-smbios", option("type=1", { serial: vmwareSerialNumber(definition.uuid) })],
    ...["-rtc", "base=utc,clock=host"],
    ...["-boot", "menu=off,strict=on"],
  ];
}

const kernelArguments = ({ kernel, initrd, commandLine }: DirectBoot): string[] => [
  ...["-kernel", kernel, "-initrd", initrd, "-append", commandLine],
];

function controllerArguments(definition: MachineDefinition): string[] {
  const devices: QmpObject[] = [];
  for (const controller of definition.scsiControllers) {
    if (controller.bus < 0 || controller.bus >= SCSI_CONTROLLERS)
      refuse(`a VM has SCSI controllers 0 to ${SCSI_CONTROLLERS - 1}`);
    if (controller.model === "lsilogic") {
      // Clients add one to VMs without disks, too, because it is vSphere's default.
      if (!definition.disks.some(({ bus, controller: number }) => bus === "scsi" && number === controller.bus))
        continue;
      refuse("the lab has no LSI Logic parallel controller; use ParaVirtualSCSIController");
    }
    const driver = controller.model === "pvscsi" ? "pvscsi" : "mptsas1068";
    devices.push({ driver, id: `scsi${controller.bus}`, bus: "pci.0", addr: scsiSlot(controller.bus).toString(16) });
  }
  const attached = [...definition.disks, ...definition.cdroms];
  const numbers = (bus: string) =>
    [...new Set(attached.filter((device) => device.bus === bus).map((device) => device.controller))].sort(
      (a, b) => a - b,
    );
  for (const controller of numbers("sata")) {
    if (controller > 3) refuse("a VM has SATA controllers 0 to 3");
    devices.push({
      driver: "ich9-ahci",
      id: `sata${controller}`,
      bus: "pci.0",
      addr: sataSlot(controller).toString(16),
    });
  }
  for (const controller of numbers("nvme")) {
    if (controller > 3) refuse("a VM has NVMe controllers 0 to 3");
    const serial = `VMWare NVME_000${controller}`;
    devices.push({
      driver: "nvme",
      id: `nvme${controller}`,
      bus: "pci.0",
      addr: nvmeSlot(controller).toString(16),
      serial,
    });
  }
  return devices.flatMap((device) => ["-device", json(device)]);
}

/** Bus and address of an IDE or SATA device. */
function ataAddress(device: { bus: string; controller: number; unit: number }): QmpObject {
  if (device.bus === "ide") {
    if (device.controller > 1 || device.unit > 1) refuse("IDE has controllers 0 and 1 with units 0 and 1");
    return { bus: `ide.${device.controller}`, unit: device.unit };
  }
  if (device.unit > 5) refuse("a SATA controller has units 0 to 5 here");
  return { bus: `sata${device.controller}.${device.unit}` };
}

/** Throws when the disk's address is none of its controller's. */
export function checkScsiAddress(disk: MachineDisk, controllers: MachineDefinition["scsiControllers"]): void {
  if (!controllers.some((controller) => controller.bus === disk.controller)) {
    refuse(`disk ${disk.key} is on SCSI controller ${disk.controller}, which the VM does not have`);
  }
  if (disk.unit < 0 || disk.unit >= SCSI_UNITS || disk.unit === SCSI_CONTROLLER_UNIT) {
    refuse(`SCSI unit ${disk.unit} is not one of 0 to ${SCSI_UNITS - 1} without ${SCSI_CONTROLLER_UNIT}`);
  }
}

function diskDeviceArguments(disk: MachineDisk, definition: MachineDefinition, bootIndex: number): QmpObject {
  switch (disk.bus) {
    case "scsi":
      checkScsiAddress(disk, definition.scsiControllers);
      return { ...scsiDiskDevice(disk), bootindex: bootIndex };
    case "nvme":
      return {
        driver: "nvme-ns",
        id: diskDevice(disk.key),
        bus: `nvme${disk.controller}`,
        nsid: disk.unit + 1,
        drive: diskNode(disk.key),
        bootindex: bootIndex,
      };
    default:
      return {
        driver: "ide-hd",
        id: diskDevice(disk.key),
        ...ataAddress(disk),
        drive: diskNode(disk.key),
        bootindex: bootIndex,
      };
  }
}

function storageArguments(
  definition: MachineDefinition,
  images: readonly DiskImages[],
  firstBootIndex: number,
): string[] {
  const words: string[] = [];
  // Firmware tries the CD-ROM first: a container VM boots from it, and an empty drive is passed over.
  let bootIndex = firstBootIndex;
  for (const cdrom of definition.cdroms) {
    const node = mediumNode(cdrom.key, "first");
    if (cdrom.file !== undefined) words.push("-blockdev", json(mediumBlockNode(node, cdrom.file)));
    const device: QmpObject = {
      driver: "ide-cd",
      id: cdromDevice(cdrom.key),
      ...ataAddress(cdrom),
      bootindex: bootIndex++,
    };
    words.push("-device", json(cdrom.file === undefined ? device : { ...device, drive: node }));
  }
  for (const image of images) {
    words.push("-blockdev", json(diskBlockNode(image)));
    words.push("-device", json(diskDeviceArguments(image.disk, definition, bootIndex++)));
  }
  return words;
}

/** netdev_add arguments. QEMU makes the tap itself and it disappears with QEMU. */
export function adapterBackendObject(key: number, tap: string): QmpObject {
  return { type: "tap", id: adapterBackend(key), ifname: tap, script: "no", downscript: "no" };
}

/** device_add arguments of a network adapter. */
export function adapterDeviceObject(adapter: MachineNetworkAdapter, otherKeys: readonly number[]): QmpObject {
  const slot = adapterSlot(adapter.key, otherKeys);
  if (slot === undefined) return refuse("the VM has no PCI slot left for another network adapter");
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(adapter.macAddress)) refuse(`${adapter.macAddress} is not a MAC address`);
  return {
    driver: adapter.model,
    id: adapterDevice(adapter.key),
    netdev: adapterBackend(adapter.key),
    mac: adapter.macAddress,
    bus: "pci.0",
    addr: slot.toString(16),
    // No network boot: without its ROM the firmware does not try.
    romfile: "",
  };
}

function networkArguments(definition: MachineDefinition, taps: ReadonlyMap<number, string>): string[] {
  const keys = definition.networkAdapters.map((adapter) => adapter.key);
  return definition.networkAdapters.flatMap((adapter) => {
    const tap = taps.get(adapter.key);
    if (tap === undefined) return refuse(`network adapter ${adapter.key} has no tap`);
    return [
      "-netdev",
      json(adapterBackendObject(adapter.key, tap)),
      "-device",
      json(adapterDeviceObject(adapter, keys)),
    ];
  });
}

/** Chardev of a network serial port, from a service URI as vSphere has it: `tcp://host:port`, `telnet://:port`. */
function networkChardev(id: string, port: MachineSerialPort, version: readonly [number, number]): string {
  if (port.backing.kind !== "network") throw new Error("not a network backing");
  const { serviceUri, direction } = port.backing;
  const match = /^(tcp|telnet):\/\/(\[[0-9a-fA-F:]+\]|[^:/]*):(\d{1,5})\/?$/.exec(serviceUri);
  if (match === null) {
    return refuse(
      `serial port URI ${JSON.stringify(serviceUri)} is not supported; use tcp://host:port or telnet://host:port`,
    );
  }
  const server = direction === "server";
  const host =
    match[2]?.replace(/^\[|\]$/g, "") || (server ? "0.0.0.0" : refuse(`serial port URI ${serviceUri} names no host`));
  // QEMU 9.2 renamed the option.
  const milliseconds = version[0] > 9 || (version[0] === 9 && version[1] >= 2);
  return option("socket", {
    id,
    host,
    port: match[3],
    server,
    wait: server ? false : undefined,
    telnet: match[1] === "telnet" ? true : undefined,
    nodelay: true,
    ...(server ? {} : milliseconds ? { "reconnect-ms": 1000 } : { reconnect: 1 }),
  });
}

function checkProxy(uri: string): void {
  try {
    proxyAddress(uri);
  } catch (error) {
    refuse(error instanceof Error ? error.message : String(error));
  }
}

function serialChardev(port: MachineSerialPort, context: LaunchContext): string {
  const id = `serial-${port.key}`;
  if (isProxied(port)) {
    // Connected or not: the lab plugs it in and out while the machine runs.
    checkProxy(port.backing.proxyUri);
    return option("socket", { id, path: context.files.serialSocket(port.key), server: true, wait: false });
  }
  if (!port.connected || port.backing.kind === "none") return option("null", { id });
  if (port.backing.kind === "file") return option("file", { id, path: port.backing.file, append: true });
  return networkChardev(id, port, context.qemuVersion);
}

function serialArguments(definition: MachineDefinition, context: LaunchContext): string[] {
  const words: string[] = [];
  for (const port of definition.serialPorts) {
    if (port.unit < 0 || port.unit >= RPCI_SERIAL_UNIT) {
      refuse(
        `the lab offers serial ports COM1 to COM${RPCI_SERIAL_UNIT}; COM${RPCI_SERIAL_UNIT + 1} carries guest RPC`,
      );
    }
    words.push("-chardev", serialChardev(port, context));
    words.push(
      "-device",
      json({
        driver: "isa-serial",
        chardev: `serial-${port.key}`,
        index: port.unit,
        irq: SERIAL_INTERRUPTS[port.unit] ?? 4,
      }),
    );
  }
  words.push("-chardev", option("socket", { id: "rpci", path: context.files.rpciSocket, server: true, wait: false }));
  words.push(
    "-device",
    json({
      driver: "isa-serial",
      chardev: "rpci",
      index: RPCI_SERIAL_UNIT,
      baudbase: RPCI_BAUD_BASE,
      irq: SERIAL_INTERRUPTS[RPCI_SERIAL_UNIT] ?? 3,
    }),
  );
  return words;
}

/** The whole command line without the program's name. Throws HypervisorError for what the lab cannot offer. */
export function qemuArguments(definition: MachineDefinition, context: LaunchContext): string[] {
  const { files } = context;
  return [
    ...["-name", option(`guest=${escaped(definition.id)}`, { "debug-threads": true })],
    ...["-nodefaults", "-no-user-config", "-display", "none"],
    // The guest starts when the lab has recorded the process and connected the networks.
    "-S",
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-pidfile", files.pidFile],
    ...["-msg", "timestamp=on"],
    ...machineArguments(definition, context),
    ...["-chardev", option("socket", { id: "qmp", path: files.qmpSocket, server: true, wait: false })],
    ...["-mon", "chardev=qmp,mode=control"],
    ...["-chardev", option("socket", { id: "qmp-start", path: files.startSocket })],
    ...["-mon", "chardev=qmp-start,mode=control"],
    ...(context.directBoot === undefined ? [] : kernelArguments(context.directBoot)),
    ...controllerArguments(definition),
    // QEMU gives 0 to a kernel that it loads itself.
    ...storageArguments(definition, context.disks, context.directBoot === undefined ? 0 : 1),
    ...networkArguments(definition, context.taps),
    ...serialArguments(definition, context),
    ...(context.resuming ? ["-incoming", "defer"] : []),
  ];
}
