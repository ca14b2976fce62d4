/** Hostile uploads to the door of leases: a disk is taken whole or not at all, and nothing leads out of the datastore. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { createDiskStore } from "../../src/lab/hypervisor/disks/disk-store.ts";
import type { Lab } from "../../src/lab/index.ts";
import type { SoapClient } from "../../src/lab/testing/soap-client.ts";
import type { HttpNfcLeaseInfo } from "../../src/vsphere/vim25/index.ts";
import { checkDisks } from "./check-disks.ts";
import { openFakeLab } from "./open-lab.ts";

const CAPACITY = 1024 * 1024;
const POOL = { type: "ResourcePool", value: "ha-root-pool" } as const;
const FOLDER = { type: "Folder", value: "ha-folder-vm" } as const;
type Lease = { type: "HttpNfcLease"; value: string };

let directory: string;
let lab: Lab;
let client: SoapClient;
/** A disk as an honest client sends it. */
let good: Uint8Array<ArrayBuffer>;
const complaints: string[] = [];

async function streamOf(capacityBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const disks = createDiskStore();
  const file = join(directory, "source.vmdk");
  await disks.create(file, capacityBytes);
  await Bun.$`qemu-io -f vmdk -c ${"write -P 7 0 256k"} ${file}`.quiet();
  const parts = [];
  for await (const part of disks.send(file, "disk.vmdk")) parts.push(part);
  await disks.remove(file);
  return new Uint8Array(Buffer.concat(parts));
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-fuzz-nfc-"));
  await Bun.write(join(directory, "secret.txt"), "outside");
  good = await streamOf(CAPACITY);
  ({ lab, client } = await openFakeLab(directory, "HostAgent", { log: (line) => complaints.push(line) }));
});
afterAll(async () => {
  await lab.close();
  await rm(directory, { recursive: true });
});

async function importLease(name: string): Promise<{ lease: Lease; path: string }> {
  const disk = {
    operation: "add",
    fileOperation: "create",
    device: {
      _type: "VirtualDisk",
      key: -2,
      controllerKey: -1,
      unitNumber: 0,
      capacityInKB: CAPACITY / 1024,
      backing: { _type: "VirtualDiskFlatVer2BackingInfo", diskMode: "persistent", fileName: "" },
    },
  };
  const controller = {
    operation: "add",
    device: { _type: "ParaVirtualSCSIController", key: -1, busNumber: 0, sharedBus: "noSharing" },
  };
  const configSpec = { name, files: { vmPathName: "[datastore1]" }, deviceChange: [controller, disk] };
  const spec = { _type: "VirtualMachineImportSpec", configSpec };
  const lease = (await client.call("ImportVApp", POOL, { spec, folder: FOLDER } as never)) as Lease;
  while ((await client.get<string>(lease, "state")) === "initializing") await Bun.sleep(20);
  const [device] = (await client.get<HttpNfcLeaseInfo>(lease, "info")).deviceUrl ?? [];
  return { lease, path: new URL(device?.url.replace("*", "127.0.0.1") ?? "").pathname };
}

const send = (path: string, body: Uint8Array<ArrayBuffer>, method = "PUT") =>
  fetch(new URL(path, lab.url), { method, body, tls: { rejectUnauthorized: false } });

type Edit = { at: number; bytes: Uint8Array; removed: number };

function changed(edits: readonly Edit[]): Uint8Array<ArrayBuffer> {
  let bytes = Buffer.from(good);
  for (const { at, bytes: inserted, removed } of edits) {
    const place = at % (bytes.length + 1);
    bytes = Buffer.concat([bytes.subarray(0, place), inserted, bytes.subarray(place + removed)]);
  }
  return new Uint8Array(bytes);
}

test("changed disks are taken or refused, and what is there then is a disk", async () => {
  const { lease, path } = await importLease("hostile");
  const edit = fc.record({
    // The header, the descriptor, and anything behind them.
    at: fc.oneof(fc.nat(80), fc.nat(2000), fc.nat(good.length)),
    bytes: fc.oneof(fc.uint8Array({ maxLength: 16 }), fc.constantFrom(new Uint8Array(8).fill(255), new Uint8Array(8))),
    removed: fc.oneof(fc.nat(16), fc.nat(good.length)),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
      const response = await send(path, changed(edits));
      expect([201, 400]).toContain(response.status);
      await response.body?.cancel();
    }),
    { numRuns: 200 },
  );
  expect((await send(path, new Uint8Array())).status).toBe(400);
  expect(await checkDisks(join(directory, "state"))).toBe(1);
  expect((await send(path, good)).status).toBe(201);
  await client.call("HttpNfcLeaseComplete", lease, {});
  expect((await send(path, good)).status).toBe(404);
  const disk = join(directory, "state/datastore1/hostile/hostile.vmdk");
  expect(await Bun.$`qemu-io -r -f vmdk -c ${"read -P 7 0 256k"} ${disk}`.quiet().text()).not.toContain("failed");
  expect(complaints.filter((line) => /TypeError|RangeError|ReferenceError/.test(line))).toEqual([]);
}, 180_000);

test("a descriptor in the stream opens no file of the host; a disk larger than the package said is refused", async () => {
  const { lease, path } = await importLease("escape");
  const at = Buffer.from(good).indexOf("disk.vmdk");
  for (const name of ["../../secret.txt", "/etc/passwd", `${directory}/secret.txt`]) {
    const bytes = Buffer.from(good);
    bytes.fill(0, at, at + 64);
    bytes.write(`${name}"\n`, at);
    const response = await send(path, new Uint8Array(bytes));
    expect([201, 400]).toContain(response.status);
  }
  expect((await send(path, await streamOf(2 * CAPACITY))).status).toBe(400);
  for (const other of ["/nfc/../folder/x", `${path}/../../x`, path.replace(/[^/]*$/, "%2e%2e%2fsecret.txt")])
    expect((await send(other, good)).status).toBeGreaterThanOrEqual(400);
  expect((await send(path, good, "DELETE")).status).toBe(405);
  await client.call("HttpNfcLeaseAbort", lease, {});
  // An import that was given up leaves nothing; the secret is what it was.
  const left = await readdir(join(directory, "state/datastore1"));
  expect(left.filter((name) => name.startsWith("escape"))).toEqual([]);
  expect(await Bun.file(join(directory, "secret.txt")).text()).toBe("outside");
  await checkDisks(join(directory, "state"));
}, 120_000);
