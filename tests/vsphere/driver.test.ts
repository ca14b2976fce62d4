/** The driver against govmomi's simulator, as a vCenter and as a standalone host. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  connectVSphere,
  type InventoryView,
  type VirtualMachineSpec,
  type VSphere,
  VSphereFault,
} from "../../src/vsphere/index.ts";
import { type Simulator, simulatorMissing, startSimulator } from "./simulator.ts";

const missing = await simulatorMissing();
if (missing !== undefined) console.warn(`driver.test.ts is skipped: ${missing}`);

const personalities = [
  { name: "vCenter", options: [], network: "DC0_DVPG0", apiType: "VirtualCenter", pool: { resourcePool: "DC0_C0" } },
  { name: "standalone host", options: ["-esx"], network: "VM Network", apiType: "HostAgent", pool: {} },
] as const;

function faultOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "none",
    (error: unknown) => (error instanceof VSphereFault ? error.fault : String(error)),
  );
}

describe.skipIf(missing !== undefined).each([...personalities])(
  "against a simulated $name",
  ({ options, network, apiType, pool }) => {
    let simulator: Simulator;
    let vsphere: VSphere;
    let view: InventoryView;
    let root: string;

    beforeAll(async () => {
      simulator = await startSimulator(...options);
      vsphere = await connectVSphere({
        url: simulator.url,
        fingerprint: simulator.fingerprint,
        username: "user",
        password: "pass",
        ...pool,
      });
      view = await vsphere.openView();
      root = `[${vsphere.files.datastore}]`;
    });

    afterAll(async () => {
      await view.close();
      await vsphere.close();
      await simulator.stop();
    });

    function spec(name: string, extra: Partial<VirtualMachineSpec> = {}): VirtualMachineSpec {
      return {
        name,
        uuid: crypto.randomUUID(),
        annotation: "a container",
        directory: `${root} ${name}`,
        cpus: 2,
        memoryMB: 128,
        firmware: "bios",
        disks: [],
        networkAdapters: [],
        serialPorts: [],
        extraConfig: { "guestinfo.vch.config": "{}", "vch.id": name, "other.key": "x" },
        ...extra,
      };
    }

    test("says what it is", async () => {
      expect(vsphere.about.apiType).toBe(apiType);
      const capacity = await vsphere.capacity();
      expect(capacity.hosts).toBeGreaterThan(0);
      expect(capacity.memoryBytes).toBeGreaterThan(0);
      expect((await vsphere.networks()).map(({ name }) => name)).toContain(network);
      expect((await vsphere.files.space()).capacityBytes).toBeGreaterThan(0);
    });

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
              create: { parent: `${root} images/base.vmdk` },
            },
          ],
          networkAdapters: [{ network, macAddress: "00:50:56:00:00:01", connected: true }],
          serialPorts: [{ kind: "network", serviceUri: "tcp://127.0.0.1:2377", direction: "client", connected: false }],
        }),
      );
      // The simulator tells of a VM before its devices are there.
      const created = await view.waitFor(
        vm,
        (record) => record.networkAdapters[0]?.macAddress === "00:50:56:00:00:01",
        5000,
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
      await view.waitFor(vm, (record) => record.powerState === "poweredOn", 5000, "power on");
      expect(await faultOf(vsphere.powerOn(vm))).toBe("InvalidPowerState");

      const { changeVersion } = await view.waitFor(vm, () => true, 5000, "the VM");
      const changes = { changeVersion, extraConfig: { "guestinfo.vch.state": "running", "vch.id": "" }, memoryMB: 256 };
      await vsphere.reconfigureVm(vm, changes);
      const changed = await view.waitFor(
        vm,
        (record) => record.extraConfig.has("guestinfo.vch.state"),
        5000,
        "reconfigure",
      );
      expect(changed.extraConfig.get("guestinfo.vch.state")).toBe("running");
      expect(changed.extraConfig.has("vch.id")).toBe(false);

      await vsphere.files.makeDisk(`${root} images/volume.vmdk`, 1024 * 1024);
      await vsphere.reconfigureVm(vm, {
        addDisks: [{ bus: 1, unit: 0, path: `${root} images/volume.vmdk`, mode: "independent_persistent" }],
        addNetworkAdapters: [{ network, connected: false }],
      });
      const two = await view.waitFor(vm, (record) => record.networkAdapters.length === 2, 5000, "second adapter");
      const macAddress = two.networkAdapters[1]?.macAddress ?? "";
      expect(macAddress).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
      await vsphere.reconfigureVm(vm, { removeNetworkAdapters: [{ macAddress }] });
      await view.waitFor(vm, (record) => record.networkAdapters.length === 1, 5000, "one adapter");
      expect(await faultOf(vsphere.reconfigureVm(vm, { removeDisks: [{ bus: 3, unit: 9 }] }))).toBe("DeviceNotFound");

      await vsphere.suspend(vm);
      await view.waitFor(vm, (record) => record.powerState === "suspended", 5000, "suspend");
      await vsphere.powerOn(vm);
      await vsphere.powerOff(vm);
      await vsphere.powerOff(vm);

      const removed = view.waitFor(vm, () => false, 5000, "removal").catch((error: VSphereFault) => error.fault);
      await vsphere.destroyVm(vm, { keepDisks: [`${root} images/volume.vmdk`] });
      expect(await removed).toBe("ManagedObjectNotFound");
      expect(view.get(vm)).toBeUndefined();
      expect(await vsphere.files.exists(`${root} images/base.vmdk`)).toBe(true);
      expect(await vsphere.files.exists(`${root} images/volume.vmdk`)).toBe(true);
      expect(await vsphere.files.exists(`${root} life`)).toBe(false);
      await vsphere.destroyVm(vm, { keepDisks: [] });
    });

    // One after the other: calls at the same time make this simulator lock itself up (see docs/vsphere.md).
    test("several VMs", async () => {
      for (const name of ["one", "two", "three"]) {
        const vm = await vsphere.createVm(spec(name));
        await vsphere.powerOn(vm);
        await view.waitFor(vm, (record) => record.powerState === "poweredOn", 5000, "power on");
        await vsphere.powerOff(vm);
        await vsphere.destroyVm(vm, { keepDisks: [] });
      }
      expect(view.list()).toEqual([]);
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
  },
);
