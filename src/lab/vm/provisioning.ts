import { randomUUID } from "node:crypto";
import { mkdir, readFile, rm, stat } from "node:fs/promises";
import { fileAlreadyExists, fileNotFound, invalidArgument, LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { checkedName, type Entity, refuseDuplicate } from "../inventory/entity.ts";
import { chooseHost, type Place, type Placement } from "../inventory/placement.ts";
import type { DataObject, Reference } from "../model/data.ts";
import { writeAtomically } from "../state-file.ts";
import { type DatastoreFolder, datastoreOf } from "../storage/datastore-folder.ts";
import { baseName, formatDatastorePath, parentDirectory, parseDatastorePath } from "../storage/datastore-path.ts";
import { applySettings, refuseUnknownSettings } from "./config-spec.ts";
import { type Configuration, DEFAULT_GUEST, DEFAULT_HARDWARE_VERSION, defaultAllocation } from "./configuration.ts";
import { planDeviceChanges } from "./device/device-changes.ts";
import { deviceEnvironment } from "./device-environment.ts";
import { describeDisk, makeDiskFiles } from "./disk-files.ts";
import { VolatileGuestInfo } from "./guest-info.ts";
import { locationUuid } from "./moved-or-copied.ts";
import { removeOwnFiles } from "./removal.ts";
import { needsConsolidation } from "./snapshot/consolidate.ts";
import { VirtualMachine } from "./virtual-machine.ts";
import { fromVmx, toVmx } from "./vmx-configuration.ts";
import { formatVmx, parseVmx, VMX_LIMIT } from "./vmx-file.ts";

const DEFAULT_MEMORY_MB = 32;

/** What of a create request is wrong in any case; found before there is a task. */
export function checkCreate(context: LabContext, spec: DataObject): { name: string } {
  refuseUnknownSettings(spec);
  if (typeof spec.name !== "string") throw invalidArgument("configSpec.name", "A new VM needs a name.");
  const name = checkedName(spec.name);
  const files = spec.files as DataObject | undefined;
  if (typeof files?.vmPathName !== "string" || files.vmPathName === "") {
    throw invalidArgument("configSpec.files.vmPathName", "Name at least the datastore: '[datastore]'.");
  }
  datastoreOf(context.folders, parseDatastorePath(files.vmPathName));
  refuseDuplicate(name, context.inventory.virtualMachines);
  return { name };
}

/** CreateVM: directory, disks and `.vmx` are there and the VM is in the inventory, or nothing is. */
export async function createVirtualMachine(
  context: LabContext,
  parent: Entity,
  placement: Placement,
  spec: DataObject,
): Promise<Reference> {
  const { name } = checkCreate(context, spec);
  const release = context.inventory.reserveName(name);
  try {
    const home = await chooseHome(context, name, String((spec.files as DataObject).vmPathName));
    return await createIn(context, parent, placement, spec, name, home);
  } finally {
    release();
  }
}

export interface Home {
  folder: DatastoreFolder;
  /** Of the `.vmx` on the datastore. */
  vmx: string;
  directory: string;
  vmPathName: string;
}

/** `[ds]`: a directory named after the VM, with a number when taken; `[ds] dir/` or `[ds] dir`: there; `….vmx`: exactly that. */
export async function chooseHome(context: LabContext, name: string, vmPathName: string): Promise<Home> {
  const parsed = parseDatastorePath(vmPathName);
  const folder = datastoreOf(context.folders, parsed);
  const fileStem = name.replace(/[/\\]/g, "_");
  const at = (path: string): Home => ({
    folder,
    vmx: path,
    directory: parentDirectory(path),
    vmPathName: formatDatastorePath({ datastore: parsed.datastore, path }),
  });
  if (/\.vmx$/i.test(parsed.path)) {
    if (parentDirectory(parsed.path) === "")
      throw invalidArgument("configSpec.files.vmPathName", "A VM needs a directory.");
    if (await folder.exists(parsed.path)) throw fileAlreadyExists(vmPathName);
    return at(parsed.path);
  }
  if (parsed.path !== "") {
    const path = `${parsed.path}/${fileStem}.vmx`;
    if (await folder.exists(path)) throw fileAlreadyExists(folder.format(path));
    return at(path);
  }
  for (let number = 0; ; number++) {
    const directory = number === 0 ? fileStem : `${fileStem}_${number}`;
    if (!(await folder.exists(directory))) return at(`${directory}/${fileStem}.vmx`);
  }
}

async function createIn(
  context: LabContext,
  parent: Entity,
  placement: Placement,
  spec: DataObject,
  name: string,
  home: Home,
): Promise<Reference> {
  const vm = await install(context, parent, placement, home, async () => {
    const settings = applySettings(blank(name), spec);
    const changes = (spec.deviceChange as DataObject[] | undefined) ?? [];
    const plan = await planDeviceChanges([], changes, deviceEnvironment(context, home.vmPathName, undefined));
    return {
      configuration: { ...settings, devices: plan.devices },
      ...(await makeDiskFiles(context, plan, home.vmPathName)),
    };
  });
  context.events.post("VmCreatedEvent", vm, `Created virtual machine ${name} on ${vm.host.name}`);
  return vm.reference;
}

/** The disks of a new VM, made, and its configuration. `undo` takes them back, `keep` says that they are in use now. */
export interface MadeDisks {
  configuration: Configuration;
  undo: () => Promise<void>;
  keep: () => Promise<void>;
}

/** Puts a new VM into its directory and into the inventory: all of it, or nothing. */
export async function install(
  context: LabContext,
  parent: Entity,
  placement: Placement,
  home: Home,
  make: (directory: string) => Promise<MadeDisks>,
): Promise<VirtualMachine> {
  const existed = await home.folder.exists(home.directory);
  const directory = await home.folder.resolve(home.directory);
  const vmxFile = await home.folder.resolve(home.vmx);
  const journal = await context.inventory.journal.begin({
    kind: "make",
    vmxFile,
    files: [vmxFile],
    ...(existed ? {} : { directory }),
  });
  await mkdir(directory, { recursive: true });
  let made: MadeDisks | undefined;
  try {
    const fresh = await make(directory);
    made = { ...fresh, configuration: { ...fresh.configuration, locationUuid: locationUuid(home.vmPathName) } };
    const host = chooseHost(context, placement, home.vmPathName, made.configuration);
    await writeAtomically(vmxFile, formatVmx(toVmx(made.configuration)));
    const vm = await enroll(context, parent, { pool: placement.pool, host }, home.vmPathName, made.configuration);
    await made.keep();
    await journal();
    return vm;
  } catch (error) {
    await made?.undo();
    await rm(vmxFile, { force: true });
    if (!existed) await removeOwnFiles(directory);
    await journal();
    throw error;
  }
}

function blank(name: string): Configuration {
  const now = new Date();
  return {
    name,
    uuid: randomUUID(),
    instanceUuid: randomUUID(),
    guestId: DEFAULT_GUEST,
    hardwareVersion: DEFAULT_HARDWARE_VERSION,
    annotation: "",
    firmware: "bios",
    cpus: 1,
    coresPerSocket: 1,
    memoryMB: DEFAULT_MEMORY_MB,
    cpu: defaultAllocation("cpu", 1),
    memory: defaultAllocation("memory", DEFAULT_MEMORY_MB),
    createDate: now,
    modified: now,
    changes: 1,
    extraConfig: new Map(),
    recorded: {},
    devices: [],
    suspendFile: undefined,
    template: false,
  };
}

/** Gives the VM an id and a place in the inventory; it is there for good when the index is saved. */
async function enroll(
  context: LabContext,
  parent: Entity,
  place: Place,
  vmPathName: string,
  configuration: Configuration,
): Promise<VirtualMachine> {
  const id = context.naming.virtualMachine(context.store.nextNumber());
  const { inventory } = context.store;
  inventory.virtualMachines.push({
    id,
    vmPathName,
    folder: parent.reference.value,
    pool: place.pool.reference.value,
    host: place.host.reference.value,
  });
  try {
    await context.store.save();
  } catch (error) {
    inventory.virtualMachines = inventory.virtualMachines.filter((stored) => stored.id !== id);
    throw error;
  }
  return addVirtualMachine(context, parent, place, id, vmPathName, configuration);
}

async function addVirtualMachine(
  context: LabContext,
  parent: Entity,
  place: Place,
  id: string,
  vmPathName: string,
  configuration: Configuration,
): Promise<VirtualMachine> {
  const guestInfo = await VolatileGuestInfo.open(context.stateDirectory, id);
  const reference = { type: "VirtualMachine", value: id };
  const vm = new VirtualMachine(context, reference, parent, place, vmPathName, configuration, guestInfo);
  await vm.snapshots.load();
  // A VM without snapshots that still has their disks was interrupted in a consolidation, or asked to leave it for later.
  vm.setConsolidationNeeded(await needsConsolidation(vm));
  await vm.measureStorage();
  context.inventory.addVirtualMachine(vm);
  return vm;
}

/** A VM of the index, as it was when the lab stopped. */
export async function loadVirtualMachine(
  context: LabContext,
  parent: Entity,
  place: Place,
  stored: { id: string; vmPathName: string },
): Promise<VirtualMachine> {
  const configuration = await readConfiguration(context, stored.vmPathName);
  return addVirtualMachine(context, parent, place, stored.id, stored.vmPathName, configuration);
}

async function readConfiguration(context: LabContext, vmPathName: string): Promise<Configuration> {
  const file = await context.inventory.resolve(vmPathName);
  if (!(await context.inventory.exists(vmPathName))) throw fileNotFound(vmPathName);
  const { size } = await stat(file);
  if (size > VMX_LIMIT) {
    const reason = `${vmPathName} has ${size} bytes; a VM's configuration has at most ${VMX_LIMIT}.`;
    throw new LabFault("GenericVmConfigFault", reason, { reason });
  }
  const stem = baseName(parseDatastorePath(vmPathName).path).replace(/\.vmx$/i, "");
  const configuration = fromVmx(parseVmx(await readFile(file, "utf8")), stem);
  const devices = [];
  for (const device of configuration.devices) {
    devices.push(device.kind === "disk" ? { ...device, ...(await diskOrLast(context, device)) } : device);
  }
  return { ...configuration, devices };
}

/** A disk that cannot be read now does not take its VM out of the inventory: powering on will say what is wrong. */
async function diskOrLast(context: LabContext, disk: { path: string; capacityBytes: number; parents: string[] }) {
  try {
    return await describeDisk(context, disk.path);
  } catch (error) {
    context.log(`${disk.path}: ${error instanceof Error ? error.message : String(error)}`);
    return { capacityBytes: disk.capacityBytes, parents: disk.parents };
  }
}

/** RegisterVM: puts a VM whose files exist into the inventory. */
export async function registerVirtualMachine(
  context: LabContext,
  parent: Entity,
  placement: Placement,
  path: string,
  givenName: string | undefined,
): Promise<Reference> {
  const vmPathName = formatDatastorePath(parseDatastorePath(path));
  if (context.inventory.virtualMachines.some((vm) => vm.vmPathName === vmPathName)) {
    throw new LabFault("AlreadyExists", `${vmPathName} is registered already.`, { name: vmPathName });
  }
  const stored = await readConfiguration(context, vmPathName);
  const name = checkedName(givenName ?? stored.name);
  refuseDuplicate(name, context.inventory.virtualMachines);
  const release = context.inventory.reserveName(name);
  try {
    const configuration = { ...stored, name };
    const host = chooseHost(context, placement, vmPathName, configuration);
    const file = await context.inventory.resolve(vmPathName);
    if (name !== stored.name) await writeAtomically(file, formatVmx(toVmx(configuration)));
    const vm = await enroll(context, parent, { pool: placement.pool, host }, vmPathName, configuration);
    context.events.post("VmRegisteredEvent", vm, `Registered ${name} on ${vm.host.name}`);
    return vm.reference;
  } finally {
    release();
  }
}
