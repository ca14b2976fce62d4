import { afterEach, expect, test } from "bun:test";
import type { ContainerCreateBody } from "../contract.ts";
import { type Fixture, openEngine } from "../testing/engine-fixture.ts";
import { FakeVSphere } from "../testing/fake-vsphere.ts";

const MEBIBYTE = 1024 * 1024;
const DISK = "[ds1] vch/test/volumes/data/volume.vmdk";
let fixture: Fixture;
afterEach(() => fixture.close());

const volume = (DriverOpts: Record<string, string>) =>
  fixture.engine.volumes.create({ Name: "data", Driver: "local", DriverOpts, Labels: {} });

test("a volume that is created again with more capacity gets it, and keeps it over a restart", async () => {
  const vsphere = new FakeVSphere();
  fixture = await openEngine(vsphere);
  await volume({ Capacity: "64M", VolumeStore: "default" });
  expect(await volume({})).toMatchObject({ Options: { Capacity: "64M" } });
  expect(await volume({ size: "64M" })).toMatchObject({ Options: { Capacity: "64M" } });
  expect([...vsphere.grown]).toEqual([]);
  expect(await volume({ size: "256M" })).toMatchObject({ Options: { size: "256M", VolumeStore: "default" } });
  expect([...vsphere.grown]).toEqual([[DISK, 256 * MEBIBYTE]]);
  await fixture.close();
  fixture = await openEngine(vsphere);
  expect((await fixture.engine.volumes.inspect("data")).Options).toEqual({ size: "256M", VolumeStore: "default" });
  await expect(volume({ Capacity: "64M" })).rejects.toThrow("cannot be made smaller");
  await expect(volume({ VolumeStore: "fast" })).rejects.toThrow('no volume store is called "fast"');
});

test("not while a container runs with it", async () => {
  fixture = await openEngine();
  await volume({ Capacity: "64M" });
  const { containers } = fixture.engine;
  const body = { Image: "busybox", Cmd: ["sleep"], HostConfig: { Binds: ["data:/data"] } } as unknown;
  const { Id } = await containers.create("user", body as ContainerCreateBody);
  await containers.start(Id);
  await expect(volume({ Capacity: "128M" })).rejects.toThrow("is in use by running container user: stop it");
  await containers.remove(Id, { force: true, volumes: false, link: false });
  await volume({ Capacity: "128M" });
});
