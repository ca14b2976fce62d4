/** From an OVF descriptor to the specification of a VM. One virtual system, virtual hardware as VMware's products write it. */
import { LabFault, localizedFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Datastore } from "../inventory/datastore.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { specDiskIds } from "./device-ids.ts";
import { childNamed, childrenNamed, type Element, parseXml, textOf } from "./xml-tree.ts";

const DEVICE_LIMIT = 256;
/** CIM resource types. */
const RESOURCE = { cpu: 3, memory: 4, ide: 5, scsi: 6, ethernet: 10, cdrom: 15, dvd: 16, disk: 17, sata: 20 } as const;
/** Devices that every VM of the lab has, or that need nothing. */
const IGNORED: ReadonlySet<number> = new Set([1, 23, 24]);
const SCSI: Readonly<Record<string, string>> = {
  virtualscsi: "ParaVirtualSCSIController",
  lsilogic: "VirtualLsiLogicController",
  lsilogicsas: "VirtualLsiLogicSASController",
};
const NICS: Readonly<Record<string, string>> = {
  vmxnet3: "VirtualVmxnet3",
  e1000: "VirtualE1000",
  e1000e: "VirtualE1000e",
};
const KIBIBYTE = 1024;

const invalid = (why: string): LabFault =>
  new LabFault("OvfInvalidPackage", `The OVF descriptor is not valid: ${why}`, { lineNumber: 0 });

/** `byte * 2^20` and the like as bytes. */
function unitBytes(text: string | undefined): number {
  const match = /^\s*byte\s*(?:\*\s*2\s*\^\s*(\d{1,2}))?\s*$/i.exec(text ?? "byte");
  if (match) return 2 ** Number(match[1] ?? 0);
  const names: Readonly<Record<string, number>> = { kilobytes: 2 ** 10, megabytes: 2 ** 20, gigabytes: 2 ** 30 };
  const unit = names[(text ?? "").toLowerCase()];
  if (unit === undefined) throw invalid(`the unit '${text}' is not known`);
  return unit;
}

function positive(text: string | undefined, what: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value <= 0) throw invalid(`${what} is '${text ?? ""}'`);
  return value;
}

/** CreateImportSpec. What is wrong with the package is told in the result, as vSphere does. */
export function createImportSpec(
  context: LabContext,
  descriptor: string,
  datastore: Datastore,
  params: DataObject,
): DataObject {
  try {
    return readPackage(context, descriptor, datastore, params);
  } catch (error) {
    if (!(error instanceof LabFault)) throw error;
    return data("OvfCreateImportSpecResult", { error: [localizedFault(error)] });
  }
}

function readPackage(context: LabContext, descriptor: string, datastore: Datastore, params: DataObject): DataObject {
  const envelope = parseXml(descriptor);
  if (envelope.name !== "Envelope") throw invalid(`it begins with ${envelope.name}`);
  if (childNamed(envelope, "VirtualSystemCollection")) {
    throw new LabFault("OvfUnsupportedPackage", "The lab imports packages of one VM, not vApps.", { lineNumber: 0 });
  }
  const system = childNamed(envelope, "VirtualSystem");
  const hardware = childNamed(system, "VirtualHardwareSection");
  if (!system || !hardware) throw invalid("it has no VirtualSystem with a VirtualHardwareSection");
  const name = String(params.entityName ?? "") || textOf(system, "Name") || (system.attributes.get("id") ?? "vm");
  const reader = new HardwareReader(context, envelope, hardware, params);
  const configSpec = data("VirtualMachineConfigSpec", {
    name,
    files: data("VirtualMachineFileInfo", { vmPathName: `[${datastore.folder.name}]` }),
    guestId: guestIdOf(system),
    annotation: textOf(childNamed(system, "AnnotationSection"), "Annotation"),
    ...reader.settings(),
    deviceChange: reader.devices(),
  });
  const ids = specDiskIds(configSpec);
  const fileItem = reader.diskFiles.flatMap((file, index) => {
    const id = ids[index]?.id;
    if (file === undefined || id === undefined) return [];
    const { href, size } = file;
    return [data("OvfFileItem", { deviceId: id, path: href, size, cimType: RESOURCE.disk, create: false })];
  });
  return data("OvfCreateImportSpecResult", {
    importSpec: data("VirtualMachineImportSpec", { configSpec }),
    fileItem,
    warning: reader.warnings.map(localizedFault),
  });
}

function guestIdOf(system: Element): string | undefined {
  const id = childNamed(system, "OperatingSystemSection")?.attributes.get("osType");
  return id !== undefined && /^[A-Za-z][A-Za-z0-9_]*Guest(64)?$/.test(id) ? id : undefined;
}

class HardwareReader {
  readonly warnings: LabFault[] = [];
  /** The file of each disk, in the order of the disks; undefined for an empty disk. */
  readonly diskFiles: ({ href: string; size: number | undefined } | undefined)[] = [];
  readonly #items: Element[];
  readonly #keys = new Map<string, number>();

  constructor(
    private readonly context: LabContext,
    private readonly envelope: Element,
    hardware: Element,
    private readonly params: DataObject,
  ) {
    this.#items = hardware.children.filter(({ name }) => ["Item", "StorageItem", "EthernetPortItem"].includes(name));
    if (this.#items.length > DEVICE_LIMIT) throw invalid(`it has more than ${DEVICE_LIMIT} devices`);
    for (const [index, item] of this.#items.entries()) this.#keys.set(textOf(item, "InstanceID") ?? "", -100 - index);
    for (const config of childrenNamed(hardware, "Config")) {
      if (config.attributes.get("key") === "firmware") this.#firmware = config.attributes.get("value");
    }
    const provisioning = params.diskProvisioning;
    if (typeof provisioning === "string" && /thick|flat/i.test(provisioning)) {
      const why = `Imported disks are thin; '${provisioning}' is not heeded.`;
      this.warnings.push(new LabFault("OvfUnsupportedPackage", why, { lineNumber: 0 }));
    }
  }
  #firmware: string | undefined;

  settings(): Record<string, unknown> {
    const settings: Record<string, unknown> = {};
    if (this.#firmware === "efi" || this.#firmware === "bios") settings.firmware = this.#firmware;
    for (const item of this.#items) {
      const type = Number(textOf(item, "ResourceType"));
      const quantity = textOf(item, "VirtualQuantity");
      if (type === RESOURCE.cpu) settings.numCPUs = positive(quantity, "the number of CPUs");
      if (type === RESOURCE.memory) {
        const bytes = positive(quantity, "the memory") * unitBytes(textOf(item, "AllocationUnits") ?? "byte * 2^20");
        settings.memoryMB = Math.ceil(bytes / 2 ** 20);
      }
    }
    return settings;
  }

  devices(): DataObject[] {
    const counts = new Map<string, number>();
    const nextBus = (kind: string): number => {
      const bus = counts.get(kind) ?? 0;
      counts.set(kind, bus + 1);
      return bus;
    };
    const changes: DataObject[] = [];
    const add = (device: DataObject, fileOperation?: string): void => {
      changes.push(data("VirtualDeviceConfigSpec", { operation: "add", fileOperation, device }));
    };
    // Controllers come before what is on them.
    const isController = (item: Element): boolean => ["5", "6", "20"].includes(textOf(item, "ResourceType") ?? "");
    const ordered = [...this.#items.filter(isController), ...this.#items.filter((item) => !isController(item))];
    for (const item of ordered) {
      const key = this.#keys.get(textOf(item, "InstanceID") ?? "");
      const type = Number(textOf(item, "ResourceType"));
      const subtype = (textOf(item, "ResourceSubType") ?? "").toLowerCase().split(/\s+/)[0] ?? "";
      if (type === RESOURCE.cpu || type === RESOURCE.memory || IGNORED.has(type)) continue;
      if (type === RESOURCE.ide) add(data("VirtualIDEController", { key, busNumber: nextBus("ide") }));
      else if (type === RESOURCE.scsi) {
        const model = SCSI[subtype === "" ? "lsilogic" : subtype];
        if (model === undefined) this.#unsupported(item);
        else add(data(model, { key, busNumber: nextBus("scsi"), sharedBus: "noSharing" }));
      } else if (type === RESOURCE.sata) add(data("VirtualAHCIController", { key, busNumber: nextBus("sata") }));
      else if (type === RESOURCE.disk) add(this.#disk(item, key), "create");
      else if (type === RESOURCE.ethernet) add(this.#adapter(item, key, subtype));
      else if (type === RESOURCE.cdrom || type === RESOURCE.dvd) add(this.#drive(item, key));
      else this.#unsupported(item);
    }
    return changes;
  }

  #unsupported(item: Element): void {
    const what = textOf(item, "ElementName") ?? textOf(item, "ResourceSubType") ?? "a device";
    if (childNamed(item, "Connection") || textOf(item, "ResourceType") === "6") {
      throw new LabFault("OvfUnsupportedPackage", `The lab has no '${what}'.`, { lineNumber: 0 });
    }
    this.warnings.push(
      new LabFault("OvfUnsupportedPackage", `'${what}' is left out: the lab has no such device.`, { lineNumber: 0 }),
    );
  }

  #place(item: Element): { controllerKey: number | undefined; unitNumber: number } {
    const controllerKey = this.#keys.get(textOf(item, "Parent") ?? "");
    return { controllerKey, unitNumber: Number(textOf(item, "AddressOnParent") ?? 0) };
  }

  #disk(item: Element, key: number | undefined): DataObject {
    const id = /^(?:ovf:)?\/?\/?disk\/(.+)$/.exec(textOf(item, "HostResource") ?? "")?.[1];
    const disk = childrenNamed(childNamed(this.envelope, "DiskSection"), "Disk").find(
      ({ attributes }) => attributes.get("diskId") === id,
    );
    if (!disk) throw invalid(`the disk '${textOf(item, "HostResource") ?? ""}' is not in the DiskSection`);
    const { attributes } = disk;
    const bytes =
      positive(attributes.get("capacity"), "a disk's capacity") * unitBytes(attributes.get("capacityAllocationUnits"));
    const file = childrenNamed(childNamed(this.envelope, "References"), "File").find(
      (known) => known.attributes.get("id") === attributes.get("fileRef"),
    );
    const href = file?.attributes.get("href");
    if (attributes.has("fileRef") && href === undefined)
      throw invalid(`the file of disk '${id}' is not in the References`);
    const size = file?.attributes.get("size");
    this.diskFiles.push(href === undefined ? undefined : { href, size: size === undefined ? undefined : Number(size) });
    return data("VirtualDisk", {
      key,
      backing: data("VirtualDiskFlatVer2BackingInfo", { fileName: "", diskMode: "persistent", thinProvisioned: true }),
      ...this.#place(item),
      capacityInKB: Math.ceil(bytes / KIBIBYTE),
    });
  }

  #adapter(item: Element, key: number | undefined, subtype: string): DataObject {
    const wanted = textOf(item, "Connection") ?? "";
    const mapping = ((this.params.networkMapping as DataObject[] | undefined) ?? []).find(
      ({ name }) => name === wanted,
    );
    const { networks } = this.context.inventory;
    const mapped = networks.find(
      ({ reference }) => reference.value === (mapping?.network as Reference | undefined)?.value,
    );
    const network = mapped ?? networks.find(({ name }) => name === wanted) ?? networks[0];
    if (!network) throw invalid(`there is no network for '${wanted}'`);
    return data(NICS[subtype] ?? "VirtualE1000", {
      key,
      backing: network.nicBacking(),
      connectable: data("VirtualDeviceConnectInfo", {
        startConnected: true,
        allowGuestControl: true,
        connected: false,
      }),
    });
  }

  #drive(item: Element, key: number | undefined): DataObject {
    return data("VirtualCdrom", {
      key,
      backing: data("VirtualCdromRemotePassthroughBackingInfo", { deviceName: "", exclusive: false }),
      ...this.#place(item),
    });
  }
}
