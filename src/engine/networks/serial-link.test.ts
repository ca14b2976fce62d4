import { afterEach, expect, test } from "bun:test";
import { decodeConfiguration } from "../../link/guest-configuration-codec.ts";
import type { ContainerCreateBody } from "../contract.ts";
import type { SerialUse } from "../guests/guest-links.ts";
import { type Fixture, openEngine } from "../testing/engine-fixture.ts";
import { FakeVSphere } from "../testing/fake-vsphere.ts";

const open: Fixture[] = [];
afterEach(async () => {
  for (const fixture of open.splice(0)) await fixture.close();
});

async function engineOver(serial: SerialUse | undefined, vsphere = new FakeVSphere()): Promise<Fixture> {
  const fixture = await openEngine(vsphere, serial === undefined ? {} : { serial });
  open.push(fixture);
  return fixture;
}

const body = (mode: string): ContainerCreateBody =>
  ({ Image: "busybox", Cmd: ["sleep", "1000"], HostConfig: { NetworkMode: mode } }) as unknown as ContainerCreateBody;

/** How the one VM is built, and what its tether is told. */
const machineOf = async ({ vsphere }: Fixture) => {
  const [machine] = [...vsphere.machines.values()];
  if (machine === undefined) throw new Error("no VM");
  const { link, network } = await decodeConfiguration((key) => machine.record.extraConfig.get(key));
  return {
    adapters: machine.record.networkAdapters.length,
    serialPorts: machine.spec.serialPorts.map(({ kind }) => kind),
    carrier: link.carrier,
    endpoints: link.endpoints,
    interfaces: network.interfaces.length,
  };
};

const OVER_SERIAL = {
  adapters: 0,
  serialPorts: ["file", "network"],
  carrier: "serial",
  endpoints: [],
  interfaces: 0,
};

test("without a network the control link goes over a serial port, and there is no vNIC", async () => {
  const fixture = await engineOver("needed");
  const { Id } = await fixture.engine.containers.create("none", body("none"));
  expect(await machineOf(fixture)).toEqual(OVER_SERIAL as never);
  await fixture.engine.containers.start(Id);
  await fixture.engine.containers.stop(Id, {});
  // It is known as such to the next engine.
  const next = await engineOver("needed", fixture.vsphere);
  await next.engine.containers.start(Id);
  await next.engine.containers.remove(Id, { force: true, volumes: false, link: false });
  expect(fixture.vsphere.machines.size).toBe(0);
});

test("with a network it goes over that, or over a serial port when the site wants it so", async () => {
  const needed = await engineOver("needed");
  await needed.engine.containers.create("net", body("bridge"));
  expect(await machineOf(needed)).toMatchObject({ adapters: 1, serialPorts: ["file"], carrier: "net" });
  const always = await engineOver("always");
  const { Id } = await always.engine.containers.create("serial", body("bridge"));
  expect(await machineOf(always)).toEqual({ ...OVER_SERIAL, adapters: 1, interfaces: 1 } as never);
  await always.engine.containers.start(Id);
  await always.engine.networks.create({ Name: "blue" });
  await always.engine.networks.connect("blue", Id, {});
  await always.engine.networks.disconnect("bridge", Id, false);
  await always.engine.networks.disconnect("blue", Id, false);
  expect(await machineOf(always)).toEqual(OVER_SERIAL as never);
});

test("where there is no serial carrier a hidden vNIC serves, and what needs one is refused at its start", async () => {
  const none = await engineOver(undefined);
  await none.engine.containers.create("hidden", body("none"));
  expect(await machineOf(none)).toMatchObject({ adapters: 1, serialPorts: ["file"], carrier: "net", interfaces: 1 });
  const never = await engineOver("never");
  await never.engine.containers.create("hidden", body("none"));
  expect(await machineOf(never)).toMatchObject({ adapters: 1, carrier: "net" });
  const before = await engineOver("needed");
  const { Id } = await before.engine.containers.create("serial", body("none"));
  const after = await engineOver(undefined, before.vsphere);
  await expect(after.engine.containers.start(Id)).rejects.toThrow("goes over a serial port");
});
