import { afterEach, expect, test } from "bun:test";
import { decodeConfiguration } from "../../link/guest-configuration-codec.ts";
import type { ContainerConfiguration } from "../../link/guest-configuration.ts";
import type { ContainerCreateBody, Filters } from "../contract.ts";
import { type Fixture, openEngine } from "../testing/engine-fixture.ts";
import { FakeVSphere } from "../testing/fake-vsphere.ts";
import type { ContainerNetworkOptions } from "./container-networks.ts";

const open: Fixture[] = [];
afterEach(async () => {
  for (const fixture of open.splice(0)) await fixture.close();
});

const NETWORKS: ContainerNetworkOptions[] = [
  {
    name: "lan",
    portGroup: "VM Network",
    trust: "published",
    addresses: { gateway: "10.88.1.1", prefixLength: 24, ranges: [{ first: "10.88.1.10", last: "10.88.1.11" }] },
    nameServers: ["10.88.1.2"],
  },
  { name: "leased", portGroup: "DHCP", trust: "peers", nameServers: [] },
  {
    name: "silent",
    portGroup: "Silent",
    trust: "closed",
    addresses: { gateway: "10.88.2.1", prefixLength: 24, ranges: [{ first: "10.88.2.10", last: "10.88.2.19" }] },
    nameServers: [],
  },
];

async function engineOver(vsphere = new FakeVSphere(), containerNetworks = NETWORKS): Promise<Fixture> {
  for (const { portGroup } of containerNetworks) vsphere.portGroups.add(portGroup);
  const fixture = await openEngine(vsphere, { containerNetworks });
  open.push(fixture);
  return fixture;
}

const filters = (values: Record<string, string[]> = {}): Filters => new Map(Object.entries(values));
const on = (networks: Record<string, object>, more: Record<string, unknown> = {}): ContainerCreateBody =>
  ({
    Image: "busybox",
    Cmd: ["sleep", "1000"],
    HostConfig: { NetworkMode: Object.keys(networks)[0], ...more },
    NetworkingConfig: { EndpointsConfig: networks },
  }) as unknown as ContainerCreateBody;

/** What the guest of the only VM is told. */
async function guest(vsphere: FakeVSphere): Promise<ContainerConfiguration> {
  const [machine] = [...vsphere.machines.values()];
  return (await decodeConfiguration((key) => machine?.record.extraConfig.get(key))) as ContainerConfiguration;
}

test("they are there after each start with the same ids, and cannot be removed or pruned", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  const listed = await engine.networks.list(filters({ driver: ["external"] }));
  expect(listed.map(({ Name }) => Name)).toEqual(["lan", "leased", "silent"]);
  const lan = await engine.networks.inspect("lan", { verbose: false });
  expect(lan).toMatchObject({
    Driver: "external",
    IPAM: { Driver: "default", Config: [{ Subnet: "10.88.1.0/24", Gateway: "10.88.1.1" }] },
    Options: {
      "vch.network.portgroup": "VM Network",
      "vch.network.firewall": "published",
      "vch.network.ip-range": "10.88.1.10-10.88.1.11",
      "vch.network.dns": "10.88.1.2",
    },
  });
  expect(await engine.networks.inspect("leased", { verbose: false })).toMatchObject({
    IPAM: { Driver: "dhcp", Config: [] },
  });
  await expect(engine.networks.remove("lan")).rejects.toThrow("vch up --container-network");
  await expect(engine.networks.create({ Name: "lan" })).rejects.toThrow("already exists");
  expect(await engine.networks.prune(filters())).toEqual({ NetworksDeleted: [] });
  const { engine: next } = await engineOver(vsphere);
  expect(await next.networks.inspect(lan.Id ?? "", { verbose: false })).toEqual(lan);
});

test("static addresses come from the ranges, are kept over a restart, and come back", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  const { Id } = await engine.containers.create("one", on({ lan: {} }));
  await expect(
    engine.containers.create("two", on({ lan: { IPAMConfig: { IPv4Address: "10.88.1.10" } } })),
  ).rejects.toThrow("Address already in use");
  await expect(
    engine.containers.create("two", on({ lan: { IPAMConfig: { IPv4Address: "10.88.1.99" } } })),
  ).rejects.toThrow("none of this network's ranges (10.88.1.10-10.88.1.11)");
  const { engine: next } = await engineOver(vsphere);
  await next.containers.create("two", on({ lan: {} }));
  await expect(next.containers.create("three", on({ lan: {} }))).rejects.toThrow("no available IPv4 addresses");
  await next.containers.remove(Id, { force: true, volumes: false, link: false });
  await next.containers.create("three", on({ lan: { IPAMConfig: { IPv4Address: "10.88.1.10" } } }));
});

test("the guest is told its address, its firewall and its name servers; the control link has an adapter of its own", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  const ports = {
    PortBindings: { "80/tcp": [{ HostPort: "" }], "81/tcp": [{ HostPort: "8081" }] },
  };
  const { Id } = await engine.containers.create("web", on({ lan: {} }, ports));
  const [machine] = [...vsphere.machines.values()];
  expect(machine?.record.networkAdapters.map(({ network }) => network)).toEqual(["bridge", "VM Network"]);
  const { network, link } = await guest(vsphere);
  expect(network.interfaces).toEqual([
    expect.objectContaining({
      name: "vch0",
      hidden: true,
      firewall: { trust: "control", endpoint: { address: "172.30.0.1", port: 2377 } },
    }),
    expect.objectContaining({
      name: "eth0",
      addresses: [{ address: "10.88.1.10", prefixLength: 24 }],
      gateway: "10.88.1.1",
      firewall: {
        trust: "published",
        ports: [
          { protocol: "tcp", port: 80, target: 80 },
          { protocol: "tcp", port: 8081, target: 81 },
        ],
        peers: [{ first: "10.88.1.10", last: "10.88.1.11" }],
      },
    }),
  ]);
  expect(network.resolver?.upstreams).toEqual(["10.88.1.2"]);
  expect(link.endpoints).toEqual(["172.30.0.1:2377"]);
  await engine.containers.start(Id);
  const { NetworkSettings } = await engine.containers.inspect(Id, { size: false });
  expect(NetworkSettings?.Ports).toEqual({
    "80/tcp": [{ HostIp: "10.88.1.10", HostPort: "80" }],
    "81/tcp": [{ HostIp: "10.88.1.10", HostPort: "8081" }],
  });
});

test("an address by DHCP is the guest's, and what it reports is shown and told to peers", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  const { Id } = await engine.containers.create("aa", on({ leased: { MacAddress: "00:50:56:00:00:42" } }));
  expect((await guest(vsphere)).network.interfaces[1]).toMatchObject({
    addresses: [],
    dhcp: { defaultRoute: true },
    firewall: { trust: "peers", peers: [] },
  });
  await engine.containers.start(Id);
  const { NetworkSettings } = await engine.containers.inspect(Id, { size: false });
  expect(NetworkSettings?.Networks?.leased).toMatchObject({
    IPAddress: "10.88.9.66",
    IPPrefixLen: 24,
    Gateway: "10.88.9.1",
  });
  const network = await engine.networks.inspect("leased", { verbose: false });
  expect(network.Containers?.[Id]).toMatchObject({ IPv4Address: "10.88.9.66/24" });
  await expect(
    engine.containers.create("bb", on({ leased: { IPAMConfig: { IPv4Address: "10.88.9.5" } } })),
  ).rejects.toThrow("by DHCP");
  // An endpoint that starts anew learns it from the guest's report.
  const { engine: next } = await engineOver(vsphere);
  const again = await next.containers.inspect(Id, { size: false });
  expect(again.NetworkSettings?.Networks?.leased).toMatchObject({ IPAddress: "10.88.9.66" });
});

test("ports are refused where they could not be reached", async () => {
  const { engine } = await engineOver();
  const publish = (network: string, binding: object) =>
    engine.containers.create(undefined, on({ [network]: {} }, { PortBindings: { "80/tcp": [binding] } }));
  await expect(publish("silent", {})).rejects.toThrow("lets nobody in (its firewall is closed)");
  await expect(publish("leased", {})).rejects.toThrow("has no effect");
  await expect(publish("lan", { HostIp: "127.0.0.1", HostPort: "80" })).rejects.toThrow("has an address of its own");
  await publish("leased", { HostPort: "8080" });
});

test("beside a bridge network the container network has the default route, and the control link the bridge", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  await engine.containers.create("both", on({ bridge: {}, silent: {} }));
  const { network } = await guest(vsphere);
  expect(network.interfaces.map(({ name, gateway, hidden }) => [name, gateway, hidden])).toEqual([
    ["eth0", undefined, undefined],
    ["eth1", "10.88.2.1", undefined],
  ]);
});

test("a container starts no more when the administrator has taken its network away", async () => {
  const vsphere = new FakeVSphere();
  const { engine } = await engineOver(vsphere);
  const { Id } = await engine.containers.create("lost", on({ lan: {} }));
  const { engine: next } = await engineOver(vsphere, []);
  await expect(next.containers.start(Id)).rejects.toThrow("failed to set up container networking");
});
