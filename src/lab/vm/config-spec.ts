/** Applies the plain settings of a VirtualMachineConfigSpec; devices are planned apart. */
import { type Long, toNumber } from "../../vsphere/vim25/index.ts";
import { invalidArgument, LabFault, notSupported } from "../fault.ts";
import { mergeAllocation } from "../inventory/allocation.ts";
import { type DataObject, isDataObject } from "../model/data.ts";
import type { Configuration } from "./configuration.ts";
import { mergeExtraConfig } from "./extra-config.ts";

/** Largest VM: what vSphere 8 allows. */
const MEMORY_LIMIT_MB = 6128 * 1024;
const MEMORY_STEP_MB = 4;
const CPU_LIMIT = 128;
const ANNOTATION_LIMIT = 64 * 1024;
/** Hardware versions that the lab's machines look like. */
const HARDWARE_VERSIONS = { min: 7, max: 21 };

/** Recorded and reported, because they change nothing about a machine under QEMU. */
const RECORDED = new Set([
  "flags",
  "tools",
  "powerOpInfo",
  "bootOptions",
  "managedBy",
  "swapPlacement",
  "latencySensitivity",
]);
/** Features that QEMU machines of the lab do not have: only `false` can be meant. */
const MUST_BE_FALSE = new Set([
  "memoryHotAddEnabled",
  "cpuHotAddEnabled",
  "cpuHotRemoveEnabled",
  "nestedHVEnabled",
  "vPMCEnabled",
  "changeTrackingEnabled",
  "guestAutoLockEnabled",
  "vAssertsEnabled",
  "virtualICH7MPresent",
  "virtualSMCPresent",
  "memoryReservationLockedToMax",
  "npivTemporaryDisabled",
  "messageBusTunnelEnabled",
  "rebootPowerOff",
  "sevEnabled",
]);
const APPLIED = new Set([
  "_type",
  "changeVersion",
  "name",
  "version",
  "createDate",
  "uuid",
  "instanceUuid",
  "guestId",
  "annotation",
  "files",
  "numCPUs",
  "numCoresPerSocket",
  "memoryMB",
  "deviceChange",
  "cpuAllocation",
  "memoryAllocation",
  "extraConfig",
  "firmware",
]);
/** These can change while the VM runs. */
const ONLINE = new Set([
  "_type",
  "changeVersion",
  "name",
  "annotation",
  "deviceChange",
  "cpuAllocation",
  "memoryAllocation",
  "extraConfig",
  "files",
]);

/** Refuses what the lab cannot do, instead of ignoring it. */
export function refuseUnknownSettings(spec: DataObject): void {
  for (const [name, value] of Object.entries(spec)) {
    if (APPLIED.has(name) || RECORDED.has(name) || (Array.isArray(value) && value.length === 0)) continue;
    if (MUST_BE_FALSE.has(name) && value === false) continue;
    throw notSupported(`the lab's VMs have no setting '${name}'; leave it out of the configuration.`);
  }
}

/** Refuses a change that needs the VM to be powered off. */
export function refuseOfflineSettings(spec: DataObject, state: "poweredOn" | "suspended"): void {
  for (const name of Object.keys(spec)) {
    if (
      ONLINE.has(name) &&
      !(state === "suspended" && name === "deviceChange" && (spec.deviceChange as unknown[]).length > 0)
    ) {
      continue;
    }
    if (RECORDED.has(name)) continue;
    throw new LabFault(
      "InvalidPowerState",
      `The attempted operation cannot be performed in the current state (${state === "poweredOn" ? "Powered on" : "Suspended"}): '${name}' can change only while the VM is powered off.`,
      { requestedState: "poweredOff", existingState: state },
    );
  }
}

/** The configuration with the spec's plain settings. Name and devices are the caller's business. */
export function applySettings(before: Configuration, spec: DataObject): Configuration {
  const cpus = integer(spec, "numCPUs", 1, CPU_LIMIT) ?? before.cpus;
  const memoryMB = integer(spec, "memoryMB", MEMORY_STEP_MB, MEMORY_LIMIT_MB) ?? before.memoryMB;
  if (memoryMB % MEMORY_STEP_MB !== 0)
    throw invalidArgument("configSpec.memoryMB", `It must be a multiple of ${MEMORY_STEP_MB}.`);
  const coresPerSocket = integer(spec, "numCoresPerSocket", 1, CPU_LIMIT) ?? before.coresPerSocket;
  if (cpus % coresPerSocket !== 0) {
    throw invalidArgument(
      "configSpec.numCoresPerSocket",
      `${cpus} CPUs cannot be split in sockets of ${coresPerSocket}.`,
    );
  }
  const recorded = { ...before.recorded };
  for (const name of RECORDED) {
    const value = spec[name];
    if (value === undefined) continue;
    const old = recorded[name];
    recorded[name] = (isDataObject(value) && isDataObject(old) ? { ...old, ...value } : value) as DataObject;
  }
  return {
    ...before,
    uuid: uuid(spec, "uuid") ?? before.uuid,
    instanceUuid: uuid(spec, "instanceUuid") ?? before.instanceUuid,
    guestId: guestId(spec) ?? before.guestId,
    hardwareVersion: hardwareVersion(spec) ?? before.hardwareVersion,
    annotation: annotation(spec) ?? before.annotation,
    firmware: firmware(spec) ?? before.firmware,
    cpus,
    coresPerSocket,
    memoryMB,
    cpu: mergeAllocation("cpuAllocation", before.cpu, spec.cpuAllocation as DataObject | undefined, cpus * 1000),
    memory: mergeAllocation(
      "memoryAllocation",
      before.memory,
      spec.memoryAllocation as DataObject | undefined,
      memoryMB * 10,
    ),
    createDate: (spec.createDate as Date | undefined) ?? before.createDate,
    extraConfig: mergeExtraConfig(before.extraConfig, (spec.extraConfig as DataObject[] | undefined) ?? []),
    recorded,
  };
}

function integer(spec: DataObject, name: string, min: number, max: number): number | undefined {
  if (spec[name] === undefined) return undefined;
  const value = toNumber(spec[name] as Long);
  if (value < min || value > max) throw invalidArgument(`configSpec.${name}`, `It must be between ${min} and ${max}.`);
  return value;
}

function uuid(spec: DataObject, name: string): string | undefined {
  const text = spec[name];
  if (text === undefined || text === "") return undefined;
  const value = String(text).toLowerCase();
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value)) return value;
  throw invalidArgument(`configSpec.${name}`, `'${value.slice(0, 64)}' is not a UUID.`);
}

function guestId(spec: DataObject): string | undefined {
  const id = spec.guestId;
  if (id === undefined || id === "") return undefined;
  if (/^[A-Za-z][A-Za-z0-9_]*Guest(64)?$/.test(String(id))) return String(id);
  throw invalidArgument(
    "configSpec.guestId",
    `'${String(id).slice(0, 64)}' is not the identifier of a guest operating system.`,
  );
}

function hardwareVersion(spec: DataObject): string | undefined {
  const version = spec.version;
  if (version === undefined || version === "") return undefined;
  const number = Number(/^vmx-(\d{2})$/.exec(String(version))?.[1]);
  if (number >= HARDWARE_VERSIONS.min && number <= HARDWARE_VERSIONS.max) return String(version);
  throw new LabFault(
    "InvalidArgument",
    `A specified parameter was not correct: configSpec.version. '${String(version).slice(0, 32)}'`,
    {
      invalidProperty: "configSpec.version",
    },
  );
}

function annotation(spec: DataObject): string | undefined {
  const text = spec.annotation as string | undefined;
  if (text !== undefined && Buffer.byteLength(text) > ANNOTATION_LIMIT) {
    throw invalidArgument("configSpec.annotation", `It is longer than ${ANNOTATION_LIMIT} bytes.`);
  }
  return text;
}

function firmware(spec: DataObject): "bios" | "efi" | undefined {
  const value = spec.firmware;
  if (value === undefined || value === "bios" || value === "efi") return value;
  throw invalidArgument("configSpec.firmware", "It is bios or efi.");
}
