/**
 * The driver when things go wrong: the faults that vSphere answers with, connections that break, answers that come late. Faults
 * that a server cannot be brought to are put in by a proxy.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  connectVSphere,
  type InventoryView,
  type VirtualMachineReference,
  type VSphere,
  type VSphereFault,
} from "../../src/vsphere/index.ts";
import { type FaultProxy, startFaultProxy } from "./fault-proxy.ts";
import { faultOf, machine, PATIENCE } from "./machines.ts";
import { type RunningServer, SERVERS, stateFolder } from "./servers.ts";

describe.each([...SERVERS])("$name", ({ differences, start }) => {
  let server: RunningServer;
  let folder: Awaited<ReturnType<typeof stateFolder>>;
  let certificates: Awaited<ReturnType<typeof stateFolder>>;
  let proxy: FaultProxy;
  let vsphere: VSphere;
  let view: InventoryView;

  beforeAll(async () => {
    folder = await stateFolder();
    certificates = await stateFolder();
    server = await start(folder.path);
    proxy = await startFaultProxy(server.target, certificates.path);
    vsphere = await connectVSphere(proxy.target);
    view = await vsphere.openView();
  });

  afterAll(async () => {
    await view.close();
    await vsphere.close();
    await proxy.stop();
    await server.stop();
    await folder.remove();
    await certificates.remove();
  });

  const make = async (name: string) => {
    const vm = await vsphere.createVm(machine(vsphere, name));
    await view.waitFor(vm, (record) => record.extraConfig.size > 0, PATIENCE, "the VM");
    return vm;
  };

  const change = (vm: VirtualMachineReference, value: string) =>
    vsphere.reconfigureVm(vm, { extraConfig: { "vch.change": value } });
  const seen = (vm: VirtualMachineReference, value: string) =>
    view.waitFor(vm, ({ extraConfig }) => extraConfig.get("vch.change") === value, PATIENCE, `the change "${value}"`);

  test("InvalidPowerState, with what the state is", async () => {
    const vm = await make("power");
    await vsphere.powerOn(vm);
    const error = await vsphere.powerOn(vm).catch((caught: VSphereFault) => caught);
    expect(error).toMatchObject({ fault: "InvalidPowerState", detail: { existingState: "poweredOn" } });
    await vsphere.powerOff(vm);
    await vsphere.powerOff(vm);
    expect(await faultOf(vsphere.suspend(vm))).toBe("InvalidPowerState");
  });

  test("ConcurrentAccess is left to the caller, who has to read again", async () => {
    const vm = await make("concurrent");
    const { changeVersion } = await view.waitFor(vm, () => true, PATIENCE, "the VM");
    await vsphere.reconfigureVm(vm, { changeVersion, extraConfig: { "vch.a": "1" } });
    if (differences.includes("ignores changeVersion"))
      proxy.trouble("ReconfigVM_Task", { kind: "fault", fault: "ConcurrentAccess", message: "changed by another" });
    const before = proxy.calls("ReconfigVM_Task");
    expect(await faultOf(vsphere.reconfigureVm(vm, { changeVersion, extraConfig: { "vch.b": "1" } }))).toBe(
      "ConcurrentAccess",
    );
    expect(proxy.calls("ReconfigVM_Task")).toBe(before + 1);
    const now = await view.waitFor(vm, (record) => record.extraConfig.has("vch.a"), PATIENCE, "the change");
    expect(now.extraConfig.has("vch.b")).toBe(false);
    await vsphere.reconfigureVm(vm, { changeVersion: now.changeVersion, extraConfig: { "vch.b": "1" } });
  });

  test("a removal that a restarted server forgot is made again, and leaves no VM without files", async () => {
    const vm = await make("forgotten");
    proxy.trouble("Destroy_Task", { kind: "forgotten task" });
    const before = proxy.calls("Destroy_Task");
    await vsphere.destroyVm(vm, { keepDisks: [] });
    expect(proxy.calls("Destroy_Task")).toBe(before + 2);
    expect(await faultOf(vsphere.powerOn(vm))).toBe("ManagedObjectNotFound");
    const kept = await make("kept");
    proxy.trouble("Destroy_Task", { kind: "forgotten task" }, 5);
    expect(await faultOf(vsphere.destroyVm(kept, { keepDisks: [] }))).toBe("ManagedObjectNotFound");
    const values = await view.waitFor(kept, () => true, PATIENCE, "the VM");
    expect(await vsphere.files.exists(values.vmPathName)).toBe(true);
  }, 120_000);

  test("FileNotFound, by every way to a file", async () => {
    const { files } = vsphere;
    const root = `[${files.datastore}]`;
    expect(await faultOf(files.read(`${root} no/thing`))).toBe("FileNotFound");
    expect(await faultOf(files.list(`${root} no/directory`))).toBe("FileNotFound");
    expect(await faultOf(files.move(`${root} no/a`, `${root} no/b`))).toBe("FileNotFound");
    await files.remove(`${root} no/thing`);
    await files.removeDisk(`${root} no/disk.vmdk`);
    const attach = machine(vsphere, "attach", {
      disks: [{ bus: 0, unit: 0, path: `${root} no/disk.vmdk`, mode: "persistent" }],
    });
    expect(await faultOf(vsphere.createVm(attach))).toBe("FileNotFound");
  });

  test("ManagedObjectNotFound: what is gone is gone, and destroying it again is no error", async () => {
    const vm = await make("gone");
    const removed = view.waitFor(vm, () => false, PATIENCE, "removal").catch((error: VSphereFault) => error.fault);
    await vsphere.destroyVm(vm, { keepDisks: [] });
    expect(await removed).toBe("ManagedObjectNotFound");
    expect(await faultOf(vsphere.powerOn(vm))).toBe("ManagedObjectNotFound");
    expect(await faultOf(vsphere.reconfigureVm(vm, { annotation: "x" }))).toBe("ManagedObjectNotFound");
    await vsphere.destroyVm(vm, { keepDisks: [] });
  });

  test("TaskInProgress is waited for and tried again; others' busyness has an end", async () => {
    const vm = await make("busy");
    proxy.trouble("ReconfigVM_Task", { kind: "fault", fault: "TaskInProgress", message: "busy" }, 3);
    await change(vm, "in the end");
    await seen(vm, "in the end");
    // Two changes at the same time: the server refuses one of them, or does them one after the other.
    await Promise.all(["one", "two"].map((value) => change(vm, value)));
  });

  test("NoPermission names the object and the privilege, and is not tried again", async () => {
    const vm = await make("forbidden");
    const detail = `<object type="VirtualMachine">${vm.value}</object><privilegeId>VirtualMachine.Config.Rename</privilegeId>`;
    proxy.trouble("ReconfigVM_Task", { kind: "fault", fault: "NoPermission", message: "Permission denied", detail });
    const before = proxy.calls("ReconfigVM_Task");
    const error = await vsphere.reconfigureVm(vm, { name: "x" }).catch((caught: VSphereFault) => caught);
    expect(error).toMatchObject({
      fault: "NoPermission",
      detail: { object: vm, privilegeId: "VirtualMachine.Config.Rename" },
    });
    expect(proxy.calls("ReconfigVM_Task")).toBe(before + 1);
  });

  test("a connection cut under a question: asked again. Under a change: told, never done twice", async () => {
    const vm = await make("cut");
    for (const when of ["before", "instead"] as const) {
      proxy.trouble("RetrievePropertiesEx", { kind: "cut", when });
      expect((await vsphere.files.space()).capacityBytes).toBeGreaterThan(0);
    }
    proxy.trouble("ReconfigVM_Task", { kind: "cut", when: "instead" });
    const before = proxy.calls("ReconfigVM_Task");
    await expect(change(vm, "done")).rejects.toThrow("Cannot reach");
    expect(proxy.calls("ReconfigVM_Task")).toBe(before + 1);
    // The server did it all the same, and the view tells.
    await seen(vm, "done");
  });

  test("an answer that ends in the middle is an error, not a shorter answer", async () => {
    proxy.trouble("RetrievePropertiesEx", { kind: "cut", when: "within" }, 2);
    await expect(vsphere.files.space()).rejects.toThrow("answer was cut off");
    expect((await vsphere.files.space()).capacityBytes).toBeGreaterThan(0);
  });

  test("the view goes on after its polls were cut, refused and late", async () => {
    const vm = await make("watched");
    for (const when of ["before", "instead", "within"] as const) {
      proxy.trouble("WaitForUpdatesEx", { kind: "cut", when }, 2);
      await change(vm, when);
      await seen(vm, when);
    }
    proxy.trouble("WaitForUpdatesEx", { kind: "status", status: 503 }, 2);
    await change(vm, "after 503");
    await seen(vm, "after 503");
    proxy.trouble("WaitForUpdatesEx", { kind: "late", milliseconds: 700 }, 4);
    await change(vm, "late");
    await seen(vm, "late");
  });

  test("where no child disk can be made, a copy of the parent takes its place", async () => {
    const { files } = vsphere;
    const parent = `[${files.datastore}] parents/base.vmdk`;
    await files.makeDirectory(`[${files.datastore}] parents`);
    await files.makeDisk(parent, 4 * 1024 * 1024);
    const withChild = (name: string) =>
      machine(vsphere, name, {
        disks: [
          {
            bus: 0,
            unit: 0,
            path: `[${files.datastore}] ${name}/rw.vmdk`,
            mode: "persistent",
            create: { parent, capacityBytes: 8 * 1024 * 1024 },
          },
        ],
      });
    const fresh = await connectVSphere(proxy.target);
    try {
      const refusal = { kind: "fault", fault: "DeviceBackingNotSupported", message: "no such backing" } as const;
      // Refused for another reason as well: the copy does not stay.
      proxy.trouble("CreateVM_Task", refusal, 2);
      expect(await faultOf(fresh.createVm(withChild("copied")))).toBe("DeviceBackingNotSupported");
      expect(await files.exists(`[${files.datastore}] copied/rw.vmdk`)).toBe(false);
      proxy.trouble("CreateVM_Task", refusal);
      const vm = await fresh.createVm(withChild("copied"));
      expect(proxy.calls("CopyVirtualDisk_Task")).toBe(2);
      expect(await files.exists(`[${files.datastore}] copied/rw.vmdk`)).toBe(true);
      // From now on at once.
      const before = proxy.calls("CreateVM_Task");
      const next = await fresh.createVm(withChild("copied too"));
      expect(proxy.calls("CreateVM_Task")).toBe(before + 1);
      // Its own now, so it goes with the VM; the parent stays.
      for (const one of [vm, next]) await fresh.destroyVm(one, { keepDisks: [] });
      expect(await files.exists(`[${files.datastore}] copied`)).toBe(false);
      expect(await files.exists(parent)).toBe(true);
    } finally {
      await fresh.close();
    }
  });

  test("a server that does not answer our API version is asked in an older one", async () => {
    const fault = { kind: "fault", fault: "InvalidRequest", message: "unsupported version" } as const;
    proxy.trouble("RetrieveServiceContent", fault);
    await (await connectVSphere(proxy.target)).close();
    proxy.trouble("RetrieveServiceContent", fault, 2);
    await expect(connectVSphere(proxy.target)).rejects.toMatchObject({ fault: "InvalidRequest" });
  });

  test("a task whose outcome is never told is read", async () => {
    const vm = await make("untold");
    proxy.trouble("WaitForUpdatesEx", { kind: "late", milliseconds: 2 * PATIENCE }, 2);
    // Those two polls hang on the answers that are under way now.
    await change(vm, "first");
    const started = Date.now();
    await change(vm, "second");
    expect(Date.now() - started).toBeLessThan(PATIENCE);
  });
});
