/** The driver against every server: what the engine asks of it. Failures of servers and connections are in the other files. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connectVSphere, type InventoryView, type VSphere, type VSphereFault } from "../../src/vsphere/index.ts";
import { faultOf, machine, PATIENCE } from "./machines.ts";
import { type RunningServer, SERVERS, stateFolder } from "./servers.ts";

describe.each([...SERVERS])("$name", ({ apiType, network, differences, start }) => {
  let server: RunningServer;
  let folder: Awaited<ReturnType<typeof stateFolder>>;
  let vsphere: VSphere;
  let view: InventoryView;
  let root: string;
  const spec = (...[name, extra]: [string, Parameters<typeof machine>[2]?]) => machine(vsphere, name, extra);

  beforeAll(async () => {
    folder = await stateFolder();
    server = await start(folder.path);
    vsphere = await connectVSphere(server.target);
    view = await vsphere.openView();
    root = `[${vsphere.files.datastore}]`;
  });

  afterAll(async () => {
    await view.close();
    await vsphere.close();
    await server.stop();
    await folder.remove();
  });

  test("says what it is", async () => {
    expect(vsphere.about.apiType).toBe(apiType);
    const capacity = await vsphere.capacity();
    expect(capacity.hosts).toBeGreaterThan(0);
    expect(capacity.memoryBytes).toBeGreaterThan(0);
    expect((await vsphere.networks()).map(({ name }) => name)).toContain(network);
    expect((await vsphere.files.space()).capacityBytes).toBeGreaterThan(0);
  });

  const noNewBus = differences.includes("no hot-add of controllers");

  test("a VM's life", async () => {
    await vsphere.files.makeDirectory(`${root} images`);
    await vsphere.files.makeDirectory(`${root} life`);
    await vsphere.files.makeDisk(`${root} images/base.vmdk`, 10 * 1024 * 1024);
    const vm = await vsphere.createVm(
      spec("life", {
        cpuShares: 500,
        disks: [
          {
            bus: 0,
            unit: 0,
            path: `${root} life/rw.vmdk`,
            mode: "persistent",
            ioShares: 400,
            create: { parent: `${root} images/base.vmdk` },
          },
        ],
        networkAdapters: [{ network, macAddress: "00:50:56:00:00:01", connected: true }],
        serialPorts: [{ kind: "network", serviceUri: "tcp://127.0.0.1:2377", direction: "client", connected: false }],
      }),
    );
    // Some tell of a VM before its devices are there (see DIFFERENCES).
    const created = await view.waitFor(
      vm,
      (record) => record.networkAdapters[0]?.macAddress === "00:50:56:00:00:01",
      PATIENCE,
      "the VM",
    );
    expect(created).toMatchObject({
      name: "life",
      powerState: "poweredOff",
      cpus: 2,
      memoryMB: 128,
      annotation: "a container",
      networkAdapters: [{ macAddress: "00:50:56:00:00:01", network, connected: true }],
    });
    expect([...created.extraConfig]).toEqual([
      ["guestinfo.vch.config", "{}"],
      ["vch.id", "life"],
    ]);
    expect(created.vmPathName).toBe(`${root} life/life.vmx`);

    await vsphere.powerOn(vm);
    await view.waitFor(vm, (record) => record.powerState === "poweredOn", PATIENCE, "power on");
    expect(await faultOf(vsphere.powerOn(vm))).toBe("InvalidPowerState");

    const { changeVersion } = await view.waitFor(vm, () => true, PATIENCE, "the VM");
    const changes = {
      changeVersion,
      extraConfig: { "guestinfo.vch.state": "running", "vch.id": "" },
      annotation: "changed",
    };
    await vsphere.reconfigureVm(vm, changes);
    const changed = await view.waitFor(
      vm,
      (record) => record.extraConfig.has("guestinfo.vch.state"),
      PATIENCE,
      "reconfigure",
    );
    expect(changed.extraConfig.get("guestinfo.vch.state")).toBe("running");
    expect(changed.extraConfig.has("vch.id")).toBe(false);

    await vsphere.files.makeDisk(`${root} images/volume.vmdk`, 1024 * 1024);
    await vsphere.reconfigureVm(vm, {
      // Where a bus has no controller yet, one comes along; with the VM running that needs the guest's part.
      addDisks: [
        { bus: noNewBus ? 0 : 1, unit: 1, path: `${root} images/volume.vmdk`, mode: "independent_persistent" },
      ],
      addNetworkAdapters: [{ network, connected: false }],
    });
    const two = await view.waitFor(vm, (record) => record.networkAdapters.length === 2, PATIENCE, "second adapter");
    const macAddress = two.networkAdapters[1]?.macAddress ?? "";
    expect(macAddress).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    await vsphere.reconfigureVm(vm, { removeNetworkAdapters: [{ macAddress }] });
    await view.waitFor(vm, (record) => record.networkAdapters.length === 1, PATIENCE, "one adapter");
    expect(await faultOf(vsphere.reconfigureVm(vm, { removeDisks: [{ bus: 3, unit: 9 }] }))).toBe("DeviceNotFound");

    await vsphere.suspend(vm);
    await view.waitFor(vm, (record) => record.powerState === "suspended", PATIENCE, "suspend");
    await vsphere.powerOn(vm);
    await vsphere.powerOff(vm);
    await vsphere.powerOff(vm);

    const removed = view.waitFor(vm, () => false, PATIENCE, "removal").catch((error: VSphereFault) => error.fault);
    await vsphere.destroyVm(vm, { keepDisks: [`${root} images/volume.vmdk`] });
    expect(await removed).toBe("ManagedObjectNotFound");
    expect(view.get(vm)).toBeUndefined();
    expect(await vsphere.files.exists(`${root} images/base.vmdk`)).toBe(true);
    expect(await vsphere.files.exists(`${root} images/volume.vmdk`)).toBe(true);
    expect(await vsphere.files.exists(`${root} life`)).toBe(false);
    await vsphere.destroyVm(vm, { keepDisks: [] });
  });

  test("many VMs at once, while they are watched", async () => {
    const names = Array.from({ length: 40 }, (_, index) => `many-${index}`);
    const machines = await Promise.all(names.map((name) => vsphere.createVm(spec(name))));
    await Promise.all(machines.map((vm) => vsphere.powerOn(vm)));
    await Promise.all(
      machines.map((vm) => view.waitFor(vm, (record) => record.powerState === "poweredOn", PATIENCE, "power on")),
    );
    await Promise.all(machines.map((vm) => vsphere.powerOff(vm)));
    await Promise.all(machines.map((vm) => vsphere.destroyVm(vm, { keepDisks: [] })));
    const gone = machines.filter((vm) => view.get(vm) !== undefined);
    await Promise.all(gone.map((vm) => view.waitFor(vm, () => false, PATIENCE, "removal").catch(() => undefined)));
    expect(view.list().filter(({ name }) => name.startsWith("many-"))).toEqual([]);
  });

  test("files", async () => {
    const { files } = vsphere;
    const directory = `${root} some dir/ü & more`;
    await files.makeDirectory(directory);
    await files.makeDirectory(directory);
    await files.write(`${directory}/a b.json`, '{"x":1}');
    expect(await files.readText(`${directory}/a b.json`, 100)).toBe('{"x":1}');
    expect(await faultOf(files.readText(`${directory}/a b.json`, 3))).toBe("FileTooLarge");
    expect(await new Response(await files.read(`${directory}/a b.json`, { start: 1, end: 4 })).text()).toBe('"x"');
    expect(await faultOf(files.read(`${directory}/none`))).toBe("FileNotFound");
    expect(await files.list(directory)).toMatchObject([{ name: "a b.json", directory: false, size: 7 }]);
    expect(await files.list(`${root} some dir`)).toMatchObject([{ name: "ü & more", directory: true }]);

    await files.write(`${directory}/b`, "new");
    await files.move(`${directory}/b`, `${directory}/a b.json`);
    expect(await files.readText(`${directory}/a b.json`, 100)).toBe("new");
    expect(await files.exists(`${directory}/b`)).toBe(false);
    expect(await files.exists(`${root} nowhere/at all`)).toBe(false);

    const length = 20_000_000;
    let left = length;
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        const size = Math.min(left, 65_536);
        left -= size;
        if (size > 0) controller.enqueue(new Uint8Array(size).fill(7));
        else controller.close();
      },
    });
    await files.write(`${directory}/big`, { stream, length });
    let got = 0;
    for await (const chunk of await files.read(`${directory}/big`)) got += chunk.length;
    expect(got).toBe(length);

    await files.remove(`${root} some dir`);
    await files.remove(`${root} some dir`);
    expect(await files.exists(`${root} some dir`)).toBe(false);
    expect(await faultOf(files.list(`${root} some dir`))).toBe("FileNotFound");
  });
});
