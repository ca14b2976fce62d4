/** Descriptors that a client uploads must not open files of the host: govc uploads, the lab refuses. All files lie in one temporary folder. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDiskStore } from "../../src/lab/hypervisor/disks/disk-store.ts";
import { type FakeLabProcess, serveFakeLab } from "./fake-lab-process.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";

beforeAll(buildGovc, BUILD_MILLISECONDS);

const SECRET = "of the host, not of the datastore";
const SECTORS = 2048;
/** The refusals of the lab; anything else would be an accident. */
const REFUSED = /lies outside of the datastores|is not in the disk's directory/;

let directory: string;
let lab: FakeLabProcess;
let govc: Govc;
/** A disk beside the datastore, and a plain file. */
let outsideDisk: string;
let outsideFile: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-hostile-disks-"));
  await mkdir(join(directory, "outside"));
  outsideDisk = join(directory, "outside/disk.vmdk");
  outsideFile = join(directory, "outside/secret");
  await writeFile(outsideFile, SECRET.padEnd(SECTORS * 512, "."));
  await createDiskStore().create(outsideDisk, SECTORS * 512);
  lab = await serveFakeLab(join(directory, "state"), "HostAgent");
  govc = govcFor(lab.url, directory);
  await govc("vm.create", "-m", "64", "-on=false", "-disk", "16MB", "victim");
});
afterAll(async () => {
  await lab.stop();
  await rm(directory, { recursive: true });
});

const descriptor = (extent: string, parent?: string): string =>
  [
    "# Disk DescriptorFile",
    "version=1",
    "CID=12345678",
    `parentCID=${parent === undefined ? "ffffffff" : "fffffffe"}`,
    `createType="${parent === undefined ? "vmfs" : "vmfsSparse"}"`,
    ...(parent === undefined ? [] : [`parentFileNameHint="${parent}"`]),
    `RW ${SECTORS} VMFS "${extent}"`,
    'ddb.adapterType = "lsilogic"',
    'ddb.virtualHWVersion = "14"',
    "",
  ].join("\n");

const hostile = (): [string, string][] => [
  ["extent-absolute", descriptor(outsideFile)],
  ["extent-relative", descriptor("../../../outside/secret")],
  ["parent-absolute", descriptor("parent-absolute-flat.vmdk", outsideDisk)],
  ["parent-relative", descriptor("parent-relative-flat.vmdk", "../../../outside/disk.vmdk")],
];

const outcome = (...words: string[]): Promise<string> =>
  govc(...words).then(
    (output) => `done: ${output}`,
    (error: Error) => error.message,
  );

describe("an uploaded descriptor that names the host's files", () => {
  test("is refused at copy, attach and as a parent, and nothing of the host is read or written", async () => {
    for (const [name, text] of hostile()) {
      const local = join(directory, `${name}.vmdk`);
      await writeFile(local, text);
      await writeFile(join(directory, "data"), new Uint8Array(SECTORS * 512));
      await govc("datastore.mkdir", "-p", "evil");
      await govc("datastore.upload", local, `evil/${name}.vmdk`);
      await govc("datastore.upload", join(directory, "data"), `evil/${name}-flat.vmdk`);
      expect(await outcome("datastore.cp", `evil/${name}.vmdk`, `evil/${name}-copy.vmdk`)).toMatch(REFUSED);
      const attached = await outcome("vm.disk.attach", "-vm", "victim", "-link=false", "-disk", `evil/${name}.vmdk`);
      expect(attached).toMatch(REFUSED);
      expect(await outcome("vm.disk.attach", "-vm", "victim", "-link=true", "-disk", `evil/${name}.vmdk`)).toMatch(
        REFUSED,
      );
    }
    expect((await govc("device.ls", "-vm", "victim")).match(/disk-/g)).toHaveLength(1);
    const names = await readdir(join(directory, "state/datastore1/evil"));
    expect(names.filter((name) => name.includes("copy"))).toEqual([]);
    expect(await readFile(outsideFile, "utf8")).toStartWith(SECRET);
    expect(await readdir(join(directory, "outside"))).toContain("disk.vmdk");
  }, 120_000);
});
