/** vApps: made with SOAP (govc cannot), powered and destroyed by govc, there again after a restart. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../src/lab/index.ts";
import { FakeHypervisor } from "../../src/lab/testing/fake-hypervisor.ts";
import type { SoapClient } from "../../src/lab/testing/soap-client.ts";
import { checkDisks } from "./check-disks.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";
import { openFakeLab } from "./open-lab.ts";

const POOL = { type: "ResourcePool", value: "resgroup-8" } as const;
const hypervisor = new FakeHypervisor();
let directory: string;
let lab: Lab;
let client: SoapClient;
let govc: Govc;

async function start(): Promise<void> {
  ({ lab, client } = await openFakeLab(directory, "VirtualCenter", { hypervisor: hypervisor.connect }));
  govc = govcFor(lab.url, directory, "root", "secret");
}

beforeAll(async () => {
  await buildGovc();
  directory = await mkdtemp(join(tmpdir(), "vch-vapp-"));
  await start();
}, BUILD_MILLISECONDS);
afterAll(async () => {
  await lab.close();
  await checkDisks(join(directory, "state"));
  await rm(directory, { recursive: true });
});

const allocation = {
  reservation: 0,
  expandableReservation: true,
  limit: -1,
  shares: { shares: 0, level: "normal" as const },
};
const resSpec = { cpuAllocation: allocation, memoryAllocation: allocation };
const powered = async (vm: string): Promise<string> =>
  (await govc("collect", "-s", `vm/${vm}`, "runtime.powerState")).trim();

const find = async (vm: string) => ({
  type: "VirtualMachine" as const,
  value: (await govc("find", "-i", "vm", "-type", "m", "-name", vm)).trim().replace("VirtualMachine:", ""),
});

test("VMs of a vApp start in order, stop together, and go with it", async () => {
  const create = (configSpec: object) =>
    client.call("CreateVApp", POOL, { name: "shop", resSpec, configSpec } as never);
  await expect(create({ eula: ["sign"] })).rejects.toThrow("NotSupported");
  const vApp = (await create({ annotation: "two tiers" })) as { type: "VirtualApp"; value: string };
  await expect(create({})).rejects.toThrow("DuplicateName");
  expect(await govc("find", "/", "-type", "a")).toContain("shop");
  for (const name of ["front", "back"]) await govc("vm.create", "-m", "64", "-on=false", "-net", "VM Network", name);
  const vms = [await find("front"), await find("back")];
  await client.call("MoveIntoResourcePool", vApp as never, { list: vms } as never);
  expect(await govc("collect", "-s", "vm/front", "parentVApp")).toContain(vApp.value);
  const [front, back] = vms;
  const entityConfig = [
    { key: front, startOrder: 2 },
    { key: back, startOrder: 1 },
  ];
  await client.call("UpdateVAppConfig", vApp, { spec: { entityConfig } } as never);
  await expect(
    client.call("UpdateVAppConfig", vApp, { spec: { entityConfig: [{ key: front, startAction: "dance" }] } } as never),
  ).rejects.toThrow("InvalidArgument");
  await govc("vapp.power", "-on", "shop");
  expect(await powered("front")).toBe("poweredOn");
  const events = await govc("events", "-type", "VmPoweredOnEvent");
  expect(events.indexOf("back on")).toBeLessThan(events.indexOf("front on"));
  expect(await client.get<string>(vApp, "summary.vAppState")).toBe("started");
  await expect(client.task(await client.call("Destroy_Task", vApp, {}))).rejects.toThrow("powered on");
  await lab.close();
  await start();
  expect(await client.get<string>(vApp, "vAppConfig.annotation")).toBe("two tiers");
  await govc("vapp.power", "-suspend", "shop");
  expect(await powered("back")).toBe("suspended");
  await govc("vapp.power", "-on", "shop");
  await govc("vapp.power", "-off", "-force", "shop");
  expect(await powered("back")).toBe("poweredOff");
  await govc("vapp.destroy", "shop");
  expect(await govc("find", "/", "-type", "m")).not.toContain("front");
  expect(await govc("find", "/", "-type", "a")).not.toContain("shop");
});

test("a vApp that is unregistered leaves the files of its VMs", async () => {
  const made = await client.call("CreateVApp", POOL, { name: "gone", resSpec, configSpec: {} } as never);
  const vApp = made as { type: "VirtualApp"; value: string };
  await govc("vm.create", "-m", "64", "-on=false", "-net", "VM Network", "kept");
  await client.call("MoveIntoResourcePool", vApp as never, { list: [await find("kept")] } as never);
  await client.task(await client.call("unregisterVApp_Task", vApp, {}));
  expect(await govc("find", "/", "-name", "kept")).toBe("");
  await govc("vm.register", "kept/kept.vmx");
  await govc("vm.destroy", "kept");
});
