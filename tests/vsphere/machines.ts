/** What several of the driver's tests need. */
import { type VirtualMachineSpec, type VSphere, VSphereFault } from "../../src/vsphere/index.ts";

/** How long the tests wait for what happens at once on an idle machine. */
export const PATIENCE = 60_000;

/** Name of the fault that the promise is rejected with; "none" when it is not. */
export function faultOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "none",
    (error: unknown) => (error instanceof VSphereFault ? error.fault : String(error)),
  );
}

/** A VM as small as can be, in a directory of its own. */
export function machine(vsphere: VSphere, name: string, extra: Partial<VirtualMachineSpec> = {}): VirtualMachineSpec {
  return {
    name,
    uuid: crypto.randomUUID(),
    annotation: "a container",
    directory: `[${vsphere.files.datastore}] ${name}`,
    cpus: 2,
    memoryMB: 128,
    firmware: "bios",
    disks: [],
    networkAdapters: [],
    serialPorts: [],
    extraConfig: { "guestinfo.vch.config": "{}", "vch.id": name, "other.key": "x" },
    ...extra,
  };
}
