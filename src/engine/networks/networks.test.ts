import { afterEach, expect, test } from "bun:test";
import type { ContainerCreateBody, Filters } from "../contract.ts";
import { type Fixture, openEngine } from "../testing/engine-fixture.ts";
import { FakeVSphere } from "../testing/fake-vsphere.ts";
import { defaultNetworks } from "./default-networks.ts";

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
  ).rejects.toThrow("parent subnet 10.81.0.0/24 doesn't contain this address");
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

test("what a failed create or remove left behind goes before the next network comes", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  const away = (from: string): void => {
    vsphere.before = (step) => {
      if (step === from) away("");
      if (from === "") throw new Error("gone");
    };
  };
  away("addPortGroup");
  await expect(engine.networks.create({ Name: "blue" })).rejects.toThrow("gone");
  vsphere.before = () => undefined;
  await engine.networks.create({ Name: "blue" });
  away("removePortGroup");
  await expect(engine.networks.remove("blue")).rejects.toThrow("gone");
  vsphere.before = () => undefined;
  expect((await engine.networks.list(filters())).map(({ Name }) => Name)).toEqual(["bridge", "none", "host"]);
  const { Id } = await engine.networks.create({ Name: "blue" });
  expect([...vsphere.portGroups]).toEqual(["bridge", `test-blue-${Id.slice(0, 12)}`]);
  expect([...vsphere.content.keys()].filter((path) => path.includes("/networks/"))).toHaveLength(1);
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

const ipam = (...Config: Record<string, unknown>[]) => ({ IPAM: { Driver: "default", Config } }) as object;

test("a network with IPv6 gives both addresses, names both, and has another default route", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  const blocks = [
    { Subnet: "10.84.0.0/24" },
    {
      Subnet: "fd00:84::/64",
      Gateway: "fd00:84::ff",
      IPRange: "fd00:84::100/120",
      AuxiliaryAddresses: { r: "fd00:84::100" },
    },
  ];
  await engine.networks.create({ Name: "dual", EnableIPv6: true, ...ipam(...blocks) });
  const network = await engine.networks.inspect("dual", { verbose: false });
  expect(network).toMatchObject({ EnableIPv4: true, EnableIPv6: true });
  expect(network.IPAM?.Config).toEqual([{ Subnet: "10.84.0.0/24", Gateway: "10.84.0.1" }, blocks[1] ?? {}]);
  const { Id } = await engine.containers.create("box", sleeper(onNetworks("dual")));
  await engine.containers.start(Id);
  const { NetworkSettings } = await engine.containers.inspect("box", { size: false });
  expect(NetworkSettings?.Networks?.dual).toMatchObject({
    GlobalIPv6Address: "fd00:84::101",
    GlobalIPv6PrefixLen: 64,
    IPv6Gateway: "fd00:84::ff",
  });
  const { Containers = {} } = await engine.networks.inspect("dual", { verbose: false });
  expect(Containers?.[Id]).toMatchObject({ IPv6Address: "fd00:84::101/64" });
  await engine.networks.create({ Name: "plain" });
  await engine.networks.connect("plain", "box", { GwPriority: 9 });
  const told = vsphere.told.filter(({ op }) => op === "configureNetwork").at(-1) as unknown as {
    network: { interfaces: { gateway?: string; gateway6?: string; addresses: { address: string }[] }[] };
  };
  const [first, second] = told.network.interfaces;
  expect(first?.addresses.map(({ address }) => address)).toContain("fd00:84::101");
  expect([first?.gateway, first?.gateway6]).toEqual([undefined, "fd00:84::ff"]);
  expect([second?.gateway6, second?.addresses.length]).toEqual([undefined, 1]);
});

test("IPv6 addresses are chosen, kept and refused as IPv4's are", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  await engine.networks.create({ Name: "chosen", EnableIPv6: true });
  const [, block] = (await engine.networks.inspect("chosen", { verbose: false })).IPAM?.Config ?? [];
  expect(block?.Subnet).toMatch(/^fd[0-9a-f]{2}:.*\/64$/);
  await engine.networks.create({ Name: "dual", EnableIPv6: true, ...ipam({ Subnet: "fd00:85::/64" }) });
  await engine.networks.create({ Name: "plain" });
  const create = (network: string, IPv6Address: string) =>
    engine.containers.create(
      undefined,
      sleeper({
        HostConfig: { NetworkMode: network },
        NetworkingConfig: { EndpointsConfig: { [network]: { IPAMConfig: { IPv6Address } } } },
      }),
    );
  await create("dual", "fd00:85:0::9");
  // Stopped containers keep theirs, also for another engine.
  const { engine: next } = await engineOver(vsphere);
  await expect(create("dual", "fd00:85::9")).rejects.toThrow("Address already in use");
  await expect(create("dual", "fd00:86::9")).rejects.toThrow("does not belong to any of this network's subnets");
  await expect(create("dual", "10.1.1.1")).rejects.toThrow("invalid IPv6 address");
  await expect(create("plain", "fd00:85::10")).rejects.toThrow("has no IPv6");
  expect((await next.networks.inspect("dual", { verbose: false })).EnableIPv6).toBe(true);
});

test("blocks of addresses are refused as Docker refuses them", async () => {
  const { engine } = await engineOver();
  const refused = async (more: object, text: string): Promise<void> =>
    expect(engine.networks.create({ Name: "n", EnableIPv6: true, ...more })).rejects.toThrow(text);
  await refused(ipam({ Subnet: "fd00:1::/64" }, { Subnet: "fd00:2::/64" }), "doesn't support multiple subnets");
  await refused({ EnableIPv6: false, ...ipam({ Subnet: "fd00:1::/64" }) }, "Add --ipv6");
  await refused({ EnableIPv4: false }, "without IPv4 is not supported");
  await refused(ipam({ Subnet: "fd00:1::1/64" }), "invalid subnet fd00:1::1/64: it should be fd00:1::/64");
  await refused(ipam({ Subnet: "nonsense" }), "invalid subnet nonsense: invalid CIDR block notation");
  await refused(ipam({ Subnet: "fd00:1::/64", Gateway: "10.0.0.1" }), "parent subnet is an IPv6 block");
  await refused(ipam({ Subnet: "fd00:1::/64", Gateway: "fd00:1::" }), "it is the network's address");
  await refused(
    ipam({ Subnet: "10.85.0.0/24", IPRange: "10.85.0.0/16", AuxiliaryAddresses: { a: "10.86.0.1" } }),
    "invalid ip-range 10.85.0.0/16: CIDR block is bigger than its parent subnet 10.85.0.0/24\ninvalid auxiliary address 10.86.0.1: parent subnet 10.85.0.0/24 doesn't contain this address",
  );
  await refused(ipam({ Subnet: "10.85.0.0/24", IPRange: "10.87.0.0/25" }), "doesn't contain ip-range");
  await refused(ipam({ Gateway: "10.85.0.1" }), "subnet is required");
  await refused({ Options: { "com.docker.network.driver.mtu": "1000" } }, "too small for IPv6");
  await engine.networks.create({ Name: "one", EnableIPv6: true, ...ipam({ Subnet: "fd00:1::/64" }) });
  await refused(ipam({ Subnet: "fd00:1::/80" }), "Pool overlaps with other one");
});

test("the default bridge has IPv6 when it was given some", () => {
  const bridge = { network: "bridge", subnet: "10.9.0.0/16", gateway: "10.9.0.1" };
  expect(defaultNetworks("v", bridge, "").bridge.ipv6).toBeUndefined();
  const ipv6 = { subnet: "fd00:9::/64", gateway: "fd00:9::1" };
  expect(defaultNetworks("v", { ...bridge, ipv6 }, "").bridge.ipv6).toEqual({ ...ipv6, auxiliary: {} });
});
