/** Snapshots and clones by govc; qemu-img and qemu-io judge the disks. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
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

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "vch-snapshots-"));
    lab = await serveFakeLab(join(directory, "state"), personality);
    govc = govcFor(lab.url, directory);
  });
  afterAll(async () => {
    await lab.stop();
    await checkDisks(join(directory, "state"));
    await rm(directory, { recursive: true });
  });

  const file = (path: string): string => join(directory, "state/datastore1", path);
  const fill = (path: string, byte: number, at: number) =>
    Bun.$`qemu-io -f vmdk -c ${`write -P ${byte} ${at}M 1M`} ${file(path)}`.quiet();
  const holds = async (path: string, byte: number, at: number): Promise<boolean> =>
    !(await Bun.$`qemu-io -r -f vmdk -c ${`read -P ${byte} ${at}M 1M`} ${file(path)}`.quiet().text()).includes(
      "failed",
    );
  const disk = async (vm: string): Promise<string> => {
    const name = /\[datastore1\] (\S+)/.exec(await govc("device.info", "-vm", vm, "disk-*"))?.[1];
    if (name === undefined) throw new Error(`${vm} has no disk`);
    return name;
  };
  const check = async (): Promise<void> => {
    for (const name of await readdir(file(""), { recursive: true })) {
      if (name.endsWith(".vmdk")) await Bun.$`qemu-img check -q ${file(name)}`.quiet();
    }
  };
  const create = (name: string) =>
    govc(
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
      name,
    );

  test("a chain of snapshots is gone back in and merged", async () => {
    await create("s");
    await fill("s/s.vmdk", 1, 0);
    await govc("snapshot.create", "-vm", "s", "-d", "as installed", "one");
    expect(await disk("s")).toBe("s/s-000001.vmdk");
    await fill("s/s-000001.vmdk", 2, 1);
    await govc("snapshot.create", "-vm", "s", "two");
    await fill("s/s-000002.vmdk", 3, 2);
    await fill("s/s-000002.vmdk", 4, 0);
    expect(await govc("snapshot.tree", "-vm", "s", "-D", "-i")).toMatch(/one[\s\S]*two/);
    expect(await Bun.file(file("s/s.vmsd")).text()).toContain('snapshot1.displayName = "two"');
    await check();

    await govc("snapshot.revert", "-vm", "s", "two");
    const reverted = await disk("s");
    expect([await holds(reverted, 1, 0), await holds(reverted, 2, 1), await holds(reverted, 0, 2)]).toEqual([
      true,
      true,
      true,
    ]);
    expect(await Bun.file(file("s/s-000002.vmdk")).exists()).toBe(false);
    await fill(reverted, 5, 0);

    await govc("snapshot.remove", "-vm", "s", "one");
    await check();
    expect(await govc("snapshot.tree", "-vm", "s")).not.toContain("one");
    const kept = await disk("s");
    expect([await holds(kept, 5, 0), await holds(kept, 2, 1)]).toEqual([true, true]);
    await govc("snapshot.remove", "-vm", "s", "*");
    await check();
    expect(await disk("s")).toBe("s/s.vmdk");
    expect([await holds("s/s.vmdk", 5, 0), await holds("s/s.vmdk", 2, 1), await holds("s/s.vmdk", 0, 2)]).toEqual([
      true,
      true,
      true,
    ]);
    expect((await readdir(file("s"))).filter((name) => /\.(vmdk|vmsn)$/.test(name))).toEqual(["s.vmdk"]);
    await govc("vm.destroy", "s");
    expect(await Bun.file(file("s/s.vmx")).exists()).toBe(false);
  });

  test("a running VM: memory, and back to it", async () => {
    await create("m");
    await govc("vm.power", "-on", "m");
    await govc("snapshot.create", "-vm", "m", "-m=true", "running");
    expect(await Bun.file(file("m/m-Snapshot1.vmem")).exists()).toBe(true);
    await govc("vm.power", "-off", "-force", "m");
    await govc("snapshot.revert", "-vm", "m", "running");
    expect(await govc("vm.info", "m")).toContain("poweredOn");
    await govc("snapshot.create", "-vm", "m", "-m=false", "disks only");
    await govc("snapshot.remove", "-vm", "m", "running");
    await govc("snapshot.revert", "-vm", "m");
    expect(await govc("vm.info", "m")).toContain("poweredOff");
    expect(await govc.refused("snapshot.revert", "-vm", "m", "nothing")).toContain("not found");
    await govc("vm.destroy", "m");
    expect(await govc("datastore.ls")).not.toContain("m\n");
  });

  if (personality === "VirtualCenter")
    test("clones: full, linked, instant; templates", async () => {
      await create("c");
      await fill("c/c.vmdk", 7, 3);
      await govc("vm.clone", "-vm", "c", "-on=false", "full");
      expect(await holds("full/full.vmdk", 7, 3)).toBe(true);
      await govc("snapshot.create", "-vm", "c", "base");
      await govc("vm.clone", "-vm", "c", "-snapshot", "base", "-link", "-on=false", "-annotation", "a child", "linked");
      expect(await holds(await disk("linked"), 7, 3)).toBe(true);
      await fill(await disk("linked"), 8, 3);
      expect(await holds("c/c.vmdk", 7, 3)).toBe(true);
      // The linked clone keeps the disk of a snapshot that is gone.
      await govc("snapshot.remove", "-vm", "c", "base");
      await check();
      await govc("vm.destroy", "c");
      expect(await holds(await disk("linked"), 8, 3)).toBe(true);
      await govc("vm.clone", "-vm", "linked", "-on=false", "copy");
      expect(await holds("copy/copy.vmdk", 8, 3)).toBe(true);
      await govc("vm.markastemplate", "copy");
      expect(await govc.refused("vm.power", "-on", "copy")).toContain("template");
      await govc("vm.clone", "-vm", "copy", "-on=false", "-host", "*", "of-template");
      await govc("vm.markasvm", "-host", "*", "copy");
      await govc("vm.power", "-on", "full");
      await govc("vm.instantclone", "-vm", "full", "-e", "guestinfo.who=twin", "twin");
      expect(await govc("vm.info", "-e", "twin")).toMatch(/poweredOn[\s\S]*twin/);
      await check();
      await govc("vm.migrate", "-pool", "Cluster/Resources", "copy");
      expect(await govc("events")).toContain("cloned to twin");
      await govc("vm.destroy", "full", "twin", "linked", "copy", "of-template");
    });

  test("nothing is lost when the lab is started again", async () => {
    await create("r");
    await govc("snapshot.create", "-vm", "r", "before");
    await lab.stop();
    lab = await serveFakeLab(join(directory, "state"), personality);
    govc = govcFor(lab.url, directory);
    expect(await govc("snapshot.tree", "-vm", "r", "-C")).toContain("before");
    await govc("snapshot.remove", "-vm", "r", "*");
    expect(await disk("r")).toBe("r/r.vmdk");
    await govc("vm.unregister", "r");
    const pool = personality === "HostAgent" ? [] : ["-pool", "Cluster/Resources"];
    await govc("vm.register", ...pool, "r/r.vmx");
    await govc("vm.destroy", "r");
  });
});
