/** Names of a VM's disks in an OVF package and in its lease: `/vm/ParaVirtualSCSIController0:1`. */
import type { DataObject } from "../model/data.ts";

/** Disks that a configuration specification creates, with the names that its file items have. */
export function specDiskIds(spec: DataObject): { id: string; capacityKB: number }[] {
  const changes = (spec.deviceChange as DataObject[] | undefined) ?? [];
  const devices = changes.map((change) => change.device as DataObject);
  const controllers = new Map(devices.map((device) => [device.key as number, device]));
  return devices.flatMap((device) => {
    if (device._type !== "VirtualDisk") return [];
    const controller = controllers.get(device.controllerKey as number);
    const type = controller?._type ?? "VirtualIDEController";
    const bus = Number(controller?.busNumber ?? 0);
    const id = `/${String(spec.name)}/${type}${bus}:${Number(device.unitNumber ?? 0)}`;
    return [{ id, capacityKB: Number(device.capacityInKB) }];
  });
}
