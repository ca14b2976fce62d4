/** VMs and disks in and out: OVF packages and streamOptimized disks by govc. qemu-img makes and judges the disks. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkDisks } from "./check-disks.ts";
import { type FakeLabProcess, serveFakeLab } from "./fake-lab-process.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";

beforeAll(buildGovc, BUILD_MILLISECONDS);

describe.each(["HostAgent", "VirtualCenter"] as const)("%s", (personality) => {
  let directory: string;
  let lab: FakeLabProcess;
  let govc: Govc;
  const file = (path: string): string => join(directory, "state/datastore1", path);

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "vch-transfer-"));
    lab = await serveFakeLab(join(directory, "state"), personality);
    govc = govcFor(lab.url, directory);
  });
  afterAll(async () => {
    await lab.stop();
    await checkDisks(join(directory, "state"));
    await rm(directory, { recursive: true });
  });

  const holds = async (path: string, byte: number, at: number): Promise<boolean> =>
    !(await Bun.$`qemu-io -r -f vmdk -c ${`read -P ${byte} ${at}M 1M`} ${path}`.quiet().text()).includes("failed");

  test("a VM goes out as an OVF package and comes back", async () => {
    await govc(
      "vm.create",
      "-m",
      "64",
      "-c",
      "2",
      "-on=false",
      "-disk",
      "16MB",
      "-disk.controller",
      "pvscsi",
      "-net",
      "VM Network",
      "-net.adapter",
      "vmxnet3",
      "out",
    );
    await Bun.$`qemu-io -f vmdk -c ${"write -P 9 4M 1M"} ${file("out/out.vmdk")}`.quiet();
    await govc("snapshot.create", "-vm", "out", "kept");
    await govc("export.ovf", "-vm", "out", "-sha", "256", directory);
    const package_ = join(directory, "out");
    expect(await Bun.file(join(package_, "out.ovf")).text()).toContain("VirtualSCSI");
    await Bun.$`qemu-img check -q ${join(package_, "out-disk-0.vmdk")}`.quiet();
    // The snapshot goes out as it was, whatever has been written since.
    await Bun.$`qemu-io -f vmdk -c ${"write -P 5 4M 1M"} ${file("out/out-000001.vmdk")}`.quiet();
    await govc("export.ovf", "-vm", "out", "-snapshot", "kept", "-name", "then", directory);
    expect(await holds(join(directory, "then/then-disk-0.vmdk"), 9, 4)).toBe(true);
    await govc("import.ovf", "-name", "in", join(package_, "out.ovf"));
    expect(await holds(file("in/in.vmdk"), 9, 4)).toBe(true);
    await Bun.$`qemu-img check -q ${file("in/in.vmdk")}`.quiet();
    expect(await govc("vm.info", "in")).toMatch(/64MB[\s\S]*2 vCPU/);
    expect(await govc("device.ls", "-vm", "in")).toContain("pvscsi-1000");
    await Bun.$`tar -C ${package_} -cf ${join(directory, "out.ova")} out.ovf out-disk-0.vmdk`.quiet();
    await govc("import.ova", "-name", "from-archive", join(directory, "out.ova"));
    expect(await holds(file("from-archive/from-archive.vmdk"), 9, 4)).toBe(true);
    expect(await govc("import.spec", join(directory, "out.ova"))).toContain("VM Network");
    await govc("vm.power", "-on", "from-archive");
    expect(await govc.refused("export.ovf", "-vm", "from-archive", "-f", directory)).toContain("current state");
    await govc("vm.destroy", "out", "in", "from-archive");
  });

  test("a disk by import.vmdk", async () => {
    const raw = join(directory, "raw");
    await Bun.write(raw, new Uint8Array(2 * 2 ** 20).fill(3));
    await Bun.$`qemu-img convert -f raw -O vmdk -o subformat=streamOptimized ${raw} ${join(directory, "disk.vmdk")}`.quiet();
    await govc("import.vmdk", join(directory, "disk.vmdk"), "disks");
    expect(await holds(file("disks/disk.vmdk"), 3, 1)).toBe(true);
    expect(await govc("datastore.disk.info", "disks/disk.vmdk")).toContain("thin");
    expect(await govc("find", "/", "-type", "m")).toBe("");
  });

  test("a package that is broken leaves nothing", async () => {
    await Bun.write(join(directory, "bad.ovf"), "<Envelope><VirtualSystem></Envelope>");
    expect(await govc.refused("import.ovf", join(directory, "bad.ovf"))).not.toBe("");
    expect(await govc("find", "/", "-type", "m")).toBe("");
  });
});
