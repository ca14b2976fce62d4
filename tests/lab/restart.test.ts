/** A lab that starts anew finds its VMs running and takes them over, whatever has happened to their files meanwhile. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDiskStore } from "../../src/lab/hypervisor/index.ts";
import { FakeHypervisor } from "../../src/lab/testing/fake-hypervisor.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";
import { openFakeLab } from "./open-lab.ts";

let directory: string;
const machines = new FakeHypervisor();
const said: string[] = [];

beforeAll(async () => {
  await buildGovc();
  directory = await mkdtemp(join(tmpdir(), "vch-restart-"));
}, BUILD_MILLISECONDS);
afterAll(() => rm(directory, { recursive: true }));

async function withLab(work: (govc: Govc) => Promise<void>): Promise<void> {
  const { lab } = await openFakeLab(directory, "HostAgent", {
    hypervisor: machines.connect,
    log: (line) => said.push(line),
  });
  try {
    await work(govcFor(lab.url, directory, "root", "secret"));
  } finally {
    await lab.close();
  }
}

test("a running VM whose disk has got a child meanwhile keeps neither itself nor others from the new lab", async () => {
  await withLab(async (govc) => {
    for (const name of ["a", "b"]) {
      await govc("vm.create", "-m", "64", "-on=false", "-disk", "8MB", "-net", "VM Network", name);
      await govc("vm.power", "-on", name);
    }
  });
  const datastore = join(directory, "state/datastore1");
  await createDiskStore().createChild(join(datastore, "child.vmdk"), join(datastore, "a/a.vmdk"));
  await withLab(async (govc) => {
    for (const name of ["a", "b"])
      expect(await govc("collect", "-s", `vm/${name}`, "runtime.powerState")).toContain("poweredOn");
    expect(said.filter((line) => line.includes("without locks"))).toEqual([
      expect.stringMatching(/^a runs without locks of its files: .*a\.vmdk is the parent of other disks/),
    ]);
    for (const name of ["a", "b"]) await govc("vm.power", "-off", "-force", name);
    expect(await govc.refused("vm.power", "-on", "a")).toContain("parent of other disks");
    await govc("vm.power", "-on", "b");
  });
});
