/** Families of govc commands beside the life of a VM: what an administrator and his tools ask of a vCenter. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkDisks } from "./check-disks.ts";
import { type FakeLabProcess, serveFakeLab } from "./fake-lab-process.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";

beforeAll(buildGovc, BUILD_MILLISECONDS);

describe.each(["HostAgent", "VirtualCenter"] as const)("%s", (personality) => {
  const center = personality === "VirtualCenter";
  let directory: string;
  let lab: FakeLabProcess;
  let govc: Govc;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "vch-govc-"));
    lab = await serveFakeLab(join(directory, "state"), personality);
    govc = govcFor(lab.url, directory);
    await govc(
      "vm.create",
      "-m",
      "64",
      "-c",
      "1",
      "-on=false",
      "-disk",
      "16MB",
      "-disk.controller",
      "pvscsi",
      "-net",
      "VM Network",
      "vm1",
    );
  });
  afterAll(async () => {
    await lab.stop();
    await checkDisks(join(directory, "state"));
    await rm(directory, { recursive: true });
  });

  test("metric", async () => {
    await govc("vm.power", "-on", "vm1");
    expect(await govc("metric.ls", "vm/vm1")).toContain("cpu.usage.average");
    expect(await govc("metric.sample", "vm/vm1", "cpu.usagemhz.average", "sys.uptime.latest")).toContain(
      "sys.uptime.latest",
    );
    expect(await govc("metric.info", "vm/vm1", "net.received.average")).toContain("KBps");
    expect(await govc("metric.interval.info")).toBeString();
    await govc("vm.power", "-off", "-force", "vm1");
  });

  test("tasks, events, sessions, options, licences, logs", async () => {
    expect(await govc("tasks")).toContain("PowerOn");
    expect(await govc("events", "vm/vm1")).toContain("vm1");
    expect(await govc("session.ls")).toContain("administrator@vsphere.local");
    expect(await govc("option.ls", "config.vpxd.SerialPort.PersistNetworkBacking")).toContain("true");
    expect(await govc("license.ls")).toContain("eval");
    expect(await govc("tree", "/")).toContain("vm1");
    expect(await govc("object.collect", "-s", "vm/vm1", "config.name")).toBe("vm1\n");
    await govc("object.reload", "vm/vm1");
  });

  if (center)
    test("fields and extensions", async () => {
      await govc("fields.add", "-type", "VirtualMachine", "owner");
      expect(await govc("fields.ls")).toContain("owner");
      await govc("fields.set", "owner", "me", "vm/vm1");
      expect(await govc("fields.info", "-n", "owner", "vm/vm1")).toContain("me");
      await govc("fields.rename", "owner", "keeper");
      expect(await govc.refused("fields.set", "owner", "x", "vm/vm1")).not.toBe("");
      await govc("fields.rm", "keeper");
      await Bun.write(
        join(directory, "extension.json"),
        JSON.stringify({
          description: { label: "vch", summary: "vch" },
          key: "com.example.vch",
          version: "1",
          lastHeartbeatTime: "2026-01-01T00:00:00Z",
        }),
      );
      await govc.input(Bun.file(join(directory, "extension.json")), "extension.register");
      expect(await govc("extension.info", "com.example.vch")).toContain("com.example.vch");
      await govc("extension.unregister", "com.example.vch");
    });

  if (center)
    test("dvs", async () => {
      await govc("dvs.create", "switch");
      await govc("dvs.add", "-dvs", "switch", "-pnic", "", "*").catch(() => govc("dvs.add", "-dvs", "switch", "*"));
      await govc("dvs.portgroup.add", "-dvs", "switch", "-type", "earlyBinding", "-nports", "16", "tenant");
      expect(await govc("find", "/", "-type", "g")).toContain("tenant");
      expect(await govc.refused("dvs.portgroup.add", "-dvs", "switch", "-vlan", "7", "tagged")).toContain("VLAN");
      await govc("vm.network.add", "-vm", "vm1", "-net", "tenant", "-net.adapter", "vmxnet3");
      const adapters = await govc("device.info", "-vm", "vm1", "ethernet-*");
      expect(adapters).toContain("DVSwitch");
      expect(await govc.refused("object.destroy", "network/tenant")).toContain("in use");
      await govc("vm.power", "-on", "vm1");
      await govc("vm.power", "-off", "-force", "vm1");
      await lab.stop();
      lab = await serveFakeLab(join(directory, "state"), personality);
      govc = govcFor(lab.url, directory);
      expect(await govc("device.info", "-vm", "vm1", "ethernet-*")).toContain("DVSwitch");
      await govc("device.remove", "-vm", "vm1", "ethernet-1");
      await govc("dvs.portgroup.change", "-nports", "32", "tenant");
      await govc("object.destroy", "network/switch");
      expect(await govc("find", "/", "-type", "g")).not.toContain("tenant");
    });

  test("guest operations answer as a VM without VMware Tools", async () => {
    await govc("vm.power", "-on", "vm1");
    for (const words of [
      ["guest.ps"],
      ["guest.run", "/bin/true"],
      ["guest.ls", "/"],
      ["guest.mktemp"],
      ["guest.getenv"],
    ]) {
      const [command = "", ...rest] = words;
      expect(await govc.refused(command, "-vm", "vm1", "-l", "root:x", ...rest)).toContain("guest operations agent");
    }
    await govc("vm.power", "-off", "-force", "vm1");
  });

  test("devices", async () => {
    await govc("device.cdrom.add", "-vm", "vm1");
    await Bun.write(join(directory, "a.iso"), new Uint8Array(4096));
    await govc("datastore.upload", "a.iso", "a.iso");
    await govc("device.cdrom.insert", "-vm", "vm1", "-device", "cdrom-3000", "a.iso");
    expect(await govc("device.info", "-vm", "vm1", "cdrom-*")).toContain("a.iso");
    await govc("device.cdrom.eject", "-vm", "vm1", "-device", "cdrom-3000");
    await govc("device.serial.add", "-vm", "vm1");
    await govc("device.serial.connect", "-vm", "vm1", "[datastore1] vm1/console.log");
    expect(await govc("device.info", "-vm", "vm1", "serialport-*")).toContain("console.log");
    await govc("device.scsi.add", "-vm", "vm1", "-type", "pvscsi");
    expect(await govc("device.ls", "-vm", "vm1")).toContain("pvscsi-1001");
    await govc("device.disconnect", "-vm", "vm1", "ethernet-0");
    await govc("device.connect", "-vm", "vm1", "ethernet-0");
    await govc("device.boot", "-vm", "vm1", "-delay", "1000", "-order", "cdrom,disk");
    await govc("device.remove", "-vm", "vm1", "cdrom-3000", "serialport-9000");
    await govc("vm.network.add", "-vm", "vm1", "-net", "VM Network", "-net.adapter", "vmxnet3");
    await govc(
      "vm.network.change",
      "-vm",
      "vm1",
      "-net",
      "VM Network",
      "-net.address",
      "00:50:56:01:02:03",
      "ethernet-1",
    );
    expect(await govc("device.info", "-vm", "vm1", "ethernet-1")).toContain("00:50:56:01:02:03");
    expect(await govc.refused("device.floppy.add", "-vm", "vm1")).toContain("VirtualFloppy");
    expect(await govc("vm.question", "-vm", "vm1")).toContain("No pending question");
  });
});
