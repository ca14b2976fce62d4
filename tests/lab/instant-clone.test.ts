/** An instant clone under QEMU: its guest goes on from where its source was, with what it had in memory, and the source does not notice. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Hypervisor } from "../../src/lab/hypervisor/contract.ts";
import type { Lab } from "../../src/lab/index.ts";
import type { Reference } from "../../src/lab/model/data.ts";
import type { SoapClient } from "../../src/lab/testing/soap-client.ts";
import { checkDisks } from "./check-disks.ts";
import { openRealLab } from "./open-lab.ts";
import { serialGuestIso } from "./serial-guest.ts";

const LIMIT_MILLISECONDS = 240_000;
const SEARCH = { type: "SearchIndex", value: "SearchIndex" } as const;
type Vm = { type: "VirtualMachine"; value: string };

let directory: string;
let lab: Lab;
let client: SoapClient;
let hypervisor: Hypervisor;
const sockets: Socket[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-instant-"));
  ({ lab, client, hypervisor } = await openRealLab(directory, "instant", "VirtualCenter"));
  await writeFile(join(directory, "state/datastore1/guest.iso"), serialGuestIso(new Uint8Array()));
}, LIMIT_MILLISECONDS);

afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await hypervisor.dispose({ stopMachines: true });
  await lab.close();
  await checkDisks(join(directory, "state"));
  await rm(directory, { recursive: true });
}, LIMIT_MILLISECONDS);

async function at(inventoryPath: string): Promise<Reference> {
  const found = await client.call("FindByInventoryPath", SEARCH, { inventoryPath });
  if (!found) throw new Error(`nothing at ${inventoryPath}`);
  return found;
}

/** A port nobody listens on now. */
function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = server;
  server.stop(true);
  return port;
}

const fileBacking = (name: string) => ({
  _type: "VirtualSerialPortFileBackingInfo",
  fileName: `[datastore1] ${name}`,
});
const networkBacking = (port: number) => ({
  _type: "VirtualSerialPortURIBackingInfo",
  serviceURI: `tcp://127.0.0.1:${port}`,
  direction: "server",
});
const serial = (operation: string, key: number, backing: object) => ({
  operation,
  device: { _type: "VirtualSerialPort", key, yieldOnPoll: true, backing },
});

/** The guest counts what it is asked for, in its memory. */
async function counter(port: number): Promise<() => Promise<string>> {
  const socket = connect(port, "127.0.0.1");
  sockets.push(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return () =>
    new Promise((resolve) => {
      socket.once("data", (chunk: Buffer) => resolve(chunk.toString("latin1")));
      socket.write("x");
    });
}

test(
  "source and clone go on from the same moment, each with its own disk",
  async () => {
    const [port, twinPort] = [freePort(), freePort()];
    const config = {
      name: "source",
      files: { vmPathName: "[datastore1]" },
      memoryMB: 16,
      numCPUs: 1,
      deviceChange: [
        {
          operation: "add",
          device: { _type: "ParaVirtualSCSIController", key: -1, busNumber: 0, sharedBus: "noSharing" },
        },
        {
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
        },
        {
          operation: "add",
          device: {
            _type: "VirtualCdrom",
            key: -3,
            controllerKey: 200,
            backing: { _type: "VirtualCdromIsoBackingInfo", fileName: "[datastore1] guest.iso" },
          },
        },
        serial("add", -4, fileBacking("source.log")),
        serial("add", -5, networkBacking(port)),
      ],
    };
    const folder = { type: "Folder", value: (await at("Datacenter/vm")).value } as const;
    const pool = await at("Datacenter/host/Cluster/Resources");
    const source = (await client.task(await client.call("CreateVM_Task", folder, { config, pool } as never))) as Vm;
    await client.task(await client.call("PowerOnVM_Task", source, {}));
    const log = join(directory, "state/datastore1/source.log");
    while (!(await readFile(log, "latin1").catch(() => "")).includes("UP")) await Bun.sleep(50);
    const count = await counter(port);
    expect([await count(), await count()]).toEqual(["1", "2"]);

    const location = {
      deviceChange: [serial("edit", 9000, fileBacking("twin.log")), serial("edit", 9001, networkBacking(twinPort))],
    };
    const spec = { name: "twin", location };
    const twin = (await client.task(await client.call("InstantClone_Task", source, { spec } as never))) as Vm;
    expect(await client.get<string>(twin, "runtime.powerState")).toBe("poweredOn");
    const countOfTwin = await counter(twinPort);
    // Both had counted to two.
    expect(await countOfTwin()).toBe("3");
    expect([await count(), await count()]).toEqual(["3", "4"]);
    expect(await countOfTwin()).toBe("4");

    for (const [vm, file] of [
      [source, "[datastore1] source/source-000001.vmdk"],
      [twin, "[datastore1] twin/twin.vmdk"],
    ] as const) {
      const backing = await client.get<{ fileName: string; parent: { fileName: string } }>(
        vm,
        "config.hardware.device[2000].backing",
      );
      expect(backing).toMatchObject({ fileName: file, parent: { fileName: "[datastore1] source/source.vmdk" } });
    }
    for (const vm of [source, twin]) await client.task(await client.call("PowerOffVM_Task", vm, {}));
    expect(await checkDisks(join(directory, "state"))).toBe(3);
    for (const vm of [twin, source]) await client.task(await client.call("Destroy_Task", vm, {}));
  },
  LIMIT_MILLISECONDS,
);
