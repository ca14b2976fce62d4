import { invalidArgument, LabFault } from "../fault.ts";
import { DEFAULT_HARDWARE_VERSION } from "./configuration.ts";
import { invalidPowerState } from "./power-control.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/** Hardware versions that the lab runs: they differ in what clients may ask for, not in what QEMU emulates. */
export const HARDWARE_VERSIONS = [10, 11, 13, 14, 15, 17, 18, 19, 20, 21].map((number) => `vmx-${number}`);

const number = (version: string): number => Number(version.replace(/^vmx-/, ""));

/** UpgradeVM: to a newer hardware version, the newest unless one is named. */
export async function upgradeHardware(vm: VirtualMachine, version = DEFAULT_HARDWARE_VERSION): Promise<void> {
  const { configuration } = vm;
  if (vm.powerState !== "poweredOff") throw invalidPowerState("poweredOff", vm.powerState);
  if (!HARDWARE_VERSIONS.includes(version)) {
    throw invalidArgument("version", `'${version}' is none of ${HARDWARE_VERSIONS.join(", ")}.`);
  }
  if (number(version) <= number(configuration.hardwareVersion)) {
    throw new LabFault("AlreadyUpgraded", `The VM has hardware version ${configuration.hardwareVersion} already.`);
  }
  const changes = configuration.changes + 1;
  await vm.store({ ...configuration, hardwareVersion: version, modified: new Date(), changes });
}
