/**
 * Container networks: containers with addresses of their own on port groups of the administrator. A namespace outside plays
 * the network's other machines, and dnsmasq its DHCP server.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, inspect, removeContainers, run, STATE, uniqueName } from "./docker.ts";
import { kill, restart } from "./killing.ts";
import { closeOutside, type DhcpServer, openOutside, outside, reach, startDhcpServer } from "./port-group.ts";

/** Networks of with-environment, in the order of their subnets 10.88.N.0/24. */
const LEVELS = ["closed", "outbound", "peers", "published", "open"] as const;
const web = uniqueName("web");
const leased = uniqueName("leased");
/** Neither a peer nor anybody else that is known. */
const stranger = (subnet: number): string => `10.88.${subnet}.200`;
/** In the range that is given out. */
const peer = (subnet: number): string => `10.88.${subnet}.29`;
const address = (subnet: number): string => `10.88.${subnet}.20`;
const LEASED = /^10\.88\.9\.(5\d|60)$/;
const MAC = "00:50:56:0c:0d:0e";

let server: DhcpServer;

const leasedAddress = (name: string): Promise<string> =>
  inspect<string>(name, '(index .NetworkSettings.Networks "cn-dhcp").IPAddress');

/** What the guests tell arrives a little later than what a command answers. */
async function eventually(look: () => Promise<unknown>, wanted: unknown): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const seen = await look();
    try {
      expect(seen).toEqual(wanted);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await Bun.sleep(300);
    }
  }
}

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await openOutside({
    ...Object.fromEntries(
      LEVELS.map((level, index) => [`cn-${level}`, [`${stranger(index + 1)}/24`, `${peer(index + 1)}/24`]]),
    ),
    "cn-dhcp": ["10.88.9.1/24"],
  });
  server = await startDhcpServer(join(tmpdir(), `vch-e2e-dhcp-${process.pid}`), LEVELS.length, [
    "--dhcp-range=10.88.9.50,10.88.9.60,2m",
    "--dhcp-option=option:T1,5",
    "--domain=lab.example",
    "--address=/outside.lab.example/10.88.9.1",
  ]);
  const networks = LEVELS.map((level, index) => `name=cn-${level},ip=${address(index + 1)}`);
  const serving =
    "mkdir /www; echo served >/www/index.html; httpd -p 80 -h /www; httpd -p 81 -h /www; exec sleep 100000";
  const ports = ["-p", "80", "-p", "8081:81", "-p", "5353/udp"];
  const started = networks.flatMap((network) => ["--network", network]);
  await Promise.all([
    dockerOk("run", "-d", "--name", web, ...started, ...ports, BUSYBOX, "sh", "-c", serving),
    dockerOk("run", "-d", "--name", leased, "--network", "cn-dhcp", "--mac-address", MAC, BUSYBOX, "sleep", "100000"),
  ]);
});

afterAll(async () => {
  await removeContainers(web, leased);
  await server?.close();
  await closeOutside();
});

test("they are in docker's list, and docker neither makes nor removes them", async () => {
  const listed = await dockerOk("network", "ls", "--filter", "driver=external", "--format", "{{.Name}} {{.Driver}}");
  expect(listed.split("\n").toSorted()).toEqual(["dhcp", ...LEVELS].toSorted().map((name) => `cn-${name} external`));
  const [network] = JSON.parse(await dockerOk("network", "inspect", "cn-published"));
  expect(network.IPAM).toMatchObject({ Driver: "default", Config: [{ Subnet: "10.88.4.0/24", Gateway: "10.88.4.1" }] });
  expect(network.Options).toEqual({
    "vch.network.firewall": "published",
    "vch.network.ip-range": "10.88.4.10-10.88.4.29",
    "vch.network.portgroup": "cn-published",
  });
  expect(Object.values(network.Containers)).toContainEqual(
    expect.objectContaining({ Name: web, IPv4Address: "10.88.4.20/24" }),
  );
  expect((await docker(["network", "rm", "cn-open"])).stderr).toContain("is a container network");
  expect((await docker(["network", "create", "-d", "external", uniqueName("x")])).stderr).toContain("administrator");
});

test("what a container is not let have is refused with the reason", async () => {
  const refused = async (reason: string, ...options: string[]): Promise<void> =>
    expect((await docker(["create", ...options, BUSYBOX])).stderr).toContain(reason);
  await refused("Address already in use", "--network", `name=cn-open,ip=${address(5)}`);
  await refused("none of this network's ranges (10.88.5.10-10.88.5.29)", "--network", "name=cn-open,ip=10.88.5.99");
  await refused("gives addresses by DHCP", "--network", "name=cn-dhcp,ip=10.88.9.55");
  await refused("lets nobody in", "--network", "cn-outbound", "-p", "80");
  await refused("has no effect", "--network", "cn-peers", "-p", "80");
  await refused("has an address of its own", "--network", "cn-open", "-p", "127.0.0.1:80:80");
});

test("who reaches a container, by trust level, from strangers and peers", async () => {
  const probes = (subnet: number): string[] => [
    `tcp:${address(subnet)}:80`,
    `tcp:${address(subnet)}:81`,
    `tcp:${address(subnet)}:8081`,
    `udp:${address(subnet)}:5353`,
    `udp:${address(subnet)}:5454`,
    `ping:${address(subnet)}:0`,
  ];
  const answers = async (source: string, subnet: number): Promise<string> =>
    Object.values(await reach(source, ...probes(subnet))).join(" ");
  const shut = "silent silent silent silent silent silent";
  const all = "open open open refused refused open";
  const published = "open silent open refused silent open";
  const seen = await Promise.all(
    LEVELS.map(async (level, index) => [
      level,
      await answers(stranger(index + 1), index + 1),
      await answers(peer(index + 1), index + 1),
    ]),
  );
  expect(seen).toEqual([
    ["closed", shut, shut],
    ["outbound", shut, shut],
    ["peers", shut, all],
    ["published", published, published],
    ["open", all, all],
  ]);
});

test("whom a container reaches, by trust level", async () => {
  const command = ["ip", "netns", "exec", "vche2e-outside", "python3", "-m", "http.server", "7000"];
  const pages = Bun.spawn(command, { cwd: import.meta.dir, stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  try {
    const own = `tcp:${stranger(5)}:7000`;
    await eventually(async () => (await reach(stranger(5), own))[own], "open");
    const asked = LEVELS.map(
      (level, index) =>
        `(timeout 8 wget -q -O /dev/null http://${stranger(index + 1)}:7000/reach.py && echo ${level} yes || echo ${level} no) &`,
    );
    const output = await dockerOk("exec", web, "sh", "-c", `${asked.join(" ")} wait`);
    const expected = ["closed no", "open yes", "outbound yes", "peers yes", "published yes"];
    expect(output.split("\n").toSorted()).toEqual(expected);
  } finally {
    pages.kill();
    await pages.exited;
  }
});

test("published ports are on the container's own address, and none of this machine's is used", async () => {
  const ports = await inspect<Record<string, { HostIp: string; HostPort: string }[]>>(web, ".NetworkSettings.Ports");
  expect(ports["80/tcp"]).toContainEqual({ HostIp: address(4), HostPort: "80" });
  expect(ports["81/tcp"]).toContainEqual({ HostIp: address(4), HostPort: "8081" });
  expect((await run(["nft", "list", "ruleset"])).stdout).not.toContain("10.88.4");
});

test("the control link is no way from a container network to the bridge network", async () => {
  const [bridge] = JSON.parse(await dockerOk("network", "inspect", "bridge"));
  const gateway = bridge.IPAM.Config[0].Gateway as string;
  const asked = [
    `ping -c 1 -W 3 ${gateway} >/dev/null && echo ping`,
    `nslookup x ${gateway} | grep -q NX && echo names`,
  ];
  expect(await dockerOk("exec", web, "sh", "-c", `${asked.join("; ")}; true`)).toBe("");
});

test("DHCP: an address, a route, name servers and a domain out of the lease, which is renewed", async () => {
  expect(await inspect<string>(leased, ".NetworkSettings.Networks")).toMatchObject({
    "cn-dhcp": {
      IPAddress: expect.stringMatching(LEASED),
      IPPrefixLen: 24,
      Gateway: "10.88.9.1",
      MacAddress: MAC,
    },
  });
  const output = await dockerOk(
    "exec",
    leased,
    "sh",
    "-c",
    "ip route; cat /etc/resolv.conf /etc/hosts; nslookup outside.lab.example; ping -c 1 -W 5 10.88.9.1",
  );
  expect(output).toContain("default via 10.88.9.1");
  expect(output).toContain("search lab.example");
  expect(output).toMatch(/Address.*\b10\.88\.9\.1\b/);
  expect(output).toMatch(/10\.88\.9\.\d+\t[0-9a-f]{12}/);
  expect(output).toContain("1 packets received");
  const [network] = JSON.parse(await dockerOk("network", "inspect", "cn-dhcp"));
  expect(network.IPAM.Driver).toBe("dhcp");
  expect(Object.values(network.Containers)).toContainEqual(
    expect.objectContaining({ IPv4Address: expect.stringMatching(/^10\.88\.9\.\d+\/24$/) }),
  );
  // The first for the address, the second to keep it: unicast, which the server tells by the request's lack of an address.
  const asked = new RegExp(
    `DHCPACK\\(\\S+\\) 10\\.88\\.9\\.\\d+ ${MAC}[^]*DHCPACK\\(\\S+\\) 10\\.88\\.9\\.\\d+ ${MAC}`,
  );
  await server.logs(asked);
});

test("connect to a running container: a lease of its own, and names both ways", async () => {
  await dockerOk("network", "connect", "--alias", "late", "cn-dhcp", web);
  await eventually(() => leasedAddress(web), expect.stringMatching(LEASED));
  const ping = async (from: string, to: string) =>
    (await docker(["exec", from, "ping", "-c", "1", "-W", "5", to])).code;
  await eventually(() => ping(leased, "late"), 0);
  await eventually(() => ping(web, leased), 0);
});

test("containers are reached, and peers found by name, while the endpoint is away", async () => {
  const before = await leasedAddress(leased);
  const looking = "while :; do ping -c 1 -W 2 late >/dev/null && date +%s >>/found; sleep 1; done";
  await dockerOk("exec", "-d", leased, "sh", "-c", looking);
  await kill("serve");
  const gone = Date.now();
  const target = `tcp:${address(4)}:80`;
  expect(await reach(stranger(4), target)).toEqual({ [target]: "open" });
  expect((await outside("ping", "-c", "1", "-W", "5", before)).code).toBe(0);
  expect((await run(["dist/vch", "status", "--state", STATE])).code).not.toBe(0);
  // Long enough to tell the names that were found meanwhile from those before, by a clock that may be a second off.
  await Bun.sleep(Math.max(0, gone + 9000 - Date.now()));
  const back = Date.now();
  await restart();
  expect(await leasedAddress(leased)).toBe(before);
  const found = (await dockerOk("exec", leased, "cat", "/found")).split("\n").map(Number);
  expect(found.filter((time) => time * 1000 > gone + 2000 && time * 1000 < back - 2000)).not.toBeEmpty();
  const [network] = JSON.parse(await dockerOk("network", "inspect", "cn-published"));
  expect(Object.keys(network.Containers)).toHaveLength(1);
});

test("disconnect gives the address back; stop does, and start asks for the same again", async () => {
  const address = await leasedAddress(leased);
  const from = server.log().length;
  await dockerOk("network", "disconnect", "cn-dhcp", web);
  await server.logs(/DHCPRELEASE/, from);
  await eventually(() => dockerOk("exec", web, "ls", "/sys/class/net"), expect.not.stringContaining("eth5"));
  const stopped = server.log().length;
  await dockerOk("stop", "-t", "1", leased);
  await server.logs(new RegExp(`DHCPRELEASE\\(\\S+\\) ${address.replaceAll(".", "\\.")}`), stopped);
  expect(await leasedAddress(leased)).toBe("");
  await dockerOk("start", leased);
  expect(await leasedAddress(leased)).toBe(address);
});
