/** What VMs take on their datastores is told as it is: thin disks, shared parents, snapshots. qemu-io writes to the disks. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../src/lab/index.ts";
import type { Reference } from "../../src/lab/model/data.ts";
import type { SoapClient } from "../../src/lab/testing/soap-client.ts";
import type {
  DatastoreSummary,
  VirtualMachineFileLayoutEx,
  VirtualMachineStorageInfo,
  VirtualMachineStorageSummary,
} from "../../src/vsphere/vim25/index.ts";
import { checkDisks } from "./check-disks.ts";
import { openFakeLab } from "./open-lab.ts";

const MiB = 1024 * 1024;
const FOLDER = { type: "Folder", value: "ha-folder-vm" } as const;
const POOL = { type: "ResourcePool", value: "ha-root-pool" } as const;
type Vm = { type: "VirtualMachine"; value: string };

let directory: string;
let lab: Lab;
let client: SoapClient;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-usage-"));
  ({ lab, client } = await openFakeLab(directory, "HostAgent"));
});
afterAll(async () => {
  await lab.close();
  await checkDisks(join(directory, "state"));
  await rm(directory, { recursive: true });
});

const CONTROLLER = {
  operation: "add",
  device: { _type: "ParaVirtualSCSIController", key: -1, busNumber: 0, sharedBus: "noSharing" },
};
const disk = (backing: object = {}) => ({
  operation: "add",
  fileOperation: "create",
  device: {
    _type: "VirtualDisk",
    key: -2,
    controllerKey: -1,
    unitNumber: 0,
    capacityInKB: 16 * 1024,
    backing: { _type: "VirtualDiskFlatVer2BackingInfo", diskMode: "persistent", fileName: "", ...backing },
  },
});
async function create(name: string, ...devices: object[]): Promise<Vm> {
  const config = { name, files: { vmPathName: "[datastore1]" }, deviceChange: [CONTROLLER, ...devices] };
  return (await client.task(await client.call("CreateVM_Task", FOLDER, { config, pool: POOL } as never))) as Vm;
}
const write = (path: string, megabytes: number) =>
  Bun.$`qemu-io -f vmdk -c ${`write 0 ${megabytes}M`} ${join(directory, "state/datastore1", path)}`.quiet();
const summary = (vm: Vm) => client.get<VirtualMachineStorageSummary>(vm, "summary.storage");

test("a thin disk takes what was written to it, and promises the rest", async () => {
  const store = (await client.get<Reference[]>({ type: "HostSystem", value: "ha-host" }, "datastore"))[0] as Reference;
  const promised = async () => Number((await client.get<DatastoreSummary>(store, "summary")).uncommitted);
  const before = await promised();
  const vm = await create("thin", disk());
  const fresh = await summary(vm);
  expect(Number(fresh.committed)).toBeGreaterThan(0);
  expect(Number(fresh.committed)).toBeLessThan(MiB);
  expect(Number(fresh.uncommitted)).toBeGreaterThan(15 * MiB);
  expect(fresh.unshared).toBe(fresh.committed);
  expect((await promised()) - before).toBe(Number(fresh.uncommitted));

  await write("thin/thin.vmdk", 4);
  await client.call("RefreshStorageInfo", vm, {});
  const written = await summary(vm);
  expect(Number(written.committed) - Number(fresh.committed)).toBeGreaterThanOrEqual(4 * MiB);
  expect(Number(written.committed)).toBeLessThan(5 * MiB);
  expect(Number(written.uncommitted)).toBeLessThanOrEqual(12 * MiB);

  const layout = await client.get<VirtualMachineFileLayoutEx>(vm, "layoutEx");
  const sizes = new Map(layout.file?.map(({ name, type, size }) => [name, { type, size: Number(size) }]));
  expect(sizes.get("[datastore1] thin/thin.vmx")?.type).toBe("config");
  expect(sizes.get("[datastore1] thin/thin.vmdk")?.size).toBeGreaterThanOrEqual(4 * MiB);
  const total = [...sizes.values()].reduce((sum, { size }) => sum + size, 0);
  expect(total).toBe(Number(written.committed));
  const [usage] = (await client.get<VirtualMachineStorageInfo>(vm, "storage")).perDatastoreUsage ?? [];
  expect(usage).toMatchObject({ datastore: store, committed: written.committed, uncommitted: written.uncommitted });
});

test("a thick disk takes all of its room at once and says so, also after a restart", async () => {
  const thick = (vm: Vm) => client.get<boolean>(vm, "config.hardware.device[2000].backing.thinProvisioned");
  expect(await thick(await create("grows", disk()))).toBe(true);
  for (const [name, backing] of [
    ["lazy", { thinProvisioned: false }],
    ["eager", { thinProvisioned: false, eagerlyScrub: true }],
  ] as const) {
    const vm = await create(name, disk(backing));
    expect(await thick(vm)).toBe(false);
    const usage = await summary(vm);
    expect(Number(usage.committed)).toBeGreaterThanOrEqual(16 * MiB);
    expect(Number(usage.uncommitted)).toBe(0);
    expect((await readdir(join(directory, "state/datastore1", name))).sort()).toEqual([`${name}.vmdk`, `${name}.vmx`]);
  }
  await lab.close();
  ({ lab, client } = await openFakeLab(directory, "HostAgent"));
  const vms = await client.get<Vm[]>(FOLDER, "childEntity");
  const kinds = await Promise.all(vms.map(async (vm) => [await client.get<string>(vm, "name"), await thick(vm)]));
  expect(Object.fromEntries(kinds)).toMatchObject({ grows: true, lazy: false, eager: false });
});

test("a child disk shares its parent; a snapshot's disk stays the VM's own", async () => {
  await create("base", disk());
  await write("base/base.vmdk", 8);
  const backing = {
    _type: "VirtualDiskFlatVer2BackingInfo",
    diskMode: "persistent",
    fileName: "[datastore1] base/base.vmdk",
  };
  const child = await create("child", disk({ parent: backing }));
  const shared = await summary(child);
  expect(Number(shared.committed)).toBeGreaterThanOrEqual(8 * MiB);
  expect(Number(shared.unshared)).toBeLessThan(MiB);
  const layout = await client.get<VirtualMachineFileLayoutEx>(child, "layoutEx");
  const names = layout.disk?.[0]?.chain?.map(({ fileKey }) => layout.file?.find(({ key }) => key === fileKey[0])?.name);
  expect(names).toEqual(["[datastore1] base/base.vmdk", "[datastore1] child/child.vmdk"]);

  await client.task(await client.call("CreateSnapshot_Task", child, { name: "s", memory: false, quiesce: false }));
  const after = await client.get<VirtualMachineFileLayoutEx>(child, "layoutEx");
  expect(after.disk?.[0]?.chain).toHaveLength(3);
  expect(after.file?.map(({ type }) => type)).toEqual(expect.arrayContaining(["snapshotList", "snapshotData"]));
});
