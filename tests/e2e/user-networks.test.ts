/** docker network: made, used, connected and disconnected while containers run, and isolated from each other. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, inspect, removeContainers, run, STATE, uniqueName } from "./docker.ts";

const blue = uniqueName("blue");
const red = uniqueName("red");
const server = uniqueName("server");
const client = uniqueName("client");
const SUBNET = "10.97.0.0/24";

const serving = "mkdir /www; hostname >/www/index.html; httpd -p 80 -h /www; exec sleep 100000";
const exec = (name: string, script: string) => docker(["exec", name, "sh", "-c", script]);
const fetchFrom = (name: string, host: string) => exec(name, `timeout 5 wget -qO- http://${host}/`);

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await dockerOk("network", "create", "--subnet", SUBNET, "--gateway", "10.97.0.254", "--label", "e2e=yes", blue);
  await dockerOk("network", "create", "--ipv6", red);
  const options = [
    "--network",
    blue,
    "--ip",
    "10.97.0.77",
    "--network-alias",
    "web",
    "--mac-address",
    "00:50:56:01:02:03",
  ];
  await dockerOk("run", "-d", "--name", server, ...options, "-p", "18180:80", BUSYBOX, "sh", "-c", serving);
  await dockerOk("run", "-d", "--name", client, "--network", blue, BUSYBOX, "sleep", "100000");
});

afterAll(async () => {
  await removeContainers(server, client);
  await docker(["network", "rm", blue, red]);
  expect((await run(["nft", "list", "tables"])).stdout).not.toContain("10.97.0");
});

test("ls, inspect and refusals", async () => {
  expect(await dockerOk("network", "ls", "-q", "--filter", "label=e2e=yes", "--format", "{{.Name}}")).toBe(blue);
  const [network] = JSON.parse(await dockerOk("network", "inspect", blue)) as {
    IPAM: { Config: object[] };
    Containers: Record<string, { Name: string; IPv4Address: string }>;
  }[];
  expect(network?.IPAM.Config).toEqual([{ Subnet: SUBNET, Gateway: "10.97.0.254" }]);
  expect(Object.values(network?.Containers ?? {})).toContainEqual(
    expect.objectContaining({ Name: server, IPv4Address: "10.97.0.77/24" }),
  );
  const overlap = await docker(["network", "create", "--subnet", "10.97.0.0/16", uniqueName("overlap")]);
  expect(overlap.stderr).toContain("Pool overlaps with other one on this address space");
  expect((await docker(["network", "rm", blue])).stderr).toContain("has active endpoints");
});

test("address, MAC, route, names and files of a container", async () => {
  const output = await dockerOk(
    "exec",
    server,
    "sh",
    "-c",
    "ip -4 -o addr show eth0; ip route; cat /sys/class/net/eth0/address /etc/resolv.conf /etc/hosts",
  );
  expect(output).toContain("10.97.0.77/24");
  expect(output).toContain("default via 10.97.0.254");
  expect(output).toContain("00:50:56:01:02:03");
  expect(output).toContain("nameserver 127.0.0.11");
  expect(output).toContain("options ndots:0");
  expect(output).toMatch(/10\.97\.0\.77\t[0-9a-f]{12}/);
});

test("peers are found by name, alias, short id and name.network; addresses by reverse look-up", async () => {
  const id = await inspect<string>(server, ".Id");
  for (const name of [server, "web", id.slice(0, 12), `${server}.${blue}`])
    expect(await fetchFrom(client, name)).toMatchObject({ code: 0, stdout: `${id.slice(0, 12)}\n` });
  expect((await exec(client, "nslookup 10.97.0.77")).stdout).toContain(`${server}.${blue}`);
  expect((await exec(client, "nslookup no-such-peer")).code).not.toBe(0);
});

test("networks are closed to each other, and published ports are open to all", async () => {
  const other = uniqueName("other");
  const script = `ping -c 1 -W 2 10.97.0.77; timeout 3 wget -qO- http://10.97.0.77/; nslookup ${server}; true`;
  const result = await docker(["run", "--rm", "--name", other, "--network", red, BUSYBOX, "sh", "-c", script]);
  expect(result.code).toBe(0);
  expect(result.stdout).not.toContain("1 packets received");
  expect(result.stdout).not.toContain((await inspect<string>(server, ".Id")).slice(0, 12));
  expect((await run(["curl", "-sS", "--max-time", "10", "http://127.0.0.1:18180/"])).code).toBe(0);
  const gateway = JSON.parse(await dockerOk("network", "inspect", "-f", "{{json .IPAM.Config}}", red))[0].Gateway;
  expect(
    (
      await docker([
        "run",
        "--rm",
        "--network",
        red,
        BUSYBOX,
        "timeout",
        "5",
        "wget",
        "-qO-",
        `http://${gateway}:18180/`,
      ])
    ).code,
  ).toBe(0);
});

test("connect and disconnect a running container", async () => {
  await dockerOk("network", "connect", "--alias", "late", red, client);
  const [network] = JSON.parse(await dockerOk("network", "inspect", red)) as { Containers: Record<string, object> }[];
  expect(Object.keys(network?.Containers ?? {})).toHaveLength(1);
  expect(await dockerOk("exec", client, "ls", "/sys/class/net")).toContain("eth1");
  // IPv6 comes with the second network, its default route too.
  expect(await dockerOk("exec", client, "ip", "-6", "route")).toMatch(/default via fd\S+ dev eth1/);
  const path = `containers/${client}/stats?stream=false&one-shot=true`;
  const { stdout } = await run(["curl", "-sS", "--unix-socket", `${STATE}/run/docker.sock`, `http://docker/${path}`]);
  const sample = JSON.parse(stdout) as { networks: Record<string, { rx_bytes: number }> };
  expect(Object.keys(sample.networks)).toEqual(["eth0", "eth1"]);
  expect(sample.networks.eth0?.rx_bytes).toBeGreaterThan(0);
  const found = await docker(["run", "--rm", "--network", red, BUSYBOX, "ping", "-c", "1", "-W", "5", "late"]);
  expect(found).toMatchObject({ code: 0 });
  // The network of the control link goes: it finds the other one.
  await dockerOk("network", "disconnect", blue, client);
  expect(await dockerOk("exec", client, "ls", "/sys/class/net")).not.toContain("eth0");
  expect((await exec(client, `nslookup ${server}`)).code).not.toBe(0);
  await dockerOk("network", "connect", blue, client);
  expect((await fetchFrom(client, "web")).code).toBe(0);
  await dockerOk("network", "disconnect", red, client);
  const files = await dockerOk("exec", client, "sh", "-c", "cat /etc/hosts; ip -6 route show default");
  expect(files).not.toMatch(/172\.|^fd|default/m);
});

test("the last network goes and another one comes", async () => {
  await dockerOk("network", "disconnect", blue, client);
  const output = await dockerOk("exec", client, "sh", "-c", "ls /sys/class/net; ip route");
  expect(output).not.toContain("eth");
  expect(output).not.toContain("default");
  await dockerOk("network", "connect", blue, client);
  expect((await fetchFrom(client, "web")).code).toBe(0);
});

test("several networks from the start, the default route by priority; an internal network has no way out", async () => {
  const inside = uniqueName("inside");
  await dockerOk("network", "create", "--internal", inside);
  try {
    const output = await dockerOk(
      "run",
      "--rm",
      "--network",
      `name=${inside},alias=x`,
      "--network",
      blue,
      BUSYBOX,
      "sh",
      "-c",
      "ip route; ls /sys/class/net",
    );
    expect(output).toContain("default via 10.97.0.254");
    expect(output).toContain("eth1");
    const closed = await docker([
      "run",
      "--rm",
      "--network",
      inside,
      BUSYBOX,
      "sh",
      "-c",
      "ip route; nslookup debian.org",
    ]);
    expect(closed.stdout).not.toContain("default");
    expect(closed.code).not.toBe(0);
  } finally {
    await dockerOk("network", "rm", inside);
  }
});
