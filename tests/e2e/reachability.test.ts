/**
 * Who reaches whom: containers on the default bridge, on a network of both families, on an internal one and on two at once,
 * this machine and the world outside; by address and by name, over TCP and UDP, IPv4 and IPv6; before and after
 * endpoint, lab and containers were started again.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { docker, dockerOk, image, inspect, removeContainers, run, uniqueName } from "./docker.ts";
import { kill, restart } from "./killing.ts";

const PERL = image("perl");
const PROGRAM = readFileSync(join(import.meta.dir, "probe.pl"), "utf8");
/** Everybody answers here. */
const PORT = 17070;
/** Where `first` is published, over TCP and UDP. */
const PUBLISHED = 17071;
const OUTSIDE = "vch-e2e-reach";
const OUTSIDE_ADDRESSES = ["10.99.8.2", "fd00:99:8::2"];
const HOST_ADDRESSES = ["10.99.8.1", "fd00:99:8::1"];
/** Seconds: long for what must come, short for what must not. */
const PATIENCE = { reached: 25, closed: 3 };

const dual = uniqueName("dual");
const inside = uniqueName("inside");
const networksOf = { plain: ["bridge"], first: [dual], second: [dual, inside], inner: [inside] };
type Container = keyof typeof networksOf;
const CONTAINERS = Object.keys(networksOf) as Container[];
type Source = Container | "host" | "outside";
/** `published` is `first` by this machine's addresses, `loopback` the same by 127.0.0.1 and ::1, `services` what else listens here. */
type Target = Container | "outside" | "published" | "loopback" | "services";

/** 4 and 6: by its address of the family; n: by its name, in each of the families that it has. Nothing else reaches. */
const MATRIX: Record<Source, Record<Target, string>> = {
  plain: { plain: "4", first: "", second: "", inner: "", outside: "4", published: "4", loopback: "", services: "" },
  first: {
    plain: "",
    first: "46n",
    second: "46n",
    inner: "",
    outside: "46",
    published: "46",
    loopback: "",
    services: "",
  },
  second: {
    plain: "",
    first: "46n",
    second: "46n",
    inner: "46n",
    outside: "46",
    published: "46",
    loopback: "",
    services: "",
  },
  inner: { plain: "", first: "", second: "46n", inner: "46n", outside: "", published: "", loopback: "", services: "" },
  host: {
    plain: "4",
    first: "46",
    second: "46",
    inner: "46",
    outside: "46",
    published: "46",
    loopback: "46",
    services: "46",
  },
  outside: {
    plain: "",
    first: "",
    second: "",
    inner: "",
    outside: "46",
    published: "46",
    loopback: "",
    services: "46",
  },
};

interface Place {
  network: string;
  addresses: string[];
}
const names = Object.fromEntries(CONTAINERS.map((key) => [key, uniqueName(key)])) as Record<Container, string>;
let places: Record<Container, Place[]>;
const servers: Bun.Subprocess[] = [];

async function placesOf(container: Container): Promise<Place[]> {
  type Settings = Record<string, { IPAddress: string; GlobalIPv6Address: string }>;
  const networks = await inspect<Settings>(names[container], ".NetworkSettings.Networks");
  return Object.entries(networks).map(([network, { IPAddress, GlobalIPv6Address }]) => ({
    network,
    addresses: [IPAddress, GlobalIPv6Address].filter((address) => address !== ""),
  }));
}

/** Where a source tries to reach a target: on the networks that they share, or else on all of the target's. */
function addressesOf(target: Target, source: Source): string[] {
  if (target === "outside") return OUTSIDE_ADDRESSES;
  if (target === "published") return HOST_ADDRESSES;
  if (target === "loopback") return source === "host" ? ["127.0.0.1", "::1"] : [];
  if (target === "services") return HOST_ADDRESSES;
  const own: readonly string[] = source in networksOf ? networksOf[source as Container] : [];
  const shared = places[target].filter(({ network }) => own.includes(network));
  return (shared.length > 0 ? shared : places[target]).flatMap(({ addresses }) => addresses);
}

const familyOf = (address: string): "4" | "6" => (address.includes(":") ? "6" : "4");
const isContainer = (place: string): place is Container => place in networksOf;

interface Probe {
  /** Without spaces. */
  id: string;
  kind: string;
  host: string;
  port: number;
  /** Who answers, or nobody. */
  answers: string | undefined;
}

function probesFrom(source: Source): Probe[] {
  return (Object.entries(MATRIX[source]) as [Target, string][]).flatMap(([target, reached]) => {
    const isPublished = target === "published" || target === "loopback";
    const who = isPublished ? "first" : target === "services" ? "host" : target;
    const ways = addressesOf(target, source).map((host) => ({
      host,
      family: familyOf(host),
      open: reached.includes(familyOf(host)),
    }));
    // This machine's kernel need not have SCTP itself to pass it on.
    const protocols = target === "published" && isContainer(source) ? ["tcp", "udp", "sctp"] : ["tcp", "udp"];
    const called = isContainer(source) && isContainer(target) ? (["4", "6"] as const) : [];
    for (const family of called) ways.push({ host: names[target as Container], family, open: reached.includes("n") });
    return ways.flatMap(({ host, family, open }) =>
      protocols.map((protocol) => ({
        id: `${source}->${target}/${host}/${protocol}${family}`,
        kind: `${protocol}${family}`,
        host,
        port: isPublished ? PUBLISHED : PORT,
        answers: open ? who : undefined,
      })),
    );
  });
}

/** All probes of one source at once; who answered each, with the address that it saw. */
async function ask(source: Source, probes: readonly Probe[]): Promise<Map<string, { who: string; saw: string }>> {
  const words = probes.map(
    ({ id, kind, host, port, answers }) =>
      `${id} ${kind} ${host} ${port} ${answers === undefined ? PATIENCE.closed : PATIENCE.reached}`,
  );
  const command = ["perl", "-", "ask", ...words];
  const place = source === "host" ? [] : ["ip", "netns", "exec", OUTSIDE];
  const result = isContainer(source)
    ? await docker(["exec", "-i", names[source], ...command], { input: PROGRAM })
    : await run([...place, ...command], { input: PROGRAM });
  expect(result, source).toMatchObject({ code: 0, stderr: "" });
  return new Map(
    result.stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [id = "", who = "", , saw = ""] = line.split(" ");
        return [id, { who, saw }];
      }),
  );
}

async function expectMatrix(sources: readonly Source[]): Promise<void> {
  const differences = await Promise.all(
    sources.map(async (source) => {
      const probes = probesFrom(source);
      const found = await ask(source, probes);
      return probes.flatMap(({ id, answers }) => {
        const who = found.get(id)?.who;
        return who === answers ? [] : [`${id}: ${who ?? "nobody"} answered instead of ${answers ?? "nobody"}`];
      });
    }),
  );
  expect(differences.flat()).toEqual([]);
}

const everywhere = Object.keys(MATRIX) as Source[];

beforeAll(async () => {
  const outside = `set -e
    ip netns add ${OUTSIDE}
    ip link add vche2r0 type veth peer name eth0 netns ${OUTSIDE}
    ip addr add ${HOST_ADDRESSES[0]}/24 dev vche2r0; ip addr add ${HOST_ADDRESSES[1]}/64 dev vche2r0 nodad; ip link set vche2r0 up
    ip -n ${OUTSIDE} addr add ${OUTSIDE_ADDRESSES[0]}/24 dev eth0; ip -n ${OUTSIDE} addr add ${OUTSIDE_ADDRESSES[1]}/64 dev eth0 nodad
    ip -n ${OUTSIDE} link set eth0 up; ip -n ${OUTSIDE} link set lo up
    ip -n ${OUTSIDE} route add default via ${HOST_ADDRESSES[0]}; ip -n ${OUTSIDE} route add default via ${HOST_ADDRESSES[1]}`;
  expect(await run(["sh", "-c", outside])).toMatchObject({ code: 0 });
  for (const [name, place] of [
    ["host", []],
    ["outside", ["ip", "netns", "exec", OUTSIDE]],
  ] as const)
    servers.push(
      Bun.spawn([...place, "perl", join(import.meta.dir, "probe.pl"), "serve", name, String(PORT)], {
        stdout: "ignore",
      }),
    );
  await dockerOk("pull", "-q", PERL);
  await dockerOk("network", "create", "--ipv6", "--subnet", "10.93.0.0/24", "--subnet", "fd00:93::/64", dual);
  // The IPv6 subnet is the endpoint's choice.
  await dockerOk("network", "create", "--ipv6", "--internal", inside);
  await Promise.all(
    CONTAINERS.map(async (container) => {
      const options = networksOf[container].flatMap((network) => ["--network", network]);
      if (container === "first")
        for (const protocol of ["tcp", "udp", "sctp"]) options.push("-p", `${PUBLISHED}:${PORT}/${protocol}`);
      const serve = ["perl", "-e", PROGRAM, "serve", container, String(PORT)];
      await dockerOk("run", "-d", "--name", names[container], ...options, PERL, ...serve);
    }),
  );
  places = Object.fromEntries(
    await Promise.all(CONTAINERS.map(async (container) => [container, await placesOf(container)])),
  ) as typeof places;
});

afterAll(async () => {
  await restart();
  await removeContainers(...Object.values(names));
  await docker(["network", "rm", dual, inside]);
  // They end what they have started.
  for (const server of servers) server.kill("SIGTERM");
  await Promise.all(servers.map((server) => server.exited));
  await run(["ip", "netns", "del", OUTSIDE]);
  const rules = (await run(["nft", "list", "ruleset"])).stdout;
  expect(rules).not.toContain("10.93.0");
  expect(rules).not.toContain("fd00:93:");
});

test("inspect shows both families, and published ports on both", async () => {
  const [network] = JSON.parse(await dockerOk("network", "inspect", dual)) as {
    EnableIPv6: boolean;
    IPAM: { Config: object[] };
    Containers: Record<string, { Name: string; IPv6Address: string }>;
  }[];
  expect(network?.EnableIPv6).toBe(true);
  expect(network?.IPAM.Config).toEqual([
    { Subnet: "10.93.0.0/24", Gateway: "10.93.0.1" },
    { Subnet: "fd00:93::/64", Gateway: "fd00:93::1" },
  ]);
  const [, address] = places.first[0]?.addresses ?? [];
  expect(Object.values(network?.Containers ?? {})).toContainEqual(
    expect.objectContaining({ Name: names.first, IPv6Address: `${address}/64` }),
  );
  const [, chosen] = JSON.parse(await dockerOk("network", "inspect", "-f", "{{json .IPAM.Config}}", inside)) as {
    Subnet: string;
  }[];
  expect(chosen?.Subnet).toMatch(/^fd[0-9a-f]{2}:.*\/64$/);
  expect((await dockerOk("port", names.first, String(PORT))).split("\n").toSorted()).toEqual([
    `0.0.0.0:${PUBLISHED}`,
    `[::]:${PUBLISHED}`,
  ]);
});

test("in the guest: both addresses, both default routes, hosts, reverse look-up; no IPv6 where the network has none", async () => {
  const [, address = ""] = places.first[0]?.addresses ?? [];
  const look = `ip -6 addr show dev eth0; ip -6 route; cat /etc/hosts; nslookup ${address}; cat /proc/sys/net/ipv6/conf/eth0/accept_ra`;
  const output = await dockerOk("exec", names.second, "sh", "-c", look);
  const own = places.second.find(({ network }) => network === dual)?.addresses[1] ?? "";
  expect(output).toContain(`${own}/64`);
  expect(output).not.toContain("tentative");
  expect(output).toMatch(/default via fd00:93::1 dev eth0/);
  expect(output).toMatch(new RegExp(`^${own}\t[0-9a-f]{12}$`, "m"));
  expect(output).toContain(`${names.first}.${dual}`);
  expect(output).toMatch(/^0$/m);
  const plain = await dockerOk("exec", names.plain, "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
  expect(plain).toBe("1");
});

test("everybody reaches whom they should and nobody else", () => expectMatrix(everywhere));

test("a published port keeps the source address of those outside", async () => {
  const probes = probesFrom("outside").filter(({ id }) => id.includes("->published"));
  const found = await ask("outside", probes);
  expect([...found.values()].map(({ saw }) => saw).toSorted()).toEqual(
    [...OUTSIDE_ADDRESSES, ...OUTSIDE_ADDRESSES].toSorted(),
  );
});

test("published ports go on while the endpoint is away, and the matrix holds when it is back", async () => {
  await kill("serve");
  await expectMatrix(["outside"]);
  await restart();
  await expectMatrix(everywhere);
});

test("the matrix holds after a restart of the lab", async () => {
  await kill("lab");
  await restart();
  await expectMatrix(everywhere);
});

test("the matrix holds after a restart of containers, which keep their addresses", async () => {
  await Promise.all([dockerOk("restart", names.first), dockerOk("restart", names.inner)]);
  expect([await placesOf("first"), await placesOf("inner")]).toEqual([places.first, places.inner]);
  await expectMatrix(everywhere);
});
