/** The lab with the real hypervisor: a VM of firmware only, so that the test needs no guest. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Hypervisor } from "../../src/lab/hypervisor/contract.ts";
import type { Lab } from "../../src/lab/index.ts";
import type { SoapClient } from "../../src/lab/testing/soap-client.ts";
import { openRealLab } from "./open-lab.ts";

const LIMIT_MILLISECONDS = 240_000;
const FOLDER = { type: "Folder", value: "ha-folder-vm" } as const;
const POOL = { type: "ResourcePool", value: "ha-root-pool" } as const;

let directory: string;
let lab: Lab;
let client: SoapClient;
let hypervisor: Hypervisor;

async function start(): Promise<void> {
  ({ lab, client, hypervisor } = await openRealLab(directory, "lab-test"));
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-qemu-"));
  await start();
}, LIMIT_MILLISECONDS);

afterAll(async () => {
  await hypervisor.dispose({ stopMachines: true });
  await lab.close();
  await rm(directory, { recursive: true });
}, LIMIT_MILLISECONDS);

test(
  "a VM runs under QEMU, takes a disk and an adapter, and outlives the lab",
  async () => {
    const backing = { _type: "VirtualDiskFlatVer2BackingInfo", diskMode: "persistent" };
    const disk = (unit: number, fileName: string, controllerKey: number) => ({
      operation: "add",
      fileOperation: "create",
      device: {
        _type: "VirtualDisk",
        key: -2,
        controllerKey,
        unitNumber: unit,
        capacityInKB: 8192,
        backing: { ...backing, fileName },
      },
    });
    const nic = {
      operation: "add",
      device: {
        _type: "VirtualVmxnet3",
        key: -3,
        backing: { _type: "VirtualEthernetCardNetworkBackingInfo", deviceName: "lab-test" },
      },
    };
    const controller = {
      operation: "add",
      device: { _type: "ParaVirtualSCSIController", key: -1, busNumber: 0, sharedBus: "noSharing" },
    };
    const config = {
      name: "firmware",
      files: { vmPathName: "[datastore1]" },
      memoryMB: 64,
      numCPUs: 1,
      deviceChange: [controller, disk(0, "", -1), nic],
    } as never;
    const created = client.task(await client.call("CreateVM_Task", FOLDER, { config, pool: POOL }));
    const vm = (await created) as { type: "VirtualMachine"; value: string };
    await client.task(await client.call("PowerOnVM_Task", vm, {}));
    expect(await client.get<string>(vm, "runtime.powerState")).toBe("poweredOn");
    const change = async (deviceChange: unknown[]): Promise<unknown> =>
      client.task(await client.call("ReconfigVM_Task", vm, { spec: { deviceChange } as never }));
    await change([disk(1, "[datastore1] firmware/hot.vmdk", 1000)]);
    await change([nic]);
    // Taking the adapter away needs a guest that lets go of it; a disk goes at once.
    await change([{ operation: "remove", device: { _type: "VirtualDisk", key: 2001, capacityInKB: 0 } }]);
    await lab.close();
    await start();
    expect(await client.get<string>(vm, "runtime.powerState")).toBe("poweredOn");
    await client.task(await client.call("PowerOffVM_Task", vm, {}));
    await client.task(await client.call("Destroy_Task", vm, {}));
  },
  LIMIT_MILLISECONDS,
);

test(
  "snapshots of a running VM: its memory is saved, its disks are exchanged and merged under it",
  async () => {
    const controller = {
      operation: "add",
      device: { _type: "ParaVirtualSCSIController", key: -1, busNumber: 0, sharedBus: "noSharing" },
    };
    const disk = {
      operation: "add",
      fileOperation: "create",
      device: {
        _type: "VirtualDisk",
        key: -2,
        controllerKey: -1,
        unitNumber: 0,
        capacityInKB: 8192,
        backing: { _type: "VirtualDiskFlatVer2BackingInfo", diskMode: "persistent", fileName: "" },
      },
    };
    const config = {
      name: "still",
      files: { vmPathName: "[datastore1]" },
      memoryMB: 32,
      numCPUs: 1,
      deviceChange: [controller, disk],
    } as never;
    const vm = (await client.task(await client.call("CreateVM_Task", FOLDER, { config, pool: POOL }))) as {
      type: "VirtualMachine";
      value: string;
    };
    await client.task(await client.call("PowerOnVM_Task", vm, {}));
    const snapshot = async (name: string, memory: boolean) =>
      (await client.task(await client.call("CreateSnapshot_Task", vm, { name, memory, quiesce: false }))) as {
        type: "VirtualMachineSnapshot";
        value: string;
      };
    const backing = (): Promise<string> => client.get(vm, "config.hardware.device[2000].backing.fileName");
    const first = await snapshot("with memory", true);
    expect(await client.get<string>(vm, "runtime.powerState")).toBe("poweredOn");
    await snapshot("disks only", false);
    expect(await backing()).toEndWith("still-000002.vmdk");
    await client.task(await client.call("RevertToSnapshot_Task", first, {}));
    expect(await client.get<string>(vm, "runtime.powerState")).toBe("poweredOn");
    await client.task(await client.call("RemoveAllSnapshots_Task", vm, {}));
    expect(await backing()).toEndWith("still/still.vmdk");
    await client.task(await client.call("PowerOffVM_Task", vm, {}));
    await Bun.$`qemu-img check -q ${join(directory, "state/datastore1/still/still.vmdk")}`.quiet();
    await client.task(await client.call("Destroy_Task", vm, {}));
  },
  LIMIT_MILLISECONDS,
);
