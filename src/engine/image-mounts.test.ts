import { afterEach, expect, test } from "bun:test";
import type { ContainerCreateBody } from "./contract.ts";
import { type Fixture, openEngine } from "./testing/engine-fixture.ts";

let fixture: Fixture;
afterEach(() => fixture.close());

const body = (mount: Record<string, unknown>): ContainerCreateBody =>
  ({ Image: "busybox", Cmd: ["true"], HostConfig: { Mounts: [{ Type: "image", ...mount }] } }) as never;

test("an image is mounted from a child of its disk, which goes with the container", async () => {
  fixture = await openEngine();
  const { engine, vsphere } = fixture;
  const { Id } = await engine.containers.create(
    "with-image",
    body({ Source: "busybox", Target: "/tools", ReadOnly: true, ImageOptions: { Subpath: "bin" } }),
  );
  const disk = `[ds1] vch/test/containers/${Id}/image-0.vmdk`;
  expect([...vsphere.content.keys()]).toContain(disk);
  const { Mounts } = await engine.containers.inspect(Id, { size: false });
  expect(Mounts).toEqual([
    {
      Type: "image",
      Source: "busybox",
      Destination: "/tools",
      Mode: "",
      RW: false,
      Propagation: "",
    },
  ]);
  await engine.containers.remove(Id, { force: false, volumes: false, link: false });
  expect([...vsphere.content.keys()]).not.toContain(disk);
});

test("what cannot be mounted is said at create", async () => {
  fixture = await openEngine();
  const { containers } = fixture.engine;
  for (const [mount, reason] of [
    [{ Source: "nothing/here", Target: "/x" }, "No such image: nothing/here"],
    [{ Target: "/x" }, 'invalid mount config for type "image": field Source must not be empty'],
    [{ Source: "busybox", Target: "/" }, "destination can't be '/'"],
    [{ Source: "busybox", Target: "/x", ImageOptions: { Subpath: "../up" } }, 'invalid subpath "../up"'],
  ] as const)
    await expect(containers.create(undefined, body(mount))).rejects.toThrow(reason);
  expect(await containers.list({ all: true, size: false, filters: new Map() })).toEqual([]);
});
