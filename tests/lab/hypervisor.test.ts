import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { access, appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeRpciFrame, parseRpciReply, RpciDecoder } from "../../src/format/rpci.ts";
import { bootProbeGuest } from "../../src/lab/hypervisor/accelerator.ts";
import type { Hypervisor, MachineDefinition, RunningMachine } from "../../src/lab/hypervisor/contract.ts";
import { createDiskStore, createHypervisor } from "../../src/lab/hypervisor/index.ts";
import { DiskRelations } from "../../src/lab/storage/disk-relations.ts";
import { serialGuestIso } from "./serial-guest.ts";

const usable =
  Bun.which("qemu-system-x86_64") !== null &&
  Bun.which("ip") !== null &&
  process.getuid?.() === 0 &&
  (await exists("/dev/net/tun"));
/** Seconds on an idle machine; others may be busy with it. */
const LIMIT_MS = 180_000;
const MiB = 1024 * 1024;
const disks = createDiskStore();

let base = "";
let iso = "";
let hypervisor: Hypervisor | undefined;
const full: string[] = [];
const stopped: { id: string; kind: string; detail: string }[] = [];
const guestinfo = new Map<string, string>();
const sockets: Socket[] = [];

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${LIMIT_MS} ms: ${what}`);
    await Bun.sleep(10);
  }
}

const open = async () => {
  hypervisor = await createHypervisor({
    stateDirectory: join(base, "state"),
    runDirectory: join(base, "run"),
    diskRoots: [base],
    events: {
      outOfSpace: (id) => void full.push(id),
      stopped: (id, { kind, detail }) => void stopped.push({ id, kind, detail }),
      guestInfo: () => ({
        get: (key) => guestinfo.get(key),
        set: (key, value) => {
          if (value === "refused") throw new Error("Value refused");
          guestinfo.set(key, value);
        },
      }),
    },
    log: () => undefined,
  });
  return hypervisor;
};

/** A port nobody listens on now. */
function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = server;
  server.stop(true);
  return port;
}

interface Guest {
  definition: MachineDefinition;
  port: number;
  com1(): Promise<string>;
}

async function guest(id: string, changes: Partial<MachineDefinition> = {}): Promise<Guest> {
  const directory = join(base, id);
  await mkdir(directory, { recursive: true });
  const port = freePort();
  const console1 = join(directory, "serial0.log");
  return {
    port,
    com1: () => readFile(console1, "latin1").catch(() => ""),
    definition: {
      id,
      name: `test ${id}`,
      uuid: "564d0000-1111-2222-3333-444455556666",
      directory,
      firmware: "bios",
      cpus: 1,
      memoryMB: 16,
      cpuLimitMhz: -1,
      scsiControllers: [{ key: 1000, bus: 0, model: "pvscsi" }],
      disks: [],
      cdroms: [{ key: 3000, bus: "ide", controller: 1, unit: 0, file: iso }],
      networkAdapters: [],
      serialPorts: [
        { key: 9000, unit: 0, backing: { kind: "file", file: console1 }, connected: true },
        {
          key: 9001,
          unit: 1,
          backing: { kind: "network", serviceUri: `tcp://127.0.0.1:${port}`, direction: "server" },
          connected: true,
        },
      ],
      ...changes,
    },
  };
}

/** Sends single bytes to COM2; `count` sends one and resolves with the guest's counter. */
async function com2(port: number): Promise<{ send(text: string): void; count(): Promise<string> }> {
  const socket = connect(port, "127.0.0.1");
  sockets.push(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return {
    send: (text) => void socket.write(text),
    count: () =>
      new Promise((resolve) => {
        socket.once("data", (chunk: Buffer) => resolve(chunk.toString("latin1")));
        socket.write("x");
      }),
  };
}

async function powerOn(from: Guest, hypervisorNow = hypervisor): Promise<RunningMachine> {
  if (hypervisorNow === undefined) throw new Error("no hypervisor");
  const before = (await from.com1()).split("UP").length;
  const machine = await hypervisorNow.powerOn(from.definition);
  await eventually("guest is up", async () => (await from.com1()).split("UP").length > before);
  return machine;
}

const stoppedOf = (id: string) => stopped.filter((entry) => entry.id === id);
const interfaces = async () => (await readdir("/sys/class/net")).filter((name) => name.startsWith("vch"));
const qemuPid = async (id: string) => Number(await readFile(join(base, "run", id, "pid"), "utf8"));

describe.skipIf(!usable)("machines under QEMU", () => {
  beforeAll(async () => {
    base = await mkdtemp(join(tmpdir(), "vch-hv-"));
    iso = join(base, "guest.iso");
    await writeFile(iso, serialGuestIso(encodeRpciFrame(7, new TextEncoder().encode("info-get guestinfo.answer"))));
    await open();
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  afterAll(async () => {
    await hypervisor?.dispose({ stopMachines: true });
    expect(await readdir(join(base, "run"))).toEqual([]);
    await rm(base, { recursive: true, force: true });
  });

  test("the probe guest runs where it can", async () => {
    expect(await bootProbeGuest("qemu-system-x86_64", "tcg")).toMatchObject({ works: true });
  });

  test(
    "power on, serial output, power off by the guest",
    async () => {
      const vm = await guest("vm-1");
      const machine = await powerOn(vm);
      expect(machine.state).toBe("running");
      await expect(hypervisor?.powerOn(vm.definition)).rejects.toMatchObject({ fault: "InvalidState" });
      (await com2(vm.port)).send("p");
      await eventually("stopped", () => machine.state === "stopped" && stoppedOf("vm-1").length > 0);
      expect(stoppedOf("vm-1")).toEqual([{ id: "vm-1", kind: "guest", detail: "guest powered off" }]);
      expect(await readFile(join(vm.definition.directory, "vmware.log"), "utf8")).toMatch(
        /Powered on\n.*Powered off \(guest\)/s,
      );
      expect(await exists(join(base, "run/vm-1"))).toBe(false);
    },
    LIMIT_MS,
  );

  test(
    "a guest's reset restarts it; a host's power-off ends it",
    async () => {
      const vm = await guest("vm-2");
      const machine = await powerOn(vm);
      (await com2(vm.port)).send("r");
      await eventually("second start", async () => (await vm.com1()).split("UP").length === 3);
      await machine.reset();
      await eventually("third start", async () => (await vm.com1()).split("UP").length === 4);
      await machine.powerOff();
      expect(machine.state).toBe("stopped");
      expect(stoppedOf("vm-2")).toEqual([{ id: "vm-2", kind: "host", detail: "powered off" }]);
      await expect(machine.reset()).rejects.toMatchObject({ fault: "InvalidPowerState" });
    },
    LIMIT_MS,
  );

  test(
    "guest RPC answers, also after another lab process took over",
    async () => {
      const vm = await guest("vm-3");
      await powerOn(vm);
      const port2 = await com2(vm.port);
      const ask = async () => {
        const before = (await vm.com1()).length;
        port2.send("g");
        const decoder = new RpciDecoder(1000);
        let reply: ReturnType<typeof parseRpciReply> | undefined;
        await eventually("a reply", async () => {
          decoder.reset();
          const [frame] = decoder.push(Buffer.from((await vm.com1()).slice(before), "latin1"));
          reply = frame && parseRpciReply(frame.message);
          return reply !== undefined;
        });
        return reply;
      };
      expect(await ask()).toEqual({ ok: false, reason: "No value found" });
      guestinfo.set("guestinfo.answer", "grüße");
      await hypervisor?.dispose({ stopMachines: false });
      const [adopted] = await (await open()).adopt([vm.definition]);
      expect(adopted?.state).toBe("running");
      expect(await ask()).toEqual({ ok: true, value: "grüße" });
      await adopted?.powerOff();
      expect(stoppedOf("vm-3")).toHaveLength(1);
    },
    LIMIT_MS,
  );

  test(
    "a killed QEMU is reported once, with its last words",
    async () => {
      const vm = await guest("vm-4");
      const machine = await powerOn(vm);
      process.kill(await qemuPid("vm-4"), "SIGKILL");
      await eventually("noticed", () => stoppedOf("vm-4").length > 0);
      expect(machine.state).toBe("stopped");
      expect(stoppedOf("vm-4")).toMatchObject([{ kind: "crashed" }]);
      await powerOn(vm).then((again) => again.powerOff());
    },
    LIMIT_MS,
  );

  test(
    "an adopted machine's end is noticed; unknown machines are ended; a reused pid is left alone",
    async () => {
      const [kept, unknown] = [await guest("vm-5"), await guest("vm-6")];
      await Promise.all([powerOn(kept), powerOn(unknown)]);
      await hypervisor?.dispose({ stopMachines: false });
      const unknownPid = await qemuPid("vm-6");
      // A record that names a process which is not QEMU: this one.
      await mkdir(join(base, "run/vm-7"));
      const record = {
        pid: process.pid,
        startTime: "1",
        bootId: (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim(),
      };
      await writeFile(join(base, "run/vm-7/process.json"), JSON.stringify(record));
      const again = await open();
      const adopted = await again.adopt([kept.definition, (await guest("vm-7")).definition]);
      expect(adopted.map((machine) => machine.id)).toEqual(["vm-5"]);
      expect(
        (await exists(`/proc/${unknownPid}/cmdline`)) && (await readFile(`/proc/${unknownPid}/cmdline`, "utf8")) !== "",
      ).toBe(false);
      (await com2(kept.port)).send("p");
      await eventually("stopped", () => stoppedOf("vm-5").length > 0);
      expect(stoppedOf("vm-5")).toEqual([{ id: "vm-5", kind: "guest", detail: "guest powered off" }]);
      expect(await readdir(join(base, "run"))).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "suspend keeps the guest's memory and frees its disks; resume goes on",
    async () => {
      const file = join(base, "suspend.vmdk");
      await disks.create(file, 8 * MiB);
      const disk = { key: 2000, bus: "scsi", controller: 0, unit: 0, file, discardWrites: false } as const;
      const redo = { ...disk, key: 2001, unit: 1, file: join(base, "redo-base.vmdk"), discardWrites: true };
      await disks.create(redo.file, 8 * MiB);
      const vm = await guest("vm-8", { disks: [disk, redo] });
      const machine = await powerOn(vm);
      const before = await com2(vm.port);
      expect([await before.count(), await before.count()]).toEqual(["1", "2"]);
      await expect(machine.suspend("/nonexistent/state")).rejects.toMatchObject({ fault: "GenericVmConfigFault" });
      expect(await before.count()).toBe("3");
      const state = join(vm.definition.directory, "vm.vmss");
      await machine.suspend(state);
      expect(machine.state).toBe("suspended");
      expect(stoppedOf("vm-8")).toEqual([]);
      expect(await exists(join(vm.definition.directory, "disk-2001.vmdk.REDO"))).toBe(true);
      expect(
        Bun.spawnSync(["qemu-io", "-f", "vmdk", "-c", "write 0 64k", "-c", "write -z 0 64k", redo.file]).exitCode,
      ).toBe(0);
      const resumed = await hypervisor?.powerOn(vm.definition, { stateFile: state });
      expect(await (await com2(vm.port)).count()).toBe("4");
      await resumed?.powerOff();
      expect(await exists(join(vm.definition.directory, "disk-2001.vmdk.REDO"))).toBe(false);

      await appendFile(join(base, "bad.vmss"), "x".repeat(5000));
      await expect(hypervisor?.powerOn(vm.definition, { stateFile: join(base, "bad.vmss") })).rejects.toMatchObject({
        fault: "GenericVmConfigFault",
      });
    },
    LIMIT_MS,
  );

  test(
    "disks: hot-plug, locks, shared parents, discarded writes",
    async () => {
      const parent = join(base, "parent.vmdk");
      const [one, two] = [join(base, "one.vmdk"), join(base, "two.vmdk")];
      await disks.create(parent, 8 * MiB);
      await disks.createChild(one, parent);
      await disks.createChild(two, parent);
      const disk = (key: number, file: string, discardWrites = false) =>
        ({ key, bus: "scsi", controller: 0, unit: key - 2000, file, discardWrites }) as const;
      const first = await guest("vm-9", { disks: [disk(2000, one)] });
      const second = await guest("vm-10", { disks: [disk(2000, two), disk(2001, parent, true)] });
      const [machine, other] = await Promise.all([powerOn(first), powerOn(second)]);
      // What a lab reads at its start: a throw-away child is none.
      const relations = new DiskRelations(disks, () => undefined);
      await relations.scan(base);
      expect(relations.childrenOf(parent).sort()).toEqual([one, two]);
      await expect(other.plugDisk(disk(2002, one))).rejects.toMatchObject({ fault: "FileLocked" });
      await expect(other.plugDisk(disk(2002, parent))).rejects.toMatchObject({ fault: "FileLocked" });
      await expect(other.plugDisk(disk(2002, join(base, "none.vmdk")))).rejects.toMatchObject({
        fault: "FileNotFound",
      });
      await expect(other.plugDisk(disk(2007, two))).rejects.toMatchObject({ fault: "GenericVmConfigFault" });

      const extra = join(base, "extra.vmdk");
      await disks.create(extra, MiB);
      await machine.plugDisk(disk(2003, extra));
      expect((await machine.counters()).disks.map(({ key }) => key)).toEqual([2000, 2003]);
      await expect(other.plugDisk(disk(2003, extra))).rejects.toMatchObject({ fault: "FileLocked" });
      await machine.unplugDisk(2003);
      await other.plugDisk(disk(2003, extra));
      const locked = await guest("vm-11", { disks: [disk(2000, one)] });
      await expect(hypervisor?.powerOn(locked.definition)).rejects.toMatchObject({ fault: "FileLocked" });
      expect(await exists(join(base, "run/vm-11"))).toBe(false);
      await Promise.all([machine.powerOff(), other.powerOff()]);
      expect(await readdir(second.definition.directory)).not.toContain("disk-2001.vmdk.REDO");
    },
    LIMIT_MS,
  );

  test(
    "networks: bridges, taps, links",
    async () => {
      const { bridge } = (await hypervisor?.makePortGroup("Test Network")) ?? { bridge: "" };
      expect(bridge.length).toBe(15);
      const adapter = (key: number, connected: boolean) =>
        ({
          key,
          model: "vmxnet3",
          macAddress: `00:50:56:00:00:${key - 3990}`,
          portGroup: "Test Network",
          connected,
        }) as const;
      const vm = await guest("vm-12", { networkAdapters: [adapter(4000, true), adapter(4001, false)] });
      const machine = await powerOn(vm);
      const ports = async () => (await readdir(`/sys/class/net/${bridge}/brif`)).length;
      const up = async () => {
        const flags = (await readdir(`/sys/class/net/${bridge}/brif`)).map(async (tap) =>
          Number(await readFile(`/sys/class/net/${tap}/flags`, "utf8")),
        );
        return (await Promise.all(flags)).filter((value) => (value & 1) === 1).length;
      };
      expect([await ports(), await up()]).toEqual([2, 1]);
      // A guest sends from its adapter's address only.
      for (const tap of await readdir(`/sys/class/net/${bridge}/brif`))
        expect(await Bun.$`bridge -d link show dev ${tap}`.text()).toMatch(/learning off flood off .*locked on/);
      expect(await Bun.$`bridge fdb show br ${bridge}`.text()).toContain("00:50:56:00:00:10 dev ");
      await machine.setLink(4001, true);
      expect(await up()).toBe(2);
      await machine.plugNetworkAdapter(adapter(4002, true));
      expect([await ports(), await up()]).toEqual([3, 3]);
      expect((await machine.counters()).networkAdapters.map(({ key }) => key)).toEqual([4000, 4001, 4002]);
      await hypervisor?.dispose({ stopMachines: false });
      const again = await open();
      expect(await again.portGroups()).toEqual([{ name: "Test Network", bridge }]);
      const keys = [adapter(4000, true), adapter(4001, true), adapter(4002, true)];
      const [adopted] = await again.adopt([{ ...vm.definition, networkAdapters: keys }]);
      await adopted?.powerOff();
      expect(await ports()).toBe(0);
      const lost = await guest("vm-13", { networkAdapters: [{ ...adapter(4000, true), portGroup: "No Network" }] });
      await expect(again.powerOn(lost.definition)).rejects.toMatchObject({ fault: "NotFound" });
      await again.removePortGroup("Test Network");
      expect(await interfaces()).not.toContain(bridge);
    },
    LIMIT_MS,
  );

  test(
    "media are ejected and changed",
    async () => {
      const vm = await guest("vm-14");
      const machine = await powerOn(vm);
      await machine.changeMedium(3000, undefined);
      await machine.changeMedium(3000, iso);
      await machine.changeMedium(3000, iso);
      await machine.reset();
      await eventually("boots from the new medium", async () => (await vm.com1()).split("UP").length === 3);
      await machine.powerOff();
    },
    LIMIT_MS,
  );

  test(
    "what cannot be had is refused with a reason",
    async () => {
      const refused = async (changes: Partial<MachineDefinition>, message: RegExp) => {
        const vm = await guest("vm-15", changes);
        await expect(hypervisor?.powerOn(vm.definition)).rejects.toThrow(message);
      };
      await refused({ memoryMB: 0 }, /memory/);
      await refused({ serialPorts: [{ key: 9003, unit: 3, backing: { kind: "none" }, connected: true }] }, /guest RPC/);
      await refused(
        { cdroms: [{ key: 3000, bus: "ide", controller: 0, unit: 0, file: "/nonexistent.iso" }] },
        /No such file/,
      );
      expect(stoppedOf("vm-15")).toEqual([]);
      expect(await readdir(join(base, "run"))).toEqual([]);
    },
    LIMIT_MS,
  );
});
