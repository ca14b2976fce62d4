import { LabFault } from "../fault.ts";
import type { RunningMachine } from "../hypervisor/contract.ts";
import { checkedName, refuseDuplicate } from "../inventory/entity.ts";
import { missingOn } from "../inventory/placement.ts";
import { type DataObject, isDataObject } from "../model/data.ts";
import { applySettings, refuseOfflineSettings, refuseUnknownSettings } from "./config-spec.ts";
import { type Configuration, changeVersion } from "./configuration.ts";
import type { Device, SerialPort } from "./device/device.ts";
import { planDeviceChanges } from "./device/device-changes.ts";
import { deviceEnvironment } from "./device-environment.ts";
import { makeDiskFiles, removeDiskFiles } from "./disk-files.ts";
import { extraConfigChanges, isGuestInfo, mergeEntries } from "./extra-config.ts";
import { machineDisk, machineNetworkAdapter, machineSerialPort } from "./machine-definition.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/** ReconfigVM: everything of the spec or nothing. */
export async function reconfigure(vm: VirtualMachine, spec: DataObject): Promise<void> {
  const before = vm.configuration;
  if (spec.changeVersion !== undefined && spec.changeVersion !== "" && spec.changeVersion !== changeVersion(before)) {
    throw new LabFault(
      "ConcurrentAccess",
      "The object or item referred to has been changed by another client; read it again.",
    );
  }
  refuseUnknownSettings(spec);
  if (before.template) refuseOnTemplate(spec);
  if (vm.powerState !== "poweredOff") refuseOfflineSettings(spec, vm.powerState);
  refuseMove(vm, spec);
  const running = vm.powerState === "poweredOn";
  const { lasting, volatile } = splitExtraConfig(spec, running);
  const settings = applySettings(before, { ...spec, extraConfig: lasting });
  const name = typeof spec.name === "string" && spec.name !== "" ? checkedName(spec.name, vm) : before.name;
  if (name !== before.name) refuseDuplicate(name, vm.context.inventory.virtualMachines, vm);
  const changes = (spec.deviceChange as DataObject[] | undefined) ?? [];
  const plan = await planDeviceChanges(before.devices, changes, deviceEnvironment(vm.context, vm.vmPathName, vm));
  const after: Configuration = {
    ...settings,
    name,
    devices: plan.devices,
    modified: new Date(),
    changes: before.changes + 1,
  };
  if (volatile.length > 0) mergeEntries(vm.volatileInfo.over(after.extraConfig), volatile);
  const isNew = (device: Device): boolean => !before.devices.includes(device);
  const missing = missingOn(vm.context, vm.host, [], after.devices.filter(isNew));
  if (missing) throw missing;
  const made = await makeDiskFiles(vm.context, plan, vm.vmPathName);
  const undo: (() => Promise<void>)[] = [made.undo];
  try {
    if (running && vm.machine) await plug(vm, vm.machine, before, after, undo);
    await vm.store(after);
  } catch (error) {
    for (const step of undo.reverse()) await step();
    throw error;
  }
  await made.keep();
  if (volatile.length > 0) {
    vm.volatileInfo.set(after.extraConfig, volatile);
    vm.touch("config");
  }
  await removeDiskFiles(vm.context, plan.deleteDisks);
}

/** As on vCenter: of a template only name and notes can change. */
function refuseOnTemplate(spec: DataObject): void {
  const other = Object.keys(spec).find((name) => !["_type", "changeVersion", "name", "annotation"].includes(name));
  if (other === undefined) return;
  throw new LabFault("NotSupported", `The operation is not supported on the object: '${other}' of a template.`);
}

function refuseMove(vm: VirtualMachine, spec: DataObject): void {
  const path = isDataObject(spec.files) ? spec.files.vmPathName : undefined;
  if (path === undefined || path === vm.vmPathName) return;
  throw new LabFault("NotSupported", "A VM's files cannot be moved by a reconfiguration.");
}

/** guestinfo that is set while the VM runs is volatile, as on ESXi; everything else lasts. */
function splitExtraConfig(spec: DataObject, running: boolean): { lasting: DataObject[]; volatile: [string, string][] } {
  const options = (spec.extraConfig as DataObject[] | undefined) ?? [];
  const isVolatile = (option: DataObject): boolean => running && isGuestInfo(String(option.key));
  return {
    lasting: options.filter((option) => !isVolatile(option)),
    volatile: extraConfigChanges(options.filter(isVolatile)),
  };
}

const HOT_PLUG: ReadonlySet<Device["kind"]> = new Set(["disk", "nic"]);

/** Brings a running machine from one configuration to another; each step leaves its reversal in `undo`. */
async function plug(
  vm: VirtualMachine,
  machine: RunningMachine,
  before: Configuration,
  after: Configuration,
  undo: (() => Promise<void>)[],
): Promise<void> {
  const old = new Map(before.devices.map((device) => [device.key, device]));
  const next = new Map(after.devices.map((device) => [device.key, device]));
  const removed = before.devices.filter((device) => replaced(device, next.get(device.key)));
  const added = after.devices.filter((device) => replaced(device, old.get(device.key)));
  for (const device of [...removed, ...added]) {
    const scsi = device.kind !== "disk" || (device.controllerKey >= 1000 && device.controllerKey < 2000);
    if (HOT_PLUG.has(device.kind) && scsi) continue;
    throw new LabFault(
      "InvalidPowerState",
      `The attempted operation cannot be performed in the current state (Powered on): device ${device.key} cannot be added or removed while the VM runs.`,
      { requestedState: "poweredOff", existingState: "poweredOn" },
    );
  }
  const { resolve } = vm.context.inventory;
  const relock = async (configuration: Configuration): Promise<void> => {
    vm.context.locks.release(vm.reference.value);
    await vm.power.lockFiles(configuration);
  };
  if (removed.some(isDisk) || added.some(isDisk)) {
    undo.push(() => relock(before));
    await relock({ ...after, devices: [...after.devices, ...removed.filter(isDisk)] });
  }
  const insert = async (device: Device, devices: readonly Device[]): Promise<void> => {
    if (device.kind === "disk") await machine.plugDisk(await machineDisk(device, devices, resolve));
    if (device.kind === "nic") await machine.plugNetworkAdapter(machineNetworkAdapter(device, device.connected));
  };
  const eject = (device: Device): Promise<void> =>
    device.kind === "disk" ? machine.unplugDisk(device.key) : machine.unplugNetworkAdapter(device.key);
  for (const device of removed) {
    await eject(device);
    undo.push(() => insert(device, before.devices));
  }
  for (const device of added) {
    await insert(connectNew(device), after.devices);
    undo.push(() => eject(device));
  }
  after.devices = after.devices.map((device) => (added.includes(device) ? connectNew(device) : device));
  for (const device of after.devices) await adjust(machine, old.get(device.key), device, undo, resolve);
  if (removed.some(isDisk)) await relock(after);
}

const isDisk = (device: Device): boolean => device.kind === "disk";
const connectNew = (device: Device): Device =>
  device.kind === "nic" ? { ...device, connected: device.connected || device.startConnected } : device;

/** Is `device` not the same thing as what has its key on the other side? */
function replaced(device: Device, other: Device | undefined): boolean {
  if (!other || other.kind !== device.kind) return true;
  if (device.kind === "disk" && other.kind === "disk") return device.path !== other.path || device.mode !== other.mode;
  if (device.kind === "nic" && other.kind === "nic") {
    return device.network !== other.network || device.macAddress !== other.macAddress || device.model !== other.model;
  }
  return false;
}

const goesThroughProxy = ({ backing }: SerialPort): boolean =>
  backing.kind === "network" && backing.proxyUri !== undefined;

/** Changes of a device that stays in its place: link state, medium. */
async function adjust(
  machine: RunningMachine,
  before: Device | undefined,
  after: Device,
  undo: (() => Promise<void>)[],
  resolve: (path: string) => Promise<string>,
): Promise<void> {
  if (
    before?.kind === "nic" &&
    after.kind === "nic" &&
    !replaced(after, before) &&
    before.connected !== after.connected
  ) {
    await machine.setLink(after.key, after.connected);
    undo.push(() => machine.setLink(after.key, before.connected));
  }
  if (before?.kind === "cdrom" && after.kind === "cdrom") {
    const old = before.connected ? before.path : undefined;
    const next = after.connected ? after.path : undefined;
    if (old === next) return;
    const change = async (path: string | undefined): Promise<void> =>
      machine.changeMedium(after.key, path === undefined ? undefined : await resolve(path));
    await change(next);
    undo.push(() => change(old));
  }
  if (before?.kind === "disk" && after.kind === "disk" && before.capacityBytes !== after.capacityBytes) {
    throw new LabFault("InvalidPowerState", "The lab extends a disk only while the VM is powered off.", {
      requestedState: "poweredOff",
      existingState: "poweredOn",
    });
  }
  if (before?.kind !== "serial" || after.kind !== "serial") return;
  if (Bun.deepEquals({ ...before, startConnected: after.startConnected }, after)) return;
  if (!goesThroughProxy(before) || !goesThroughProxy(after)) {
    throw new LabFault(
      "InvalidPowerState",
      "The lab changes a serial port of a running VM only when it goes through a concentrator (proxyURI), before and after.",
      { requestedState: "poweredOff", existingState: "poweredOn" },
    );
  }
  const change = async (port: SerialPort): Promise<void> =>
    machine.changeSerialPort(await machineSerialPort(port, port.connected, resolve));
  await change(after);
  undo.push(() => change(before));
}
