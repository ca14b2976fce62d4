/** Drives the lab with govc: the inventory, a VM's life, files, pools. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkDisks } from "./check-disks.ts";
import { type FakeLabProcess, serveFakeLab } from "./fake-lab-process.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";

beforeAll(buildGovc, BUILD_MILLISECONDS);

for (const personality of ["HostAgent", "VirtualCenter"] as const) {
  describe(personality, () => {
    let directory: string;
    let lab: FakeLabProcess;
    let govc: Govc;

    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), "vch-govc-"));
      lab = await serveFakeLab(join(directory, "state"), personality);
      govc = govcFor(lab.url, directory);
    });
    afterAll(async () => {
      await lab.stop();
      await checkDisks(join(directory, "state"));
      await rm(directory, { recursive: true });
    });

    test("about, inventory and capacity", async () => {
      expect(await govc("about")).toContain(`API type:`);
      const list = await govc("find", "/");
      for (const part of ["/vm", "/host", "/datastore/datastore1", "/network/VM Network", "Resources"])
        expect(list).toContain(part);
      expect(await govc("datastore.info")).toContain("datastore1");
      expect(await govc("host.info")).toContain("CPU");
    });

    test("a VM from its creation to its end", async () => {
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
        "-net.adapter",
        "vmxnet3",
        "g1",
      );
      expect(await govc("device.ls", "-vm", "g1")).toContain("ethernet-0");
      expect(await govc("vm.info", "g1")).toContain("poweredOff");
      await govc("vm.power", "-on", "g1");
      expect(await govc.refused("vm.power", "-on", "g1")).toContain("current state (Powered on)");
      expect(await govc("object.collect", "-s", "vm/g1", "runtime.powerState")).toContain("poweredOn");
      await govc("vm.change", "-vm", "g1", "-e", "guestinfo.k=v");
      expect(await govc("vm.info", "-e", "g1")).toContain("guestinfo.k:");
      await govc("vm.disk.create", "-vm", "g1", "-name", "g1/extra", "-size", "8MB");
      expect(await govc("device.info", "-vm", "g1", "disk-1000-1")).toContain("extra.vmdk");
      await govc("vm.power", "-off", "-force", "g1");
      await govc("object.rename", "vm/g1", "g2");
      expect(await govc("ls", "vm")).toContain("g2");
      await govc("vm.destroy", "g2");
      expect(await govc("ls", "vm")).not.toContain("g2");
    });

    test("files and disks of a datastore", async () => {
      await Bun.write(join(directory, "hello.txt"), "hello");
      await govc("datastore.mkdir", "-p", "a/b");
      await govc("datastore.upload", "hello.txt", "a/b/hello.txt");
      expect(await govc("datastore.ls", "a/b")).toContain("hello.txt");
      await govc("datastore.mv", "a/b/hello.txt", "a/hi.txt");
      await govc("datastore.cp", "a/hi.txt", "a/copy.txt");
      await govc("datastore.download", "a/copy.txt", "back.txt");
      expect(await Bun.file(join(directory, "back.txt")).text()).toBe("hello");
      await govc("datastore.disk.create", "-size", "16MB", "a/base.vmdk");
      await govc("datastore.disk.info", "a/base.vmdk");
      await govc("datastore.rm", "a");
      expect(await govc("datastore.ls")).not.toContain("a\n");
    });

    test("pools, port groups, events and sessions", async () => {
      const resources = (await govc("find", "/", "-type", "p")).trim().split("\n")[0] ?? "";
      await govc("pool.create", "-mem.limit", "256", `${resources}/tenant`);
      expect(await govc("pool.info", `${resources}/tenant`)).toContain("tenant");
      await govc("pool.change", "-mem.limit", "512", `${resources}/tenant`);
      await govc("pool.destroy", `${resources}/tenant`);
      await govc("host.portgroup.add", "-vswitch", "vSwitch0", "bridge");
      expect(await govc("ls", "network")).toContain("bridge");
      await govc("host.portgroup.remove", "bridge");
      expect(await govc("events")).toContain("g2");
      expect(await govc("session.ls")).toContain("administrator@vsphere.local");
      expect(await govc("tasks")).toBeString();
    });
  });
}
