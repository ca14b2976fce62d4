import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { VirtualMachineConfigInfo, VirtualMachineConfigSpec } from "../vsphere/vim25/index.ts";
import { createDiskStore } from "./hypervisor/disks/disk-store.ts";
import { type Lab, type LabOptions, startLab } from "./index.ts";
import type { Reference } from "./model/data.ts";
import { FakeHypervisor } from "./testing/fake-hypervisor.ts";
import { SoapClient, SoapFault } from "./testing/soap-client.ts";

const FOLDER = { type: "Folder", value: "ha-folder-vm" } as const;
const POOL = { type: "ResourcePool", value: "ha-root-pool" } as const;
const SESSIONS = { type: "SessionManager", value: "ha-sessionmgr" } as const;
const MiB = 1024;

let directory: string;
let hypervisor: FakeHypervisor;
let lab: Lab;
let client: SoapClient;

const options = (): LabOptions => ({
  stateDirectory: join(directory, "state"),
  listen: { host: "127.0.0.1", port: 0 },
  personality: "HostAgent",
  username: "root",
  password: "secret",
  readOnlyUsers: [{ username: "guest", password: "look" }],
  portGroups: ["VM Network"],
  hypervisor: hypervisor.connect,
  disks: createDiskStore,
  log: () => undefined,
});

const login = async (userName = "root", password = "secret"): Promise<SoapClient> => {
  const fresh = new SoapClient(lab.url, lab.certificatePem);
  await fresh.call("Login", SESSIONS, { userName, password });
  return fresh;
};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-lab-"));
  hypervisor = new FakeHypervisor();
  lab = await startLab(options());
  client = await login();
});

afterAll(async () => {
  await lab.close();
  await rm(directory, { recursive: true });
});

/** The fault that a call ends with. */
async function faultOf(work: Promise<unknown>): Promise<SoapFault> {
  try {
    await work;
  } catch (error) {
    if (error instanceof SoapFault) return error;
    throw error;
  }
  throw new Error("no fault");
}

const scsi = {
  operation: "add",
  device: { _type: "ParaVirtualSCSIController", key: -1, busNumber: 0, sharedBus: "noSharing" },
};
const newDisk = (unit: number, fileName: string, megabytes: number, parent?: string) => ({
  operation: "add",
  fileOperation: "create",
  device: {
    _type: "VirtualDisk",
    key: -10 - unit,
    controllerKey: -1,
    unitNumber: unit,
    capacityInKB: megabytes * MiB,
    backing: {
      _type: "VirtualDiskFlatVer2BackingInfo",
      fileName,
      diskMode: "persistent",
      ...(parent === undefined
        ? {}
        : { parent: { _type: "VirtualDiskFlatVer2BackingInfo", fileName: parent, diskMode: "persistent" } }),
    },
  },
});
const nic = {
  operation: "add",
  device: {
    _type: "VirtualVmxnet3",
    key: -20,
    backing: { _type: "VirtualEthernetCardNetworkBackingInfo", deviceName: "VM Network" },
  },
};

const specOf = (name: string, deviceChange: unknown[] = [], more: object = {}): VirtualMachineConfigSpec =>
  ({ name, files: { vmPathName: `[datastore1] ${name}/` }, memoryMB: 64, numCPUs: 1, deviceChange, ...more }) as never;

const create = async (spec: VirtualMachineConfigSpec): Promise<Reference> =>
  (await client.task(await client.call("CreateVM_Task", FOLDER, { config: spec, pool: POOL }))) as Reference;
const reconfigure = async (vm: Reference, spec: object): Promise<unknown> =>
  client.task(
    await client.call("ReconfigVM_Task", vm as never, {
      spec: { _type: "VirtualMachineConfigSpec", ...spec } as never,
    }),
  );
const powerOn = async (vm: Reference) => client.task(await client.call("PowerOnVM_Task", vm as never, {}));
const powerOff = async (vm: Reference) => client.task(await client.call("PowerOffVM_Task", vm as never, {}));
const destroy = async (entity: Reference) => client.task(await client.call("Destroy_Task", entity as never, {}));
const file = (path: string): string => join(directory, "state/datastore1", path);

describe("sessions", () => {
  test("reads before a login are refused except the service content", async () => {
    const stranger = new SoapClient(lab.url, lab.certificatePem);
    const content = await stranger.call(
      "RetrieveServiceContent",
      { type: "ServiceInstance", value: "ServiceInstance" },
      {},
    );
    expect(content.about.apiType).toBe("HostAgent");
    expect((await faultOf(stranger.get(FOLDER, "name"))).fault).toBe("NotAuthenticated");
    expect(await stranger.get<unknown>(SESSIONS, "currentSession")).toBeUndefined();
  });

  test("a wrong password and a second login on one connection are refused", async () => {
    expect((await faultOf(login("root", "wrong"))).fault).toBe("InvalidLogin");
    expect((await faultOf(client.call("Login", SESSIONS, { userName: "root", password: "secret" }))).fault).toBe(
      "InvalidLogin",
    );
  });

  test("a clone ticket is good for one session", async () => {
    const ticket = await client.call("AcquireCloneTicket", SESSIONS, {});
    const clone = new SoapClient(lab.url, lab.certificatePem);
    await clone.call("CloneSession", SESSIONS, { cloneTicket: ticket });
    expect(await clone.get<string>(FOLDER, "name")).toBe("vm");
    expect(
      (
        await faultOf(
          new SoapClient(lab.url, lab.certificatePem).call("CloneSession", SESSIONS, { cloneTicket: ticket }),
        )
      ).fault,
    ).toBe("InvalidLogin");
    await clone.call("Logout", SESSIONS, {});
    expect((await faultOf(clone.get(FOLDER, "name"))).fault).toBe("NotAuthenticated");
  });

  test("a read-only user is told which privilege is missing", async () => {
    const reader = await login("guest", "look");
    expect(await reader.get<string>(FOLDER, "name")).toBe("vm");
    const fault = await faultOf(reader.call("CreateVM_Task", FOLDER, { config: specOf("no"), pool: POOL }));
    expect(fault.fault).toBe("NoPermission");
    expect(fault.detail.privilegeId).toBe("VirtualMachine.Inventory.Create");
  });
});

describe("virtual machines", () => {
  test("a VM gets its files, default devices, keys and labels", async () => {
    const vm = await create(specOf("full", [scsi, newDisk(0, "", 16), nic]));
    const config = await client.get<VirtualMachineConfigInfo>(vm, "config");
    const labels = config.hardware.device?.map(
      ({ key, deviceInfo }) => `${key} ${(deviceInfo as { label: string }).label}`,
    );
    expect(labels).toContain("1000 SCSI controller 0");
    expect(labels).toContain("2000 Hard disk 1");
    expect(labels).toContain("4000 Network adapter 1");
    expect(labels).toContain("200 IDE 0");
    expect(labels).toContain("12000 VMCI device");
    expect(existsSync(file("full/full.vmx"))).toBe(true);
    expect(existsSync(file("full/full.vmdk"))).toBe(true);
    expect(await client.get<string>(vm, "config.hardware.device[4000].macAddress")).toMatch(/^00:50:56:/);
    await destroy(vm);
    expect(existsSync(file("full"))).toBe(false);
    expect((await faultOf(client.get(vm, "name"))).fault).toBe("ManagedObjectNotFound");
  });

  test("a create that fails leaves nothing behind", async () => {
    const bad = [scsi, newDisk(0, "[datastore1] broken/a.vmdk", 16), newDisk(0, "[datastore1] broken/b.vmdk", 16)];
    const fault = await faultOf(create(specOf("broken", bad)));
    expect(fault.fault).toBe("InvalidDeviceSpec");
    expect(fault.detail.deviceIndex).toBe(2);
    expect(existsSync(file("broken"))).toBe(false);
    const unknown = await faultOf(create(specOf("broken", [], { nestedHVEnabled: true })));
    expect(unknown.fault).toBe("NotSupported");
  });

  test("power-state rules, and a second VM of the same name", async () => {
    const vm = await create(specOf("power"));
    expect((await faultOf(create(specOf("power")))).fault).toBe("DuplicateName");
    const off = await faultOf(powerOff(vm));
    expect(off.fault).toBe("InvalidPowerState");
    expect(off.detail.existingState).toBe("poweredOff");
    await powerOn(vm);
    expect((await faultOf(powerOn(vm))).fault).toBe("InvalidPowerState");
    expect((await faultOf(destroy(vm))).fault).toBe("InvalidPowerState");
    expect((await faultOf(client.call("ShutdownGuest", vm as never, {}))).fault).toBe("ToolsUnavailable");
    expect((await faultOf(reconfigure(vm, { numCPUs: 1, memoryMB: 128 }))).fault).toBe("InvalidPowerState");
    await client.task(await client.call("SuspendVM_Task", vm as never, {}));
    expect(await client.get<string>(vm, "runtime.powerState")).toBe("suspended");
    await powerOn(vm);
    await powerOff(vm);
    await destroy(vm);
  });

  test("changeVersion is an optimistic lock", async () => {
    const vm = await create(specOf("lock"));
    const version = await client.get<string>(vm, "config.changeVersion");
    await reconfigure(vm, { changeVersion: version, annotation: "one" });
    expect((await faultOf(reconfigure(vm, { changeVersion: version, annotation: "two" }))).fault).toBe(
      "ConcurrentAccess",
    );
    expect(await client.get<string>(vm, "config.annotation")).toBe("one");
    await destroy(vm);
  });

  test("a parent survives its child's VM, and is protected while it has children", async () => {
    const parent = await create(specOf("image", [scsi, newDisk(0, "[datastore1] image/base.vmdk", 16)]));
    const child = await create(
      specOf("child", [scsi, newDisk(0, "[datastore1] child/rw.vmdk", 0, "[datastore1] image/base.vmdk")]),
    );
    const backing = "config.hardware.device[2000].backing.parent.fileName";
    expect(await client.get<string>(child, backing)).toBe("[datastore1] image/base.vmdk");
    expect((await faultOf(powerOn(parent))).fault).toBe("GenericVmConfigFault");
    const files = { type: "FileManager", value: "ha-nfc-file-manager" } as const;
    const remove = async (name: string) => client.task(await client.call("DeleteDatastoreFile_Task", files, { name }));
    expect((await faultOf(remove("[datastore1] image/base.vmdk"))).fault).toBe("CannotDeleteFile");
    await powerOn(child);
    expect((await faultOf(remove("[datastore1] child"))).fault).toBe("FileLocked");
    await powerOff(child);
    await destroy(parent);
    expect(existsSync(file("image/base.vmdk"))).toBe(true);
    await destroy(child);
    expect(existsSync(file("image/base.vmdk"))).toBe(true);
    await remove("[datastore1] image");
    expect(existsSync(file("image"))).toBe(false);
  });

  test("disks are plugged into a running VM, and a refused plug leaves no file", async () => {
    const vm = await create(specOf("hot", [scsi]));
    await powerOn(vm);
    const disk = newDisk(1, "[datastore1] hot/new.vmdk", 8);
    const add = { ...disk, device: { ...disk.device, controllerKey: 1000 } };
    hypervisor.refusePlug = true;
    expect((await faultOf(reconfigure(vm, { deviceChange: [add] }))).fault).toBe("GenericVmConfigFault");
    hypervisor.refusePlug = false;
    expect(existsSync(file("hot/new.vmdk"))).toBe(false);
    await reconfigure(vm, { deviceChange: [add] });
    expect(hypervisor.machines.get(vm.value)?.plugged.has(2001)).toBe(true);
    await reconfigure(vm, {
      deviceChange: [{ operation: "remove", device: { _type: "VirtualDisk", key: 2001, capacityInKB: 0 } }],
    });
    expect(hypervisor.machines.get(vm.value)?.plugged.has(2001)).toBe(false);
    expect(existsSync(file("hot/new.vmdk"))).toBe(true);
    await powerOff(vm);
    await destroy(vm);
  });

  test("guestinfo set while running is seen at once and gone with the power", async () => {
    const extraConfig = [{ _type: "OptionValue", key: "guestinfo.in", value: "lasting" }];
    const vm = await create(specOf("info", [], { extraConfig }));
    await powerOn(vm);
    const machine = hypervisor.machines.get(vm.value);
    expect(machine?.guest.infoGet("guestinfo.in")).toBe("lasting");
    machine?.guest.infoSet("guestinfo.out", "42");
    expect(await client.get<string>(vm, 'config.extraConfig["guestinfo.out"].value')).toBe("42");
    await reconfigure(vm, { extraConfig: [{ _type: "OptionValue", key: "guestinfo.in", value: "volatile" }] });
    expect(machine?.guest.infoGet("guestinfo.in")).toBe("volatile");
    expect(() => machine?.guest.infoSet("guestinfo.big", "x".repeat(70_000))).toThrow("too long");
    expect(() => machine?.guest.infoSet("other", "x")).toThrow("denied");
    machine?.guest.powerOff();
    expect(await client.get<string>(vm, "runtime.powerState")).toBe("poweredOff");
    expect(await client.get<string>(vm, 'config.extraConfig["guestinfo.in"].value')).toBe("lasting");
    expect(await client.get<unknown>(vm, 'config.extraConfig["guestinfo.out"].value')).toBeUndefined();
    await destroy(vm);
  });
});

describe("property collector", () => {
  const COLLECTOR = { type: "PropertyCollector", value: "ha-property-collector" } as const;
  const VIEWS = { type: "ViewManager", value: "ViewManager" } as const;

  test("a view's filter tells of a new VM, its change and its end", async () => {
    const view = await client.call("CreateContainerView", VIEWS, {
      container: FOLDER,
      type: ["VirtualMachine"],
      recursive: true,
    });
    const own = await client.call("CreatePropertyCollector", COLLECTOR, {});
    const traversal = { _type: "TraversalSpec", type: "ContainerView", path: "view", skip: false };
    await client.call("CreateFilter", own, {
      spec: {
        propSet: [
          { type: "VirtualMachine", pathSet: ["name", "runtime.powerState", 'config.extraConfig["guestinfo.x"]'] },
        ],
        objectSet: [{ obj: view, skip: true, selectSet: [traversal] }],
      } as never,
      partialUpdates: false,
    });
    const watcher = client;
    let version =
      (await watcher.call("WaitForUpdatesEx", own, { version: "", options: { maxWaitSeconds: 0 } }))?.version ?? "";
    const next = async () => {
      const update = await watcher.call("WaitForUpdatesEx", own, { version, options: { maxWaitSeconds: 5 } });
      version = update?.version ?? version;
      const [object] = update?.filterSet?.[0]?.objectSet ?? [];
      return { kind: object?.kind, changes: object?.changeSet?.map(({ name }) => name) };
    };
    const waiting = next();
    const vm = await create(specOf("seen"));
    expect(await waiting).toEqual({ kind: "enter", changes: ["name", "runtime.powerState"] });
    await powerOn(vm);
    expect(await next()).toEqual({ kind: "modify", changes: ["runtime.powerState"] });
    const change = next();
    hypervisor.machines.get(vm.value)?.guest.infoSet("guestinfo.x", "1");
    expect(await change).toEqual({ kind: "modify", changes: ['config.extraConfig["guestinfo.x"]'] });
    await powerOff(vm);
    await next();
    await destroy(vm);
    expect((await next()).kind).toBe("leave");
    expect((await faultOf(client.call("WaitForUpdatesEx", own, { version: "99" }))).fault).toBe(
      "InvalidCollectorVersion",
    );
    await client.call("DestroyPropertyCollector", own, {});
    await client.call("DestroyView", view as never, {});
  });

  test("a wait is cancelled, unknown properties are named, pages continue", async () => {
    const own = await client.call("CreatePropertyCollector", COLLECTOR, {});
    const wait = faultOf(client.call("WaitForUpdatesEx", own, { version: "" }));
    await Bun.sleep(20);
    await client.call("CancelWaitForUpdates", own, {});
    expect((await wait).fault).toBe("RequestCanceled");
    const specSet = (pathSet: string[]) => [
      {
        propSet: [{ type: "ManagedEntity", pathSet }],
        objectSet: [
          { obj: FOLDER },
          { obj: { type: "Folder", value: "ha-folder-host" } },
          { obj: { type: "HostSystem", value: "ha-host" } },
        ],
      },
    ];
    const bad = await faultOf(
      client.call("RetrievePropertiesEx", COLLECTOR, { specSet: specSet(["nme"]), options: {} }),
    );
    expect(bad.fault).toBe("InvalidProperty");
    expect(bad.detail.name).toBe("nme");
    const first = await client.call("RetrievePropertiesEx", COLLECTOR, {
      specSet: specSet(["name"]),
      options: { maxObjects: 2 },
    });
    expect(first?.objects.length).toBe(2);
    const second = await client.call("ContinueRetrievePropertiesEx", COLLECTOR, { token: String(first?.token) });
    expect(second.objects.length).toBe(1);
    expect(second.token).toBeUndefined();
  });

  test("partial updates name the parts that changed", async () => {
    const vm = await create(
      specOf("partial", [scsi], { extraConfig: [{ _type: "OptionValue", key: "a", value: "1" }] }),
    );
    const own = await client.call("CreatePropertyCollector", COLLECTOR, {});
    const spec = { propSet: [{ type: "VirtualMachine", pathSet: ["config"] }], objectSet: [{ obj: vm }] };
    await client.call("CreateFilter", own, { spec, partialUpdates: true });
    const { version } = (await client.call("WaitForUpdatesEx", own, { version: "" })) ?? {};
    const extraConfig = [
      { _type: "OptionValue", key: "a", value: "2" },
      { _type: "OptionValue", key: "b", value: "3" },
    ];
    const deviceChange = [
      {
        operation: "remove",
        device: { _type: "ParaVirtualSCSIController", key: 1000, busNumber: 0, sharedBus: "noSharing" },
      },
    ];
    await reconfigure(vm, { extraConfig, deviceChange });
    const update = await client.call("WaitForUpdatesEx", own, { version });
    const changes = update?.filterSet?.[0]?.objectSet?.[0]?.changeSet?.map(({ op, name }) => `${op} ${name}`);
    expect(changes).toContain('assign config.extraConfig["a"].value');
    expect(changes).toContain('add config.extraConfig["b"]');
    expect(changes).toContain("remove config.hardware.device[1000]");
    expect(changes).not.toContain("assign config");
    await client.call("DestroyPropertyCollector", own, {});
    await destroy(vm);
  });

  test("every property of every object can be written", async () => {
    const vm = await create(specOf("all", [scsi, newDisk(0, "", 8), nic]));
    const objects = [
      FOLDER,
      POOL,
      vm,
      { type: "HostSystem", value: "ha-host" },
      { type: "ComputeResource", value: "ha-compute-res" },
      { type: "Datacenter", value: "ha-datacenter" },
      { type: "Network", value: "HaNetwork-VM Network" },
      { type: "ServiceInstance", value: "ServiceInstance" },
      { type: "AuthorizationManager", value: "ha-authmgr" },
      { type: "LicenseManager", value: "ha-license-manager" },
      { type: "EventManager", value: "ha-eventmgr" },
      { type: "HostNetworkSystem", value: "networkSystem" },
    ];
    for (const obj of objects) {
      const specSet = [{ propSet: [{ type: obj.type, all: true }], objectSet: [{ obj }] }];
      const result = await client.call("RetrievePropertiesEx", COLLECTOR, { specSet, options: {} });
      expect(result?.objects[0]?.propSet?.length).toBeGreaterThan(0);
    }
    await destroy(vm);
  });
});

describe("/folder", () => {
  const at = (path: string): string => `/folder/${path}?dcPath=ha-datacenter&dsName=datastore1`;

  test("files are written whole, read in ranges and deleted", async () => {
    expect((await client.http("PUT", at("a.txt"), "0123456789")).status).toBe(201);
    expect(await client.http("GET", at("a.txt"), undefined)).toMatchObject({ status: 200, text: "0123456789" });
    expect(await client.http("GET", at("a.txt"), undefined, { Range: "bytes=2-4" })).toMatchObject({
      status: 206,
      text: "234",
    });
    expect((await client.http("GET", at("a.txt"), undefined, { Range: "bytes=20-" })).status).toBe(416);
    expect((await client.http("HEAD", at("a.txt"), undefined)).headers["content-length"]).toBe("10");
    expect((await client.http("DELETE", at("a.txt"), undefined)).status).toBe(204);
    expect((await client.http("GET", at("a.txt"), undefined)).status).toBe(404);
  });

  test("nobody gets in without a login, and nobody gets out of the datastore", async () => {
    const stranger = new SoapClient(lab.url, lab.certificatePem);
    expect((await stranger.http("GET", at(""), undefined)).status).toBe(401);
    const basic = { Authorization: `Basic ${Buffer.from("root:secret").toString("base64")}` };
    expect((await stranger.http("GET", at(""), undefined, basic)).status).toBe(200);
    for (const path of ["../inventory.json", "%2e%2e/inventory.json", "d/..%2f..%2finventory.json", "..%00"]) {
      expect((await client.http("GET", at(path), undefined)).status).toBeGreaterThanOrEqual(400);
    }
    await Bun.$`ln -s ${directory} ${file("link")}`;
    expect((await client.http("GET", at("link/state/inventory.json"), undefined)).status).toBe(400);
    await rm(file("link"));
  });

  test("a ticket is good for its one request", async () => {
    const spec = {
      _type: "SessionManagerHttpServiceRequestSpec",
      method: "httpPut",
      url: `https://localhost${at("t")}`,
    } as never;
    const { id } = await client.call("AcquireGenericServiceTicket", SESSIONS, { spec });
    const stranger = new SoapClient(lab.url, lab.certificatePem);
    const cookie = { Cookie: `vmware_cgi_ticket=${id}` };
    expect((await stranger.http("PUT", at("t"), "x", cookie)).status).toBe(201);
    expect((await stranger.http("PUT", at("t"), "x", cookie)).status).toBe(401);
  });
});

test("requests that break the schema are refused with vSphere's words", async () => {
  const body = `<?xml version="1.0"?><Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this><bogus/></CurrentTime></Body></Envelope>`;
  const { status, text } = await client.post(body);
  expect(status).toBe(500);
  expect(text).toContain("InvalidRequestFault");
  expect(text).toContain("Unexpected element tag &quot;bogus&quot; seen");
});

test("a restart brings everything back and takes running VMs over", async () => {
  const vm = await create(
    specOf("stays", [scsi, newDisk(0, "", 8), nic], { annotation: 'a "quoted" | line\nand another' }),
  );
  const pool = await client.call("CreateResourcePool", POOL, {
    name: "tenant",
    spec: {
      cpuAllocation: { reservation: 0, limit: -1, expandableReservation: true, shares: { level: "normal", shares: 0 } },
      memoryAllocation: {
        reservation: 0,
        limit: 512,
        expandableReservation: true,
        shares: { level: "high", shares: 0 },
      },
    },
  });
  await powerOn(vm);
  hypervisor.machines.get(vm.value)?.guest.infoSet("guestinfo.state", "kept");
  const before = await client.get<VirtualMachineConfigInfo>(vm, "config");
  const fingerprint = lab.fingerprint;
  await lab.close();
  lab = await startLab(options());
  client = await login();
  expect(lab.fingerprint).toBe(fingerprint);
  expect(await client.get<VirtualMachineConfigInfo>(vm, "config")).toEqual(before);
  expect(await client.get<string>(vm, "runtime.powerState")).toBe("poweredOn");
  expect(await client.get<string>(pool, "name")).toBe("tenant");
  await powerOff(vm);
  await destroy(vm);
  await destroy(pool);
});
