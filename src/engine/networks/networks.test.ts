import { afterEach, expect, test } from "bun:test";
import type { ContainerCreateBody, Filters } from "../contract.ts";
import { type Fixture, openEngine } from "../testing/engine-fixture.ts";
import { FakeVSphere } from "../testing/fake-vsphere.ts";

const open: Fixture[] = [];
afterEach(async () => {
  for (const fixture of open.splice(0)) await fixture.close();
});

async function engineOver(vsphere?: FakeVSphere): Promise<Fixture> {
  const fixture = await openEngine(vsphere);
  open.push(fixture);
  return fixture;
}

const filters = (values: Record<string, string[]> = {}): Filters => new Map(Object.entries(values));
const sleeper = (more: Record<string, unknown> = {}): ContainerCreateBody =>
  ({ Image: "busybox", Cmd: ["sleep", "1000"], ...more }) as unknown as ContainerCreateBody;
const onNetworks = (...names: string[]): Record<string, unknown> => ({
  HostConfig: { NetworkMode: names[0] },
  NetworkingConfig: { EndpointsConfig: Object.fromEntries(names.map((name) => [name, {}])) },
});
/** Port group and MAC of each vNIC of the one VM. */
const adapters = (vsphere: FakeVSphere) =>
  [...vsphere.machines.values()].flatMap(({ record }) => record.networkAdapters.map(({ network }) => network));

test("a network has a port group, a subnet of its own and a record that outlives the engine", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  const { Id } = await engine.networks.create({ Name: "blue", Labels: { team: "a" } });
  const made = await engine.networks.inspect("blue", { verbose: false });
  expect(made).toMatchObject({ Id, Name: "blue", Driver: "bridge", Labels: { team: "a" }, Internal: false });
  expect([...vsphere.portGroups]).toEqual(["bridge", `test-blue-${Id.slice(0, 12)}`]);
  const { engine: next } = await engineOver(vsphere);
  expect(await next.networks.inspect(Id.slice(0, 10), { verbose: false })).toEqual(made);
  await next.networks.remove("blue");
  expect([...vsphere.portGroups]).toEqual(["bridge"]);
  expect([...vsphere.content.keys()].filter((path) => path.includes("/networks/"))).toEqual([]);
});

test("names and pools are refused as Docker refuses them", async () => {
  const { engine } = await engineOver();
  const create = (body: Parameters<typeof engine.networks.create>[0]) => engine.networks.create(body);
  await create({ Name: "one", IPAM: { Driver: "default", Config: [{ Subnet: "10.80.0.0/24" }] } });
  await expect(create({ Name: "one" })).rejects.toThrow("network with name one already exists");
  await expect(create({ Name: "bridge" })).rejects.toThrow("operation is not permitted on predefined bridge network");
  await expect(
    create({ Name: "two", IPAM: { Driver: "default", Config: [{ Subnet: "10.80.0.128/25" }] } }),
  ).rejects.toThrow("invalid pool request: Pool overlaps with other one on this address space");
  await expect(create({ Name: "two", Driver: "macvlan" })).rejects.toThrow("network driver macvlan is not supported");
  await expect(create({ Name: "two", Options: { "com.example": "1" } })).rejects.toThrow(
    "com.example is not supported",
  );
  await expect(
    create({ Name: "two", IPAM: { Driver: "default", Config: [{ Subnet: "10.81.0.0/24", Gateway: "10.82.0.1" }] } }),
  ).rejects.toThrow("parent subnet 10.81.0.0/24 doesn't contain it");
});

test("gateway, ip-range and auxiliary addresses count", async () => {
  const { engine } = await engineOver();
  await engine.networks.create({
    Name: "ranged",
    IPAM: {
      Driver: "default",
      Config: [
        {
          Subnet: "10.80.0.0/16",
          IPRange: "10.80.7.0/29",
          Gateway: "10.80.0.9",
          AuxiliaryAddresses: { router: "10.80.7.1" },
        },
      ],
    },
  });
  const { Id } = await engine.containers.create("box", sleeper(onNetworks("ranged")));
  await engine.containers.start(Id);
  const { NetworkSettings } = await engine.containers.inspect("box", { size: false });
  expect(NetworkSettings?.Networks?.ranged).toMatchObject({ Gateway: "10.80.0.9", IPPrefixLen: 16 });
  // The range's first address is handed out too: it is not the subnet's own.
  expect(["10.80.7.0", "10.80.7.2"]).toContain(NetworkSettings?.Networks?.ranged?.IPAddress ?? "");
});

test("a create that is cut off at any step leaves nothing at the next start", async () => {
  for (const cut of ["write", "addPortGroup", "move"]) {
    const vsphere = new FakeVSphere();
    const first = await engineOver(vsphere);
    let seen = 0;
    vsphere.before = (step) => {
      if (step === cut && seen++ === (cut === "move" ? 1 : 0)) {
        // From here on nothing reaches vSphere any more.
        vsphere.before = () => {
          throw new Error("gone");
        };
        throw new Error("gone");
      }
    };
    await expect(first.engine.networks.create({ Name: "blue" })).rejects.toThrow("gone");
    vsphere.before = () => undefined;
    const { engine } = await engineOver(vsphere);
    expect((await engine.networks.list(filters())).map(({ Name }) => Name)).toEqual(["bridge", "none", "host"]);
    expect([...vsphere.portGroups]).toEqual(["bridge"]);
    await engine.networks.create({ Name: "blue" });
  }
});

test("a container on several networks has a vNIC on each, its default route on one", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  await engine.networks.create({ Name: "inside", Internal: true });
  await engine.networks.create({ Name: "outside" });
  const { Id } = await engine.containers.create("box", sleeper(onNetworks("inside", "outside")));
  expect(adapters(vsphere)).toHaveLength(2);
  await engine.containers.start(Id);
  const { NetworkSettings } = await engine.containers.inspect("box", { size: false });
  expect(Object.keys(NetworkSettings?.Networks ?? {})).toEqual(["inside", "outside"]);
  expect(Object.keys((await engine.networks.inspect("inside", { verbose: false })).Containers ?? {})).toEqual([Id]);
  await expect(engine.networks.remove("inside")).rejects.toThrow("has active endpoints");
});

test("connect and disconnect, stopped and running", async () => {
  const vsphere = new FakeVSphere();
  const { engine, actions } = await engineOver(vsphere);
  await engine.networks.create({ Name: "blue" });
  const { Id } = await engine.containers.create("box", sleeper());
  await engine.networks.connect("blue", "box", { Aliases: ["db"] });
  expect(adapters(vsphere)).toHaveLength(2);
  await expect(engine.networks.connect("blue", "box", undefined)).rejects.toThrow(
    "endpoint with name box already exists in network blue",
  );
  await engine.networks.disconnect("bridge", "box", false);
  expect(adapters(vsphere)).toHaveLength(1);
  await engine.containers.start(Id);
  await engine.networks.connect("bridge", "box", undefined);
  expect(adapters(vsphere)).toHaveLength(2);
  expect(vsphere.told.filter(({ op }) => op === "configureNetwork").at(-1)).toMatchObject({
    network: { interfaces: [{ name: "eth0" }, { name: "eth1" }] },
    endpoints: [expect.stringMatching(/^172\.\d+\.0\.1:/), "172.30.0.1:2377"],
  });
  await engine.networks.disconnect("bridge", "box", false);
  expect(adapters(vsphere)).toHaveLength(1);
  await expect(engine.networks.disconnect("bridge", "box", false)).rejects.toThrow(
    "is not connected to network bridge",
  );
  expect(actions).toContain("network connect");
  expect(actions).toContain("network disconnect");
});

test("a stopped container keeps its place on a removed network and cannot start", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  await engine.networks.create({ Name: "blue" });
  await engine.containers.create("box", sleeper(onNetworks("blue")));
  await engine.networks.remove("blue");
  await expect(engine.containers.start("box")).rejects.toThrow(/network [0-9a-f]{64} not found/);
  await engine.networks.disconnect("blue", "box", true);
  await engine.networks.connect("bridge", "box", undefined);
  await engine.containers.start("box");
});

test("prune and filters", async () => {
  const { engine } = await engineOver();
  await engine.networks.create({ Name: "used" });
  await engine.networks.create({ Name: "unused", Labels: { keep: "no" } });
  const { Id } = await engine.containers.create("box", sleeper(onNetworks("used")));
  await engine.containers.start(Id);
  const names = async (values: Record<string, string[]>) =>
    (await engine.networks.list(filters(values))).map(({ Name }) => Name).sort();
  expect(await names({ type: ["custom"] })).toEqual(["unused", "used"]);
  expect(await names({ dangling: ["true"] })).toEqual(["unused"]);
  expect(await names({ dangling: ["false"] })).toEqual(["used"]);
  expect(await names({ label: ["keep=no"] })).toEqual(["unused"]);
  expect(await engine.networks.prune(filters({ "label!": ["keep=no"] }))).toEqual({ NetworksDeleted: [] });
  expect(await engine.networks.prune(filters())).toEqual({ NetworksDeleted: ["unused"] });
});

test("running guests are told the names of their peers", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  await engine.networks.create({ Name: "blue" });
  await engine.containers.start((await engine.containers.create("one", sleeper(onNetworks("blue")))).Id);
  const two = sleeper({
    HostConfig: { NetworkMode: "blue" },
    NetworkingConfig: { EndpointsConfig: { blue: { Aliases: ["Web"] } } },
  });
  await engine.containers.start((await engine.containers.create("two", two)).Id);
  const deadline = performance.now() + 2000;
  const complete = () =>
    vsphere.told.some(({ op, networks }) => op === "setPeers" && JSON.stringify(networks).includes('"two","web"'));
  while (!complete() && performance.now() < deadline) await Bun.sleep(5);
  expect(complete()).toBe(true);
});

test("options of an endpoint are applied or refused", async () => {
  const { engine } = await engineOver();
  await engine.networks.create({ Name: "blue" });
  const create = (given: Record<string, unknown>) =>
    engine.containers.create(
      undefined,
      sleeper({ HostConfig: { NetworkMode: "blue" }, NetworkingConfig: { EndpointsConfig: { blue: given } } }),
    );
  await expect(create({ DriverOpts: { "com.docker.network.endpoint.sysctls": "x" } })).rejects.toThrow("not supported");
  await expect(create({ IPAMConfig: { LinkLocalIPs: ["169.254.1.1"] } })).rejects.toThrow("not supported");
  await expect(create({ Nonsense: 1 })).rejects.toThrow("no effect");
  await expect(create({ IPAMConfig: { IPv4Address: "10.1.2.3" } })).rejects.toThrow("does not belong to any");
  await create({ DriverOpts: { "com.docker.network.endpoint.ifname": "lan0" }, GwPriority: 3 });
  await expect(engine.containers.create("x", sleeper({ HostConfig: { NetworkMode: "host" } }))).rejects.toThrow(
    "network mode host is not supported",
  );
  await expect(
    engine.containers.create("x", sleeper({ NetworkingConfig: { EndpointsConfig: { bridge: { Aliases: ["a"] } } } })),
  ).rejects.toThrow("only supported for user-defined networks");
});
