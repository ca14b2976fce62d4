/** The lab is as strict as vSphere: each mistake of a client gets its fault. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../src/lab/index.ts";
import type { SoapClient } from "../../src/lab/testing/soap-client.ts";
import { checkDisks } from "./check-disks.ts";
import { openFakeLab } from "./open-lab.ts";

const FOLDER = { type: "Folder", value: "ha-folder-vm" } as const;
const POOL = { type: "ResourcePool", value: "ha-root-pool" } as const;
type Vm = { type: "VirtualMachine"; value: string };

let directory: string;
let lab: Lab;
let client: SoapClient;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-strict-"));
  ({ lab, client } = await openFakeLab(directory, "HostAgent"));
});
afterAll(async () => {
  await lab.close();
  await checkDisks(join(directory, "state"));
  await rm(directory, { recursive: true });
});

const envelope = (body: string): string =>
  `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`;
const reconfigure = (spec: string): string =>
  envelope(
    `<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">1</_this><spec>${spec}</spec></ReconfigVM_Task>`,
  );
const filter = (tree: string): string =>
  envelope(
    `<CreateFilter xmlns="urn:vim25"><_this type="PropertyCollector">ha-property-collector</_this><spec><propSet><type>Task</type></propSet><objectSet><obj type="Folder">ha-folder-vm</obj>${tree}</objectSet></spec><partialUpdates>false</partialUpdates></CreateFilter>`,
  );
/** Selections in selections. */
const deep = (levels: number): string =>
  '<selectSet xsi:type="TraversalSpec"><type>Folder</type><path>childEntity</path>'.repeat(levels) +
  "</selectSet>".repeat(levels);

describe("documents", () => {
  test.each([
    ["elements in the wrong order", reconfigure("<memoryMB>64</memoryMB><name>a</name>"), /Unexpected element tag/],
    ["an unknown element", reconfigure("<colour>red</colour>"), /Unexpected element tag .*colour/],
    ["a missing required element", filter("").replace("<partialUpdates>false</partialUpdates>", ""), /partialUpdates/],
    ["a number that is none", reconfigure("<numCPUs>many</numCPUs>"), /many|numCPUs/],
    [
      "an unknown enumeration value",
      reconfigure("<bootOptions><bootRetryEnabled>maybe</bootRetryEnabled></bootOptions>"),
      /maybe|bootRetryEnabled/,
    ],
    [
      "an unknown type",
      reconfigure('<deviceChange><device xsi:type="VirtualTeapot"/></deviceChange>'),
      /VirtualTeapot/,
    ],
    ["more than 100 levels", filter(deep(120)), /./],
    ["an unknown method", envelope('<BrewTea xmlns="urn:vim25"><_this type="Folder">x</_this></BrewTea>'), /BrewTea/],
  ])("%s", async (_, body, message) => {
    const { status, text } = await client.post(body);
    expect(status).toBe(500);
    expect(text).toContain("InvalidRequest");
    expect(/<faultstring>([\s\S]*?)<\/faultstring>/.exec(text)?.[1] ?? "").toMatch(message);
  });
});

test("fewer levels are well", async () => {
  expect((await client.post(filter(deep(30)))).status).toBe(200);
});

const CONTROLLER = {
  operation: "add",
  device: { _type: "ParaVirtualSCSIController", key: -1, busNumber: 0, sharedBus: "noSharing" },
};
const disk = (fileName: string, more: object = { fileOperation: "create" }, diskMode = "persistent") => ({
  operation: "add",
  ...more,
  device: {
    _type: "VirtualDisk",
    key: -2,
    controllerKey: -1,
    unitNumber: 0,
    capacityInKB: 1024,
    backing: { _type: "VirtualDiskFlatVer2BackingInfo", diskMode, fileName },
  },
});
async function create(name: string, ...deviceChange: object[]): Promise<Vm> {
  const config = { name, files: { vmPathName: "[datastore1]" }, deviceChange: [CONTROLLER, ...deviceChange] };
  return (await client.task(await client.call("CreateVM_Task", FOLDER, { config, pool: POOL } as never))) as Vm;
}
const run = async (method: "PowerOnVM_Task" | "PowerOffVM_Task" | "SuspendVM_Task" | "ResetVM_Task", vm: Vm) =>
  client.task(await client.call(method, vm, {} as never));

describe("states", () => {
  test("each power operation in the wrong state names both states", async () => {
    const vm = await create("power");
    for (const method of ["PowerOffVM_Task", "SuspendVM_Task", "ResetVM_Task"] as const) {
      await expect(run(method, vm)).rejects.toMatchObject({
        fault: "InvalidPowerState",
        message: expect.stringContaining(
          "The attempted operation cannot be performed in the current state (Powered off).",
        ),
        detail: { existingState: "poweredOff" },
      });
    }
    await run("PowerOnVM_Task", vm);
    await expect(run("PowerOnVM_Task", vm)).rejects.toMatchObject({ detail: { existingState: "poweredOn" } });
    const destroy = client.call("Destroy_Task", vm, {}).then((task) => client.task(task));
    await expect(destroy).rejects.toMatchObject({ fault: "InvalidPowerState" });
    await expect(client.call("UnregisterVM", vm, {})).rejects.toMatchObject({ fault: "InvalidPowerState" });
    const memory = client.call("ReconfigVM_Task", vm, { spec: { firmware: "efi" } }).then((task) => client.task(task));
    await expect(memory).rejects.toMatchObject({ fault: "InvalidPowerState" });
    await run("PowerOffVM_Task", vm);
  });

  test("an old changeVersion is a concurrent access", async () => {
    const vm = await create("version");
    const change = client.call("ReconfigVM_Task", vm, { spec: { changeVersion: "1", annotation: "x" } });
    await expect(change.then((task) => client.task(task))).rejects.toMatchObject({ fault: "ConcurrentAccess" });
  });

  test("what is gone is ManagedObjectNotFound with its reference", async () => {
    const vm = await create("gone");
    await client.task(await client.call("Destroy_Task", vm, {}));
    await expect(client.get(vm, "name")).rejects.toMatchObject({
      fault: "ManagedObjectNotFound",
      message: expect.stringContaining("has already been deleted or has not been completely created"),
      detail: { obj: vm },
    });
  });
});

describe("disks", () => {
  test("a disk of a running VM is locked for others and for the file manager", async () => {
    const owner = await create("owner", disk(""));
    await run("PowerOnVM_Task", owner);
    const path = "[datastore1] owner/owner.vmdk";
    const thief = await create("thief", disk(path, {}));
    await expect(run("PowerOnVM_Task", thief)).rejects.toMatchObject({
      fault: "FileLocked",
      message: expect.stringContaining("Unable to access file"),
    });
    const files = { type: "FileManager", value: "ha-nfc-file-manager" } as const;
    const remove = client.call("DeleteDatastoreFile_Task", files, { name: path }).then((task) => client.task(task));
    await expect(remove).rejects.toMatchObject({ fault: "FileLocked" });
    await run("PowerOffVM_Task", owner);
  });

  test("the parent of another disk is not opened for writing, nor deleted", async () => {
    const parent = await create("parent", disk(""));
    const manager = { type: "VirtualDiskManager", value: "ha-vdiskmanager" } as const;
    const parentName = "[datastore1] parent/parent.vmdk";
    const child = { childName: "[datastore1] parent/child.vmdk", parentName, isLinkedClone: true };
    await client.task(await client.call("CreateChildDisk_Task", manager as never, child as never));
    await expect(run("PowerOnVM_Task", parent)).rejects.toMatchObject({
      fault: "GenericVmConfigFault",
      message: expect.stringContaining("is the parent of other disks"),
    });
    const remove = client
      .call("DeleteVirtualDisk_Task", manager, { name: parentName })
      .then((task) => client.task(task));
    await expect(remove).rejects.toMatchObject({ fault: "CannotDeleteFile" });
    await expect(create("bad", disk("[datastore1] none.vmdk", {}))).rejects.toMatchObject({
      fault: expect.stringMatching(/FileNotFound|GenericVmConfigFault/),
    });
  });
});
