/** A VM whose files were copied by hand asks which it is, and govc answers. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkDisks } from "./check-disks.ts";
import { type FakeLabProcess, serveFakeLab } from "./fake-lab-process.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";

let directory: string;
let lab: FakeLabProcess;
let govc: Govc;

beforeAll(async () => {
  await buildGovc();
  directory = await mkdtemp(join(tmpdir(), "vch-govc-"));
  lab = await serveFakeLab(join(directory, "state"), "HostAgent");
  govc = govcFor(lab.url, directory);
  await govc("vm.create", "-m", "64", "-on=false", "-disk", "8MB", "-net", "VM Network", "a");
}, BUILD_MILLISECONDS);
afterAll(async () => {
  await lab.stop();
  await checkDisks(join(directory, "state"));
  await rm(directory, { recursive: true });
});

const property = async (vm: string, path: string): Promise<string> =>
  (await govc("collect", "-s", `vm/${vm}`, path)).trim();
const identity = async (vm: string) => ({
  uuid: await property(vm, "config.uuid"),
  mac: /MAC Address: +(\S+)/.exec(await govc("device.info", "-vm", vm, "ethernet-0"))?.[1],
});

/** A copy of VM a in a directory of its own, registered. */
async function copy(name: string): Promise<void> {
  await govc("datastore.mkdir", name);
  await govc("datastore.cp", "a/a.vmx", `${name}/${name}.vmx`);
  await govc("vm.register", "-name", name, `${name}/${name}.vmx`);
}

test("a VM that was created here asks nothing", async () => {
  await govc("vm.power", "-on", "a");
  await govc("vm.power", "-off", "-force", "a");
});

test.each([
  ["moved", "1", true],
  ["copied", "2", false],
] as const)("%s by hand", async (name, answer, same) => {
  await copy(name);
  const before = await identity(name);
  const powered = govc("vm.power", "-on", name);
  while ((await govc("vm.question", "-vm", name)).includes("No pending")) await Bun.sleep(50);
  expect(await govc("vm.question", "-vm", name)).toContain("might have been moved or copied");
  expect(await govc.refused("vm.question", "-vm", name, "-answer", "7")).toContain("no choice");
  await govc("vm.question", "-vm", name, "-answer", answer);
  await powered;
  const after = await identity(name);
  expect(after.uuid === before.uuid).toBe(same);
  expect(after.mac === before.mac).toBe(same);
  expect(await govc("vm.question", "-vm", name)).toContain("No pending question");
  await govc("vm.power", "-off", "-force", name);
  await govc("vm.power", "-on", name);
  await govc("vm.power", "-off", "-force", name);
  await govc("vm.unregister", name);
});

test("uuid.action answers in advance; a question ends with the lab", async () => {
  await copy("told");
  await govc("vm.change", "-vm", "told", "-e", "uuid.action=create");
  const before = await identity("told");
  await govc("vm.power", "-on", "told");
  expect((await identity("told")).uuid).not.toBe(before.uuid);
  await govc("vm.power", "-off", "-force", "told");
  await copy("asking");
  const refused = govc.refused("vm.power", "-on", "asking");
  while ((await govc("vm.question", "-vm", "asking")).includes("No pending")) await Bun.sleep(50);
  await lab.stop();
  expect(await refused).not.toBe("");
});
