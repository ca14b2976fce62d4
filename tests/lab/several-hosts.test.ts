/** A vCenter of several clusters, hosts and datastores, as govc sees it: placement, migration, maintenance, folders, restarts. */
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

const start = async (): Promise<void> => {
  lab = await serveFakeLab(join(directory, "state"), "VirtualCenter", 0, {
    clusters: [
      { name: "East", hosts: ["east1", "east2"] },
      { name: "West", hosts: ["west1"] },
    ],
    datastores: [
      { name: "shared", directory: join(directory, "shared") },
      { name: "local1", directory: join(directory, "local1"), hosts: ["east1"] },
    ],
  });
  govc = govcFor(lab.url, directory);
};

beforeAll(async () => {
  await buildGovc();
  directory = await mkdtemp(join(tmpdir(), "vch-govc-"));
  await start();
}, BUILD_MILLISECONDS);
afterAll(async () => {
  await lab.stop();
  await checkDisks(join(directory, "state"));
  await rm(directory, { recursive: true });
});

const create = (name: string, ...words: string[]): Promise<string> =>
  govc("vm.create", "-m", "64", "-on=false", "-disk", "8MB", "-net", "VM Network", ...words, name);
const hostOf = async (vm: string): Promise<string> => {
  const reference = (await govc("collect", "-s", `vm/${vm}`, "runtime.host")).trim();
  return (await govc("collect", "-s", reference, "name")).trim();
};

test("the inventory has clusters, hosts and datastores of theirs", async () => {
  const list = await govc("find", "/");
  for (const part of [
    "/Datacenter/host/East/east1",
    "/Datacenter/host/East/east2",
    "/Datacenter/host/West/west1",
    "/Datacenter/host/West/Resources",
  ])
    expect(list).toContain(`${part}\n`);
  expect(await govc("collect", "-s", "/Datacenter/host/East", "summary.numHosts")).toBe("2\n");
  expect((await govc("collect", "-s", "/Datacenter/host/East/east1", "datastore")).split(",")).toHaveLength(2);
  expect((await govc("collect", "-s", "/Datacenter/host/West/west1", "datastore")).split(",")).toHaveLength(1);
});

test("VMs are placed where their datastores and networks are", async () => {
  await create("a", "-pool", "/Datacenter/host/East/Resources", "-ds", "shared");
  await create("b", "-pool", "/Datacenter/host/East/Resources", "-ds", "shared");
  expect(new Set([await hostOf("a"), await hostOf("b")])).toEqual(new Set(["east1", "east2"]));
  await create("c", "-pool", "/Datacenter/host/East/Resources", "-ds", "local1");
  expect(await hostOf("c")).toBe("east1");
  await create("d", "-host", "/Datacenter/host/West/west1", "-ds", "shared");
  expect(await hostOf("d")).toBe("west1");
  expect(
    await govc.refused(
      "vm.create",
      "-on=false",
      "-net",
      "VM Network",
      "-host",
      "/Datacenter/host/West/west1",
      "-ds",
      "local1",
      "e",
    ),
  ).toContain("not mounted on the host west1");
  await govc("host.portgroup.add", "-host", "/Datacenter/host/East/east2", "-vswitch", "vSwitch0", "only2");
  await govc(
    "vm.create",
    "-on=false",
    "-m",
    "64",
    "-net",
    "only2",
    "-pool",
    "/Datacenter/host/East/Resources",
    "-ds",
    "shared",
    "f",
  );
  expect(await hostOf("f")).toBe("east2");
  expect(await govc.refused("vm.migrate", "-host", "/Datacenter/host/East/east1", "f")).toContain(
    "'only2' is not on the host",
  );
});

test("a VM migrates, running or not, with its events", async () => {
  const [from, to] = (await hostOf("a")) === "east1" ? ["east1", "east2"] : ["east2", "east1"];
  await govc("vm.power", "-on", "a");
  await govc("vm.migrate", "-host", `/Datacenter/host/East/${to}`, "a");
  expect(await hostOf("a")).toBe(to);
  expect(await govc("events", "vm/a")).toContain(`a moved from ${from} to ${to}`);
  expect(
    await govc.refused(
      "vm.migrate",
      "-host",
      "/Datacenter/host/West/west1",
      "-pool",
      "/Datacenter/host/East/Resources",
      "a",
    ),
  ).toContain("does not belong to");
  await govc("vm.power", "-off", "-force", "a");
  await govc("vm.migrate", "-host", "/Datacenter/host/West/west1", "-pool", "/Datacenter/host/West/Resources", "a");
  expect(await hostOf("a")).toBe("west1");
  expect(await govc.refused("vm.migrate", "-ds", "local1", "c", "a")).toContain("stay on their datastore");
});

test("maintenance mode waits for running VMs and takes no new ones", async () => {
  await govc("vm.power", "-on", "d");
  expect(await govc.refused("host.maintenance.enter", "-timeout", "1", "/Datacenter/host/West/west1")).toContain(
    "still run",
  );
  const entering = govc("host.maintenance.enter", "-timeout", "200", "/Datacenter/host/West/west1");
  await govc("vm.power", "-off", "-force", "d");
  await entering;
  expect(await govc("collect", "-s", "/Datacenter/host/West/west1", "runtime.inMaintenanceMode")).toBe("true\n");
  expect(await govc.refused("vm.power", "-on", "d")).toContain("maintenance mode");
  expect(await govc.refused("host.maintenance.enter", "/Datacenter/host/West/west1")).toContain("already");
  expect(
    await govc.refused(
      "vm.create",
      "-on=false",
      "-net",
      "VM Network",
      "-pool",
      "/Datacenter/host/West/Resources",
      "-ds",
      "shared",
      "g",
    ),
  ).toContain("maintenance mode");
  await govc("host.maintenance.exit", "/Datacenter/host/West/west1");
  await govc("vm.power", "-on", "d");
  await govc("vm.power", "-off", "-force", "d");
  expect(await govc("events", "/Datacenter/host/West/west1")).toContain("has entered maintenance mode");
});

test("folders of every kind nest, and hold what was moved into them", async () => {
  for (const [folder, entity] of [
    ["host/europe", "/Datacenter/host/West"],
    ["datastore/fast", "datastore/local1"],
    ["network/inner", "network/VM Network"],
    ["vm/team", "vm/a"],
  ] as const) {
    await govc("folder.create", folder);
    await govc("folder.create", `${folder}/deep`);
    await govc("object.mv", entity, `${folder}/deep`);
    const name = entity.slice(entity.lastIndexOf("/") + 1);
    expect(await govc("ls", `${folder}/deep`)).toContain(name);
  }
  expect(await govc.refused("object.mv", "vm/b", "datastore/fast")).toContain("holds no VirtualMachine");
  expect(await govc.refused("object.destroy", "datastore/fast/deep")).toContain("local1");
});

test("a restart changes nothing of it", async () => {
  const before = await govc("find", "/");
  const host = await hostOf("c");
  await govc("host.maintenance.enter", "/Datacenter/host/East/east2");
  await lab.stop();
  await start();
  expect((await govc("find", "/")).split("\n").sort()).toEqual(before.split("\n").sort());
  expect(await hostOf("c")).toBe(host);
  expect(await govc("collect", "-s", "/Datacenter/host/East/east2", "runtime.inMaintenanceMode")).toBe("true\n");
});

test("distributed port groups are on the hosts that joined their switch", async () => {
  await govc("dvs.create", "switch");
  await govc("dvs.portgroup.add", "-dvs", "switch", "tenant");
  await govc("dvs.add", "-dvs", "switch", "/Datacenter/host/East/east1");
  expect(await govc.refused("vm.network.add", "-vm", "d", "-net", "tenant")).toContain("not on the host west1");
  await govc("vm.network.add", "-vm", "c", "-net", "tenant");
  expect(await govc("collect", "-s", "network/tenant", "host")).toContain("HostSystem");
});
