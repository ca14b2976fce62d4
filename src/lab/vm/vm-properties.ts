/** A VM's data objects as ESXi fills them. Pure: everything comes in through the view. */

import { vimAllocation } from "../inventory/allocation.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { falseUnless } from "../model/false-fields.ts";
import { type Configuration, changeVersion, guestFullName } from "./configuration.ts";
import { disksOf } from "./device/device-changes.ts";
import { type BackingReferences, vimDevices } from "./device/vim-devices.ts";
import { type StorageUsage, totalUsage } from "./storage-usage.ts";

export type PowerState = "poweredOn" | "poweredOff" | "suspended";

export interface VmView {
  reference: Reference;
  configuration: Configuration;
  extraConfig: ReadonlyMap<string, string>;
  vmPathName: string;
  powerState: PowerState;
  host: Reference;
  bootTime: Date | undefined;
  suspendTime: Date | undefined;
  toolsRunning: boolean;
  consolidationNeeded: boolean;
  question: DataObject | undefined;
  cpuMhz: number;
  storage: StorageUsage;
  references: BackingReferences;
}

const directoryOf = (vmPathName: string): string => vmPathName.slice(0, vmPathName.lastIndexOf("/") + 1);

export function configInfo(view: VmView): DataObject {
  const { configuration: c } = view;
  const directory = directoryOf(view.vmPathName);
  return data("VirtualMachineConfigInfo", {
    changeVersion: changeVersion(c),
    modified: c.modified,
    name: c.name,
    guestFullName: guestFullName(c.guestId),
    version: c.hardwareVersion,
    uuid: c.uuid,
    createDate: c.createDate,
    instanceUuid: c.instanceUuid,
    template: c.template,
    guestId: c.guestId,
    alternateGuestName: "",
    annotation: c.annotation,
    files: data("VirtualMachineFileInfo", {
      vmPathName: view.vmPathName,
      snapshotDirectory: directory,
      suspendDirectory: directory,
      logDirectory: directory,
    }),
    tools: c.recorded.tools ?? data("ToolsConfigInfo", { toolsVersion: 0, toolsUpgradePolicy: "manual" }),
    flags: c.recorded.flags ?? data("VirtualMachineFlagInfo", { enableLogging: true, diskUuidEnabled: true }),
    defaultPowerOps: c.recorded.powerOpInfo ?? defaultPowerOps,
    hardware: data("VirtualHardware", {
      numCPU: c.cpus,
      numCoresPerSocket: c.coresPerSocket,
      memoryMB: c.memoryMB,
      virtualICH7MPresent: false,
      virtualSMCPresent: false,
      device: vimDevices(c.devices, view.references),
    }),
    cpuAllocation: vimAllocation(c.cpu),
    memoryAllocation: vimAllocation(c.memory),
    latencySensitivity: c.recorded.latencySensitivity,
    memoryHotAddEnabled: false,
    cpuHotAddEnabled: false,
    cpuHotRemoveEnabled: false,
    extraConfig: [...view.extraConfig].map(([key, value]) => data("OptionValue", { key, value })),
    swapPlacement: c.recorded.swapPlacement ?? "inherit",
    bootOptions: c.recorded.bootOptions,
    managedBy: c.recorded.managedBy,
    firmware: c.firmware,
    changeTrackingEnabled: false,
    nestedHVEnabled: false,
    vAssertsEnabled: false,
  });
}

const defaultPowerOps = data("VirtualMachineDefaultPowerOpInfo", {
  powerOffType: "soft",
  suspendType: "hard",
  resetType: "soft",
  defaultPowerOffType: "soft",
  defaultSuspendType: "hard",
  defaultResetType: "soft",
  standbyAction: "checkpoint",
});

export function runtimeInfo(view: VmView): DataObject {
  const on = view.powerState === "poweredOn";
  return data("VirtualMachineRuntimeInfo", {
    host: view.host,
    connectionState: "connected",
    powerState: view.powerState,
    faultToleranceState: "notConfigured",
    toolsInstallerMounted: false,
    suspendTime: view.suspendTime,
    bootTime: on ? view.bootTime : undefined,
    maxCpuUsage: view.configuration.cpus * view.cpuMhz,
    maxMemoryUsage: view.configuration.memoryMB,
    numMksConnections: 0,
    recordReplayState: "inactive",
    onlineStandby: false,
    consolidationNeeded: view.consolidationNeeded,
    question: view.question,
    cryptoState: undefined,
  });
}

function toolsFields(view: VmView): Record<string, unknown> {
  return {
    toolsStatus: view.toolsRunning ? "toolsOk" : "toolsNotInstalled",
    toolsVersionStatus: view.toolsRunning ? "guestToolsUnmanaged" : "guestToolsNotInstalled",
    toolsVersionStatus2: view.toolsRunning ? "guestToolsUnmanaged" : "guestToolsNotInstalled",
    toolsRunningStatus: view.toolsRunning ? "guestToolsRunning" : "guestToolsNotRunning",
    hostName: view.toolsRunning ? view.extraConfig.get("guestinfo.hostname") : undefined,
    ipAddress: view.toolsRunning ? view.extraConfig.get("guestinfo.ip") : undefined,
  };
}

/** The guest tells one address, which is taken to be its first adapter's. */
function guestNics(view: VmView): DataObject[] {
  const address = view.toolsRunning ? view.extraConfig.get("guestinfo.ip") : undefined;
  const adapter = view.configuration.devices.find((device) => device.kind === "nic");
  if (address === undefined || adapter === undefined) return [];
  return [
    data("GuestNicInfo", {
      network: adapter.network,
      ipAddress: [address],
      macAddress: adapter.macAddress,
      connected: adapter.connected,
      deviceConfigId: adapter.key,
    }),
  ];
}

export function guestInfo(view: VmView): DataObject {
  const on = view.powerState === "poweredOn";
  return data("GuestInfo", {
    ...toolsFields(view),
    toolsVersion: "0",
    disk: [],
    net: guestNics(view),
    guestId: view.toolsRunning ? view.configuration.guestId : undefined,
    guestFamily: view.toolsRunning ? "linuxGuest" : undefined,
    guestFullName: view.toolsRunning ? guestFullName(view.configuration.guestId) : undefined,
    guestState: view.toolsRunning ? "running" : on ? "unknown" : "notRunning",
    guestOperationsReady: false,
    interactiveGuestOperationsReady: false,
    guestStateChangeSupported: on,
  });
}

export function summary(view: VmView): DataObject {
  const { configuration: c } = view;
  const uptime = view.powerState === "poweredOn" && view.bootTime ? Date.now() - view.bootTime.getTime() : 0;
  return data("VirtualMachineSummary", {
    vm: view.reference,
    runtime: runtimeInfo(view),
    guest: data("VirtualMachineGuestSummary", {
      ...toolsFields(view),
      guestId: view.toolsRunning ? c.guestId : undefined,
      guestFullName: view.toolsRunning ? guestFullName(c.guestId) : undefined,
    }),
    config: data("VirtualMachineConfigSummary", {
      name: c.name,
      template: c.template,
      vmPathName: view.vmPathName,
      memorySizeMB: c.memoryMB,
      cpuReservation: c.cpu.reservation,
      memoryReservation: c.memory.reservation,
      numCpu: c.cpus,
      numEthernetCards: c.devices.filter((device) => device.kind === "nic").length,
      numVirtualDisks: disksOf(c.devices).length,
      uuid: c.uuid,
      instanceUuid: c.instanceUuid,
      guestId: c.guestId,
      guestFullName: guestFullName(c.guestId),
      annotation: c.annotation,
      managedBy: c.recorded.managedBy,
    }),
    storage: data("VirtualMachineStorageSummary", {
      ...totalUsage(view.storage),
      timestamp: view.storage.time,
    }),
    quickStats: data("VirtualMachineQuickStats", {
      guestHeartbeatStatus: view.toolsRunning ? "green" : "gray",
      uptimeSeconds: Math.floor(uptime / 1000),
    }),
    overallStatus: "green",
  });
}

export const capability = (): DataObject =>
  falseUnless("VirtualMachineCapability", {
    snapshotOperationsSupported: true,
    multipleSnapshotsSupported: true,
    poweredOffSnapshotsSupported: true,
    memorySnapshotsSupported: true,
    revertToSnapshotSupported: true,
    bootOptionsSupported: true,
    multipleCoresPerSocketSupported: true,
  });
