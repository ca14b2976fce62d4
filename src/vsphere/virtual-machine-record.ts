/** A VM's watched properties and what the engine sees of them. */
import type { PowerState, VirtualMachineRecord, VirtualMachineReference } from "./contract.ts";
import type { Networks } from "./networks.ts";
import type {
  AnyValue,
  ElementDescription,
  OptionValue,
  VirtualDevice,
  VirtualMachineQuestionInfo,
} from "./vim25/index.ts";

export const WATCHED_PROPERTIES = [
  "name",
  "config.uuid",
  "config.changeVersion",
  "config.files.vmPathName",
  "config.annotation",
  "config.hardware.numCPU",
  "config.hardware.memoryMB",
  "config.hardware.device",
  "config.extraConfig",
  "runtime.powerState",
  "runtime.connectionState",
  "runtime.question",
];

const OUR_KEYS = /^(?:guestinfo\.)?vch\./;

export type Properties = ReadonlyMap<string, AnyValue>;

/** A VM that vSphere cannot read the configuration of (yet) has empty fields; `connectionState` tells. */
export function virtualMachineRecord(
  reference: VirtualMachineReference,
  properties: Properties,
  networks: Networks,
): VirtualMachineRecord {
  const text = (path: string) => String(properties.get(path) ?? "");
  return {
    reference,
    name: text("name"),
    uuid: text("config.uuid"),
    powerState: (properties.get("runtime.powerState") ?? "poweredOff") as PowerState,
    connectionState: text("runtime.connectionState"),
    question: question(properties.get("runtime.question")),
    changeVersion: text("config.changeVersion"),
    vmPathName: text("config.files.vmPathName"),
    extraConfig: ourOptions(properties.get("config.extraConfig")),
    annotation: text("config.annotation"),
    memoryMB: Number(properties.get("config.hardware.memoryMB") ?? 0),
    cpus: Number(properties.get("config.hardware.numCPU") ?? 0),
    networkAdapters: networkAdapters(properties, networks),
  };
}

function question(value: AnyValue | undefined): VirtualMachineRecord["question"] {
  if (typeof value !== "object" || value === null || !("choice" in value)) return undefined;
  const { id, text, choice, message } = value as VirtualMachineQuestionInfo;
  return {
    id,
    text,
    messages: (message ?? []).map((part) => part.id),
    choices: (choice.choiceInfo as ElementDescription[]).map(({ key, label, summary }) => ({
      key,
      label: String(label),
      summary: String(summary),
    })),
  };
}

export function deviceList(value: AnyValue | undefined): VirtualDevice[] {
  return Array.isArray(value) ? (value as VirtualDevice[]) : [];
}

function ourOptions(value: AnyValue | undefined): Map<string, string> {
  const options = new Map<string, string>();
  if (!Array.isArray(value)) return options;
  for (const { key, value: text } of value as OptionValue[]) {
    if (OUR_KEYS.test(key) && text !== undefined && text !== "") options.set(key, String(text));
  }
  return options;
}

function networkAdapters(properties: Properties, networks: Networks): VirtualMachineRecord["networkAdapters"] {
  const adapters: VirtualMachineRecord["networkAdapters"] = [];
  const powered = properties.get("runtime.powerState") === "poweredOn";
  for (const device of deviceList(properties.get("config.hardware.device"))) {
    if (!("macAddress" in device)) continue;
    adapters.push({
      key: device.key,
      macAddress: device.macAddress?.toLowerCase() ?? "",
      network: networks.nameOf(device.backing) ?? "",
      // Without power nothing is connected: then it counts what will be.
      connected: (powered ? device.connectable?.connected : device.connectable?.startConnected) ?? false,
    });
  }
  return adapters;
}

/** Is a vNIC on a network whose name is not known yet? */
export function hasUnknownNetwork(properties: Properties, networks: Networks): boolean {
  return deviceList(properties.get("config.hardware.device")).some(
    (device) => "macAddress" in device && networks.nameOf(device.backing) === undefined,
  );
}
