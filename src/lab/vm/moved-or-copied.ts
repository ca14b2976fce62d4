import { createHash, randomUUID } from "node:crypto";
import { LabFault } from "../fault.ts";
import type { Configuration } from "./configuration.ts";
import { Question } from "./question.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

const CANCEL = "0";
const MOVED = "1";
const COPIED = "2";
const TEXT =
  "This virtual machine might have been moved or copied. In order to configure certain management and networking features, it must be known which. If you don't know, answer that it was copied.";

/** `uuid.location`: where the `.vmx` lay when the VM got its UUID. */
export function locationUuid(vmPathName: string): string {
  const hex = createHash("sha256").update(vmPathName).digest("hex");
  return `564d${hex.slice(0, 4)}-${hex.slice(4, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 28)}`;
}

/**
 * Before a VM is powered on whose files lie elsewhere than when it got its UUID, it asks what happened: a copy gets a new UUID and new
 * generated MAC addresses, a moved VM keeps them. `uuid.action` in the configuration (`create`, `keep`) answers in advance.
 */
export async function settleIdentity(vm: VirtualMachine): Promise<void> {
  const { configuration } = vm;
  const location = locationUuid(vm.vmPathName);
  if (configuration.locationUuid === undefined || configuration.locationUuid === location) return;
  const answer = ANSWERED[configuration.extraConfig.get("uuid.action") ?? ""] ?? (await vm.ask(question()));
  if (answer === CANCEL) throw new LabFault("RequestCanceled", "Powering on was canceled: the VM was moved or copied.");
  const kept: Configuration = { ...vm.configuration, locationUuid: location };
  await vm.store(answer === COPIED ? copied(vm, kept) : kept);
}

const ANSWERED: Readonly<Record<string, string>> = { create: COPIED, keep: MOVED };

const question = (): Question =>
  new Question(
    "msg.uuid.altered",
    TEXT,
    [
      { key: CANCEL, label: "button.uuid.cancel", summary: "Cancel" },
      { key: MOVED, label: "button.uuid.movedTheVM", summary: "I Moved It" },
      { key: COPIED, label: "button.uuid.copiedTheVM", summary: "I Copied It" },
    ],
    2,
  );

function copied(vm: VirtualMachine, configuration: Configuration): Configuration {
  const taken = new Set<string>();
  const devices = configuration.devices.map((device) => {
    if (device.kind !== "nic" || device.addressType === "manual") return device;
    const macAddress = vm.context.inventory.newMacAddress(taken, vm);
    taken.add(macAddress);
    return { ...device, macAddress };
  });
  return {
    ...configuration,
    uuid: randomUUID(),
    devices,
    modified: new Date(),
    changes: configuration.changes + 1,
  };
}
