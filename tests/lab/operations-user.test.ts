/** The driver's work as a user whose role holds what it needs and nothing more: each privilege that is taken away stops it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectVSphere, OPERATIONS_PRIVILEGES } from "../../src/vsphere/index.ts";
import { type FakeLabProcess, serveFakeLab } from "./fake-lab-process.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";

const PRINCIPAL = "operator@vsphere.local";
/** The operations role of a VCH. */
const PRIVILEGES = Object.keys(OPERATIONS_PRIVILEGES);

let directory: string;
let lab: FakeLabProcess;
let govc: Govc;
let run = 0;

beforeAll(async () => {
  await buildGovc();
  directory = await mkdtemp(join(tmpdir(), "vch-operations-"));
  lab = await serveFakeLab(join(directory, "state"), "VirtualCenter");
  govc = govcFor(lab.url, directory);
  await govc("role.create", "vch-operations", ...PRIVILEGES);
  await govc("permissions.set", "-principal", PRINCIPAL, "-role", "vch-operations", "/");
}, BUILD_MILLISECONDS);

afterAll(async () => {
  await lab.stop();
  await rm(directory, { recursive: true });
});

/** What a container's life asks of the driver. */
async function story(): Promise<void> {
  const name = `container-${++run}`;
  const vsphere = await connectVSphere({
    url: lab.url,
    fingerprint: lab.fingerprint,
    username: PRINCIPAL,
    password: "operate",
  });
  try {
    const view = await vsphere.openView();
    const root = `[${vsphere.files.datastore}]`;
    await vsphere.capacity();
    await vsphere.networks();
    await vsphere.files.makeDirectory(`${root} ${name}`);
    await vsphere.files.makeDirectory(`${root} images-${run}`);
    await vsphere.files.makeDisk(`${root} images-${run}/base.vmdk`, 1024 * 1024);
    await vsphere.files.makeDisk(`${root} images-${run}/volume.vmdk`, 1024 * 1024);
    await vsphere.files.write(`${root} images-${run}/base.json`, "{}");
    await vsphere.files.readText(`${root} images-${run}/base.json`, 100);
    await vsphere.files.list(`${root} images-${run}`);
    const vm = await vsphere.createVm({
      name,
      uuid: crypto.randomUUID(),
      annotation: "a container",
      directory: `${root} ${name}`,
      cpus: 1,
      memoryMB: 64,
      firmware: "bios",
      disks: [
        {
          bus: 0,
          unit: 0,
          path: `${root} ${name}/rw.vmdk`,
          mode: "persistent",
          create: { parent: `${root} images-${run}/base.vmdk` },
        },
      ],
      networkAdapters: [{ network: "VM Network", connected: true }],
      serialPorts: [],
      extraConfig: { "guestinfo.vch.config": "{}" },
    });
    await vsphere.powerOn(vm);
    await view.waitFor(vm, (record) => record.powerState === "poweredOn", 60_000, "power on");
    await vsphere.reconfigureVm(vm, { extraConfig: { "vch.id": name }, annotation: "changed" });
    await vsphere.reconfigureVm(vm, {
      addDisks: [{ bus: 0, unit: 1, path: `${root} images-${run}/volume.vmdk`, mode: "independent_persistent" }],
      addNetworkAdapters: [{ network: "VM Network", connected: false }],
    });
    // The VM asks nothing: whoever may answer is told so, whoever may not is refused before that.
    const answered = await vsphere.answer(vm, "0", "0").catch((error: unknown) => error);
    if (!/ConcurrentAccess|asks nothing now/.test(String(answered))) throw answered ?? new Error("AnswerVM succeeded");
    await vsphere.suspend(vm);
    await vsphere.powerOn(vm);
    await vsphere.powerOff(vm);
    await vsphere.reconfigureVm(vm, {
      name: `${name}-renamed`,
      cpus: 2,
      memoryMB: 128,
      allocation: { cpuShares: 500 },
    });
    await vsphere.destroyVm(vm, { keepDisks: [`${root} images-${run}/volume.vmdk`] });
    await vsphere.files.remove(`${root} images-${run}`);
    await view.close();
  } finally {
    await vsphere.close();
  }
}

test("the role is enough", story, 120_000);

test.each(PRIVILEGES)(
  "without %s it is not",
  async (privilege) => {
    await govc("role.update", "-r", "vch-operations", privilege);
    try {
      await expect(story()).rejects.toThrow(/NoPermission|denied|403/);
    } finally {
      await govc("role.update", "-a", "vch-operations", privilege);
    }
  },
  120_000,
);
