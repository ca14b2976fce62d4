import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDiskStore } from "../hypervisor/disks/disk-store.ts";
import { startLab } from "../index.ts";
import { FakeHypervisor } from "../testing/fake-hypervisor.ts";
import { type Intent, Journal } from "./journal.ts";

let directory: string;
const store = (path = ""): string => join(directory, "state/datastore1", path);

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-recovery-"));
  await mkdir(store("vm"), { recursive: true });
  await createDiskStore().create(store("vm/disk.vmdk"), 1024 * 1024);
  await writeFile(store("vm/vm.vmx"), 'displayName = "vm"\n');
});
afterEach(() => rm(directory, { recursive: true }));

/** Starts and stops a lab over the state that a killed one left. */
async function restart(intent: Intent): Promise<void> {
  const journal = await Journal.open(join(directory, "state"));
  await journal.begin(intent);
  const lab = await startLab({
    stateDirectory: join(directory, "state"),
    listen: { host: "127.0.0.1", port: 0 },
    personality: "HostAgent",
    username: "root",
    password: "secret",
    portGroups: [],
    hypervisor: new FakeHypervisor().connect,
    disks: createDiskStore,
    log: () => undefined,
  });
  await lab.close();
}

test("a VM that never got into the inventory leaves no files", async () => {
  const files = [store("vm/vm.vmx"), store("vm/disk.vmdk")];
  await restart({ kind: "make", vmxFile: store("vm/vm.vmx"), files, directory: store("vm") });
  expect(existsSync(store("vm"))).toBe(false);
});

test("a removal that had begun is finished, and other files stay", async () => {
  await writeFile(store("vm/notes.txt"), "keep");
  await restart({ kind: "remove", files: [store("vm/disk.vmdk")], directory: store("vm") });
  expect(existsSync(store("vm/disk.vmdk"))).toBe(false);
  expect(existsSync(store("vm/vm.vmx"))).toBe(false);
  expect(existsSync(store("vm/notes.txt"))).toBe(true);
});
