/** A VM that govc makes out of the bootstrap ISO: it boots, tells its address, and its console can be read from its serial port. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Hypervisor } from "../../src/lab/hypervisor/contract.ts";
import type { Lab } from "../../src/lab/index.ts";
import type { LoaderConfiguration } from "../../src/link/guest-configuration.ts";
import { encodeConfiguration } from "../../src/link/guest-configuration-codec.ts";
import { type Medium, makeMedium } from "../tether/guest.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";
import { openRealLab } from "./open-lab.ts";

const LIMIT_MILLISECONDS = 240_000;
const ADDRESS = "192.0.2.7";
const MAC = "00:50:56:01:02:03";

let directory: string;
let medium: Medium;
let hypervisor: Hypervisor;
let lab: Lab;
let govc: Govc;

beforeAll(async () => {
  await buildGovc();
  medium = await makeMedium();
  directory = await mkdtemp(join(tmpdir(), "vch-guest-"));
  ({ lab, hypervisor } = await openRealLab(directory, "guests"));
  govc = govcFor(lab.url, directory, "root", "secret");
}, BUILD_MILLISECONDS);

afterAll(async () => {
  await hypervisor.dispose({ stopMachines: true });
  await lab.close();
  await medium.remove();
  await rm(directory, { recursive: true });
}, LIMIT_MILLISECONDS);

/** A loader has nothing to run: it brings its network up and waits for work. */
const configuration: LoaderConfiguration = {
  version: 1,
  role: "loader",
  id: "guest",
  hostname: "guest",
  link: { carrier: "net", endpoints: [], serverFingerprint: "0".repeat(64), token: "0".repeat(64) },
  network: {
    interfaces: [{ mac: MAC, name: "eth0", addresses: [{ address: ADDRESS, prefixLength: 24 }] }],
    nameservers: [],
    search: [],
    options: [],
    hosts: [],
  },
};

test(
  "a VM from the bootstrap ISO boots, has an address, and its console can be read",
  async () => {
    await govc("datastore.upload", medium.iso, "bootstrap.iso");
    await govc("vm.create", "-m", "512", "-c", "1", "-on=false", "-net", "guests", "-net.adapter", "vmxnet3", "guest");
    await govc("vm.network.change", "-vm", "guest", "-net", "guests", "-net.address", MAC, "ethernet-0");
    await govc("device.cdrom.add", "-vm", "guest");
    await govc("device.cdrom.insert", "-vm", "guest", "-device", "cdrom-3000", "bootstrap.iso");
    await govc("device.serial.add", "-vm", "guest");
    await govc("device.serial.connect", "-vm", "guest", "[datastore1] guest/console.log");
    const settings = Object.entries(encodeConfiguration(configuration)).flatMap(([key, value]) => [
      "-e",
      `${key}=${value}`,
    ]);
    await govc("vm.change", "-vm", "guest", ...settings);
    await govc("vm.power", "-on", "guest");
    expect((await govc("vm.ip", "-wait", "230s", "guest")).trim()).toBe(ADDRESS);
    expect(await govc("vm.info", "guest")).toContain(ADDRESS);
    expect(await govc("find", "/", "-type", "m", "-guest.ipAddress", ADDRESS)).toContain("guest");
    await govc("datastore.download", "guest/console.log", "console.log");
    expect(await Bun.file(join(directory, "console.log")).text()).toContain("ISOLINUX");
    expect(await govc("datastore.tail", "-n", "3", "guest/vmware.log")).toContain("guest");
    expect(await govc("metric.sample", "vm/guest", "cpu.usagemhz.average")).toMatch(/\d/);
    await govc("vm.power", "-suspend", "guest");
    await govc("vm.power", "-on", "guest");
    expect((await govc("vm.ip", "-wait", "60s", "guest")).trim()).toBe(ADDRESS);
    await govc("vm.power", "-off", "-force", "guest");
    expect(await govc("vm.info", "guest")).not.toContain(ADDRESS);
    await govc("vm.destroy", "guest");
  },
  LIMIT_MILLISECONDS,
);
