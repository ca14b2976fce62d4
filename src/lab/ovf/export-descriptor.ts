/** The OVF descriptor of a VM, in the form that VMware's products read. */
import type { DataObject } from "../model/data.ts";
import { busOf, type Device, type Disk, type NetworkAdapter } from "../vm/device/device.ts";
import { disksOf } from "../vm/device/device-changes.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`).replace(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, "");

const SCSI = { pvscsi: "VirtualSCSI", lsilogic: "lsilogic", lsisas1068: "lsilogicsas" } as const;
const NICS = { vmxnet3: "VmxNet3", e1000: "E1000", e1000e: "E1000e" } as const;

/** Name of a disk in the package and in the lease. */
export const diskDeviceId = (vm: VirtualMachine, devices: readonly Device[], disk: Disk): string => {
  const place = busOf(devices, disk.controllerKey);
  const types = { scsi: "VirtualSCSIController", sata: "VirtualAHCIController", ide: "VirtualIDEController" };
  return `/${vm.reference.value}/${types[place?.bus ?? "scsi"]}${place?.controller ?? 0}:${disk.unit}`;
};

export const exportedFileName = (index: number): string => `disk-${index}.vmdk`;

/** @param files OvfFile[]: what the client has downloaded */
export function ovfDescriptor(
  vm: VirtualMachine,
  files: readonly DataObject[],
  name: string,
  description: string,
): string {
  const { configuration } = vm;
  const disks = disksOf(configuration.devices);
  const items: string[] = [];
  let instance = 0;
  const ids = new Map<number, number>();
  const item = (fields: Record<string, string | number | undefined>): number => {
    const id = ++instance;
    // CIM wants the properties in the order of their names.
    const sorted = Object.entries({ ...fields, InstanceID: id }).sort(([a], [b]) => (a < b ? -1 : 1));
    const body = sorted.flatMap(([key, value]) =>
      value === undefined ? [] : [`<rasd:${key}>${escaped(String(value))}</rasd:${key}>`],
    );
    items.push(`      <Item>${body.join("")}</Item>`);
    return id;
  };
  item({
    ResourceType: 3,
    ElementName: `${configuration.cpus} virtual CPU(s)`,
    VirtualQuantity: configuration.cpus,
    AllocationUnits: "hertz * 10^6",
  });
  item({
    ResourceType: 4,
    ElementName: `${configuration.memoryMB}MB of memory`,
    VirtualQuantity: configuration.memoryMB,
    AllocationUnits: "byte * 2^20",
  });
  for (const device of configuration.devices) {
    if (device.kind === "scsi") {
      ids.set(
        device.key,
        item({
          ResourceType: 6,
          ElementName: `SCSI Controller ${device.bus}`,
          ResourceSubType: SCSI[device.model],
          Address: device.bus,
        }),
      );
    } else if (device.kind === "sata") {
      ids.set(
        device.key,
        item({
          ResourceType: 20,
          ElementName: `SATA Controller ${device.bus}`,
          ResourceSubType: "vmware.sata.ahci",
          Address: device.bus,
        }),
      );
    }
  }
  for (const key of [200, 201]) {
    if (!configuration.devices.some((device) => "controllerKey" in device && device.controllerKey === key)) continue;
    ids.set(key, item({ ResourceType: 5, ElementName: `IDE ${key - 200}`, Address: key - 200 }));
  }
  for (const [index, disk] of disks.entries()) {
    item({
      ResourceType: 17,
      ElementName: `Hard disk ${index + 1}`,
      HostResource: `ovf:/disk/vmdisk${index + 1}`,
      Parent: ids.get(disk.controllerKey),
      AddressOnParent: disk.unit,
    });
  }
  const adapters = configuration.devices.filter((device): device is NetworkAdapter => device.kind === "nic");
  for (const [index, adapter] of adapters.entries()) {
    item({
      ResourceType: 10,
      ElementName: `Network adapter ${index + 1}`,
      ResourceSubType: NICS[adapter.model],
      Connection: adapter.network,
      AutomaticAllocation: "true",
      AddressOnParent: adapter.unit,
    });
  }
  for (const device of configuration.devices) {
    if (device.kind !== "cdrom") continue;
    item({
      ResourceType: 15,
      ElementName: "CD/DVD drive",
      Parent: ids.get(device.controllerKey),
      AddressOnParent: device.unit,
      AutomaticAllocation: "false",
    });
  }
  const fileOf = (disk: Disk): DataObject | undefined =>
    files.find(({ deviceId }) => deviceId === diskDeviceId(vm, configuration.devices, disk));
  const references = disks.map((disk, index) => {
    const file = fileOf(disk);
    const href = String(file?.path ?? exportedFileName(index));
    const size = file?.size === undefined ? "" : ` ovf:size="${Number(file.size)}"`;
    return `    <File ovf:href="${escaped(href)}" ovf:id="file${index + 1}"${size}/>`;
  });
  const section = disks.map(
    (disk, index) =>
      `    <Disk ovf:capacity="${disk.capacityBytes}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk${index + 1}" ovf:fileRef="file${index + 1}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>`,
  );
  const networks = [...new Set(adapters.map(({ network }) => network))].map(
    (network) =>
      `    <Network ovf:name="${escaped(network)}"><Description>The ${escaped(network)} network</Description></Network>`,
  );
  const annotation = description || configuration.annotation;
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
${references.join("\n")}
  </References>
  <DiskSection>
    <Info>Virtual disk information</Info>
${section.join("\n")}
  </DiskSection>
  <NetworkSection>
    <Info>The list of logical networks</Info>
${networks.join("\n")}
  </NetworkSection>
  <VirtualSystem ovf:id="${escaped(name)}">
    <Info>A virtual machine</Info>
    <Name>${escaped(name)}</Name>
    <OperatingSystemSection ovf:id="1" vmw:osType="${escaped(configuration.guestId)}"><Info>The kind of installed guest operating system</Info></OperatingSystemSection>
    <AnnotationSection><Info>A human-readable annotation</Info><Annotation>${escaped(annotation)}</Annotation></AnnotationSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System><vssd:ElementName>Virtual Hardware Family</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemIdentifier>${escaped(name)}</vssd:VirtualSystemIdentifier><vssd:VirtualSystemType>${configuration.hardwareVersion}</vssd:VirtualSystemType></System>
${items.join("\n")}
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="${configuration.firmware}"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`;
}
