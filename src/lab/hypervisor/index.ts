/** The lab's hypervisor: virtual machines under QEMU, and virtual disks. */
import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import { probeAccelerator } from "./accelerator.ts";
import type { Hypervisor } from "./contract.ts";
import { bridgeName, interfacePrefix } from "./host/interface-names.ts";
import { type HypervisorOptions, QemuHypervisor } from "./hypervisor.ts";
import { DEFAULT_QEMU_BINARY, findQemuVersion } from "./qemu/version.ts";

/** Switch of a new lab. */
export const LAB_SWITCH = "vSwitch0";

/** This machine's interface on a port group of the lab with this state directory: the bridge that the port group is. */
export const portGroupBridge = (stateDirectory: string, portGroup: string): string =>
  bridgeName(interfacePrefix(stateDirectory), portGroup);

export { type Accelerator, probeAccelerator } from "./accelerator.ts";
export { createDiskStore } from "./disks/disk-store.ts";
export type { HypervisorOptions } from "./hypervisor.ts";

/** Throws HypervisorError when QEMU is missing. Machines of an earlier lab process run on until adopt() is called. */
export async function createHypervisor(options: HypervisorOptions): Promise<Hypervisor> {
  const qemuBinary = options.qemuBinary ?? DEFAULT_QEMU_BINARY;
  const runDirectory = resolve(options.runDirectory);
  await mkdir(options.stateDirectory, { recursive: true, mode: 0o700 });
  await mkdir(runDirectory, { recursive: true, mode: 0o700 });
  const version = await findQemuVersion(qemuBinary);
  const accelerator = await probeAccelerator(options.stateDirectory, qemuBinary);
  return new QemuHypervisor(accelerator, { ...options, runDirectory, qemuBinary }, version);
}
