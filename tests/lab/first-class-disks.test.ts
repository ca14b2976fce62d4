/** First class disks through both managers: their life, snapshots and VMs, with qemu-img and qemu-io as the judges. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDiskStore } from "../../src/lab/hypervisor/disks/disk-store.ts";
import type { Lab } from "../../src/lab/index.ts";
import type { SoapClient } from "../../src/lab/testing/soap-client.ts";
import { checkDisks } from "./check-disks.ts";
import { openFakeLab } from "./open-lab.ts";

type Id = { id: string };
interface Disk {
  config: { id: Id; name: string; capacityInMB: number; backing: { filePath: string }; consumerId?: Id[] };
}

describe.each(["HostAgent", "VirtualCenter"] as const)("%s", (personality) => {
  const center = personality === "VirtualCenter";
  const manager = center
    ? { type: "VcenterVStorageObjectManager", value: "VStorageObjectManager" }
    : { type: "HostVStorageObjectManager", value: "ha-vstorage-object-manager" };
  const datastore = { type: "Datastore", value: center ? "datastore-11" : "datastore11" };
  let directory: string;
  let lab: Lab;
  let client: SoapClient;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "vch-fcd-"));
    ({ lab, client } = await openFakeLab(directory, personality));
  });
  afterAll(async () => {
    await lab.close();
    await checkDisks(join(directory, "state"));
    await rm(directory, { recursive: true });
  });

  /** A method by its name on a vCenter. */
  const call = async <T>(name: string, parameters: object): Promise<T> => {
    const own = center
      ? name
      : name === "DeleteSnapshot_Task"
        ? "HostVStorageObjectDeleteSnapshot_Task"
        : `Host${name}`;
    const result = await client.call(own as never, manager as never, parameters as never);
    return (name.endsWith("_Task") ? await client.task(result as never) : result) as T;
  };
  const create = (name: string, keepAfterDeleteVm = false): Promise<Disk> =>
    call<Disk>("CreateDisk_Task", {
      spec: {
        name,
        keepAfterDeleteVm,
        capacityInMB: 4,
        backingSpec: { _type: "VslmCreateSpecDiskFileBackingSpec", datastore },
      },
    });
  const of = (disk: Disk) => ({ id: disk.config.id, datastore });
  const read = (disk: Disk): Promise<Disk> => call<Disk>("RetrieveVStorageObject", of(disk));
  const file = async (disk: Disk): Promise<string> =>
    join(directory, "state/datastore1", (await read(disk)).config.backing.filePath.replace("[datastore1] ", ""));
  const fill = async (disk: Disk, pattern: number): Promise<void> => {
    await Bun.$`qemu-io -c ${`write -P ${pattern} 0 64k`} ${await file(disk)}`.quiet();
  };
  const shows = async (disk: Disk, pattern: number): Promise<boolean> => {
    await Bun.$`qemu-img check -q ${await file(disk)}`.quiet();
    const { stdout } = await Bun.$`qemu-io -r -c ${`read -P ${pattern} 0 64k`} ${await file(disk)}`.quiet().nothrow();
    return !stdout.toString().includes("verification failed");
  };

  test("is created, listed, extended, cloned and deleted", async () => {
    const disk = await create("one");
    expect(disk.config).toMatchObject({ name: "one", capacityInMB: 4 });
    expect(await call<Id[]>("ListVStorageObject", { datastore })).toMatchObject([disk.config.id]);
    await call("ExtendDisk_Task", { ...of(disk), newCapacityInMB: 8 });
    expect((await read(disk)).config.capacityInMB).toBe(8);
    await expect(call("ExtendDisk_Task", { ...of(disk), newCapacityInMB: 2 })).rejects.toThrow("InvalidArgument");
    await fill(disk, 0x41);
    const backingSpec = { _type: "VslmCreateSpecDiskFileBackingSpec", datastore };
    const clone = await call<Disk>("CloneVStorageObject_Task", { ...of(disk), spec: { name: "two", backingSpec } });
    expect(await shows(clone, 0x41)).toBe(true);
    for (const each of [disk, clone]) await call("DeleteVStorageObject_Task", of(each));
    await expect(read(disk)).rejects.toThrow("NotFound");
    expect(await readdir(join(directory, "state/datastore1/fcd"))).toEqual(["catalog.json"]);
  });

  test("a disk that is there can be registered, once", async () => {
    await createDiskStore().create(join(directory, "state/datastore1/loose.vmdk"), 1024 * 1024);
    const path = "ds:///vmfs/volumes/datastore1/loose.vmdk";
    const disk = await call<Disk>("RegisterDisk", { path, name: "loose" });
    expect(disk.config.backing.filePath).toBe("[datastore1] loose.vmdk");
    await expect(call("RegisterDisk", { path })).rejects.toThrow("AlreadyExists");
    await expect(call("RegisterDisk", { path: "ds:///vmfs/volumes/datastore1/../x.vmdk" })).rejects.toThrow();
    await call("DeleteVStorageObject_Task", of(disk));
  });

  if (center)
    test("snapshots keep, give back and let go of content", async () => {
      const disk = await create("snapped");
      const snapshot = (description: string): Promise<Id> =>
        call<Id>("VStorageObjectCreateSnapshot_Task", { ...of(disk), description });
      await fill(disk, 1);
      const first = await snapshot("first");
      await fill(disk, 2);
      const second = await snapshot("second");
      await fill(disk, 3);
      const { snapshots } = await call<{ snapshots: { description: string }[] }>("RetrieveSnapshotInfo", of(disk));
      expect(snapshots.map(({ description }) => description)).toEqual(["first", "second"]);
      const copy = await call<Disk>("CreateDiskFromSnapshot_Task", { ...of(disk), snapshotId: first, name: "copy" });
      expect(await shows(copy, 1)).toBe(true);
      await call("RevertVStorageObject_Task", { ...of(disk), snapshotId: second });
      expect(await shows(disk, 2)).toBe(true);
      await fill(disk, 4);
      await call("DeleteSnapshot_Task", { ...of(disk), snapshotId: first });
      expect(await shows(disk, 4)).toBe(true);
      await call("DeleteSnapshot_Task", { ...of(disk), snapshotId: second });
      expect(await shows(disk, 4)).toBe(true);
      await expect(call("DeleteSnapshot_Task", { ...of(disk), snapshotId: second })).rejects.toThrow("NotFound");
      for (const each of [disk, copy]) await call("DeleteVStorageObject_Task", of(each));
      expect(await readdir(join(directory, "state/datastore1/fcd"))).toEqual(["catalog.json"]);
    });

  test("a VM takes one, and it outlives the VM when it shall", async () => {
    const kept = await create("kept", true);
    const config = {
      name: "vm",
      files: { vmPathName: "[datastore1]" },
      deviceChange: [
        {
          operation: "add",
          device: { _type: "ParaVirtualSCSIController", key: -1, busNumber: 0, sharedBus: "noSharing" },
        },
      ],
    };
    const folder = { type: "Folder", value: center ? "group-v3" : "ha-folder-vm" } as const;
    const pool = { type: "ResourcePool", value: center ? "resgroup-8" : "ha-root-pool" } as const;
    const created = await client.call("CreateVM_Task", folder, { config, pool } as never);
    const vm = (await client.task(created)) as { type: "VirtualMachine"; value: string };
    const attach = async (): Promise<unknown> =>
      client.task(await client.call("AttachDisk_Task", vm, { diskId: kept.config.id, datastore } as never));
    await attach();
    expect((await read(kept)).config.consumerId).toHaveLength(1);
    await expect(attach()).rejects.toThrow("InvalidState");
    await expect(call("DeleteVStorageObject_Task", of(kept))).rejects.toThrow("InvalidState");
    await client.task(await client.call("DetachDisk_Task", vm, { diskId: kept.config.id } as never));
    await attach();
    await client.task(await client.call("Destroy_Task", vm, {}));
    expect((await read(kept)).config.consumerId ?? []).toEqual([]);
    await call("DeleteVStorageObject_Task", of(kept));
  });
});
