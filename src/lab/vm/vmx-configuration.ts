/** A VM's configuration as `.vmx` entries and back. */
import { randomUUID } from "node:crypto";
import type { Allocation } from "../inventory/inventory-store.ts";
import type { DataObject } from "../model/data.ts";
import { type Configuration, DEFAULT_GUEST, DEFAULT_HARDWARE_VERSION, defaultAllocation } from "./configuration.ts";
import { readDevices, writeDevices } from "./device/vmx-devices.ts";

/** Our own entries; what has no entry in VMware's format goes there. */
const OWN = "lab.";
const KNOWN = new Set([
  "config.version",
  "virtualHW.version",
  "displayName",
  "guestOS",
  "annotation",
  "firmware",
  "numvcpus",
  "cpuid.coresPerSocket",
  "memSize",
  "uuid.bios",
  "uuid.location",
  "vc.uuid",
  "checkpoint.vmState",
]);

export function toVmx(configuration: Configuration): [string, string][] {
  const c = configuration;
  const entries: [string, string][] = [
    ["config.version", "8"],
    ["virtualHW.version", c.hardwareVersion.replace(/^vmx-0*/, "")],
    ["displayName", c.name],
    ["guestOS", c.guestId],
    ["annotation", c.annotation],
    ["firmware", c.firmware],
    ["numvcpus", String(c.cpus)],
    ["cpuid.coresPerSocket", String(c.coresPerSocket)],
    ["memSize", String(c.memoryMB)],
    ["uuid.bios", vmxUuid(c.uuid)],
    ["vc.uuid", vmxUuid(c.instanceUuid)],
    ...(c.locationUuid === undefined ? [] : [["uuid.location", vmxUuid(c.locationUuid)] as [string, string]]),
    [`${OWN}cpu`, JSON.stringify(c.cpu)],
    [`${OWN}memory`, JSON.stringify(c.memory)],
    [`${OWN}created`, c.createDate.toISOString()],
    [`${OWN}modified`, c.modified.toISOString()],
    [`${OWN}changes`, String(c.changes)],
    [`${OWN}recorded`, JSON.stringify(c.recorded)],
  ];
  if (c.template) entries.push([`${OWN}template`, "TRUE"]);
  if (c.suspendFile !== undefined) entries.push(["checkpoint.vmState", c.suspendFile]);
  entries.push(...writeDevices(c.devices));
  for (const [key, value] of c.extraConfig) entries.push([key, value]);
  return entries;
}

/** Reads entries; what is not there gets the default, so that another product's `.vmx` can be registered. */
export function fromVmx(entries: Map<string, string>, fallbackName: string): Configuration {
  const rest = new Map(entries);
  const take = (key: string): string | undefined => {
    const value = rest.get(key);
    rest.delete(key);
    return value;
  };
  const number = (key: string, fallback: number): number => {
    const value = Number.parseInt(take(key) ?? "", 10);
    return Number.isSafeInteger(value) && value > 0 ? value : fallback;
  };
  const cpus = number("numvcpus", 1);
  const memoryMB = number("memSize", 32);
  const version = take("virtualHW.version");
  const devices = readDevices(rest);
  const configuration: Configuration = {
    name: take("displayName") ?? fallbackName,
    uuid: plainUuid(take("uuid.bios")),
    instanceUuid: plainUuid(take("vc.uuid")),
    ...(rest.has("uuid.location") ? { locationUuid: plainUuid(take("uuid.location")) } : {}),
    guestId: take("guestOS") ?? DEFAULT_GUEST,
    hardwareVersion: version ? `vmx-${version.padStart(2, "0")}` : DEFAULT_HARDWARE_VERSION,
    annotation: take("annotation") ?? "",
    firmware: take("firmware") === "efi" ? "efi" : "bios",
    cpus,
    coresPerSocket: number("cpuid.coresPerSocket", 1),
    memoryMB,
    cpu: json<Allocation>(take(`${OWN}cpu`)) ?? defaultAllocation("cpu", cpus),
    memory: json<Allocation>(take(`${OWN}memory`)) ?? defaultAllocation("memory", memoryMB),
    createDate: date(take(`${OWN}created`)),
    modified: date(take(`${OWN}modified`)),
    changes: number(`${OWN}changes`, 1),
    recorded: json<Record<string, DataObject | boolean>>(take(`${OWN}recorded`)) ?? {},
    devices,
    template: take(`${OWN}template`) === "TRUE",
    suspendFile: take("checkpoint.vmState") || undefined,
    extraConfig: new Map(),
  };
  for (const key of KNOWN) rest.delete(key);
  configuration.extraConfig = rest;
  return configuration;
}

/** A `.vmx` spells a UUID as 16 bytes: `56 4d …-… `. */
const vmxUuid = (uuid: string): string => {
  const bytes = uuid.replaceAll("-", "").match(/../g) ?? [];
  return `${bytes.slice(0, 8).join(" ")}-${bytes.slice(8).join(" ")}`;
};

function plainUuid(text: string | undefined): string {
  const hex = (text ?? "").replace(/[^0-9a-fA-F]/g, "").toLowerCase();
  if (hex.length !== 32) return randomUUID();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

function date(text: string | undefined): Date {
  const value = new Date(text ?? "");
  return Number.isNaN(value.getTime()) ? new Date() : value;
}

function json<T>(text: string | undefined): T | undefined {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    // A hand-edited file: the default is better than a VM that cannot be registered.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
