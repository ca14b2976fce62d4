import { expect, test } from "bun:test";
import dgram from "node:dgram";
import net from "node:net";
import type { PortRequest, PublishingEndpoint } from "./contract.ts";
import { takeHostPort } from "./host-ports.ts";
import { destinationsOf, matchEarlier } from "./publishing.ts";
import { parseBindings, parseRules, renderTable } from "./ruleset.ts";

const request = (hostAddress: string, hostPort?: PortRequest["hostPort"]): PortRequest => ({
  containerPort: 80,
  protocol: "tcp",
  hostAddress,
  hostPort,
});
const dual = (...ports: PortRequest[]): PublishingEndpoint => ({
  containerId: "c",
  containerName: "web",
  address: "10.0.0.2",
  address6: "fd00::2",
  ports,
});

test("no host address is all of both families, where the container has both", () => {
  const places = (endpoint: PublishingEndpoint, hostAddress: string) => [
    ...destinationsOf(endpoint, request(hostAddress)),
  ];
  expect(places(dual(), "")).toEqual([
    ["0.0.0.0", "10.0.0.2"],
    ["::", "fd00::2"],
  ]);
  expect(places({ ...dual(), address6: undefined }, "")).toEqual([["0.0.0.0", "10.0.0.2"]]);
  expect(places(dual(), "0.0.0.0")).toEqual([["0.0.0.0", "10.0.0.2"]]);
  expect(places(dual(), "0:0::1")).toEqual([["::1", "fd00::2"]]);
  expect(() => places({ ...dual(), address6: undefined }, "::1")).toThrow("created with --ipv6");
  for (const wrong of ["fe80::1%eth0", "localhost"])
    expect(() => places(dual(), wrong)).toThrow("invalid host address");
});

test("ports of an earlier run are found again, both families of one as one", () => {
  const rule = (hostAddress: string, hostPort: number) => ({
    containerId: "c",
    address: hostAddress.includes(":") ? "fd00::2" : "10.0.0.2",
    containerPort: 80,
    protocol: "tcp" as const,
    hostAddress,
    hostPort,
  });
  const earlier = [rule("0.0.0.0", 40001), rule("::", 40001), rule("0.0.0.0", 40002), rule("::", 40002)];
  const ports = (...wanted: PortRequest[]) => matchEarlier(dual(...wanted), earlier).map(({ hostPort }) => hostPort);
  expect(ports(request(""), request(""), request(""))).toEqual([40001, 40002, undefined]);
  expect(ports(request("::", { first: 40002, last: 40009 }))).toEqual([40002]);
  expect(ports(request("127.0.0.1"))).toEqual([undefined]);
});

test("one number may be held in each family, and once in each", async () => {
  const held = [await takeHostPort("127.83.75.1", "tcp", 20075), await takeHostPort("::1", "tcp", 20075)];
  try {
    await expect(takeHostPort("::", "tcp", 20075)).rejects.toThrow(
      "Bind for [::]:20075 failed: port is already allocated",
    );
    await expect(takeHostPort("0.0.0.0", "tcp", 20075)).rejects.toThrow("port is already allocated");
  } finally {
    for (const port of held) port.release();
  }
});

test("what comes to ::1 is carried over, with half-closed connections and datagrams", async () => {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("end", () => socket.end(`heard ${text}`));
  });
  await new Promise<void>((resolve) => server.listen(20076, "127.83.75.1", resolve));
  const echo = dgram.createSocket("udp4");
  echo.on("message", (message, { port, address }) => echo.send(`echo ${message}`, port, address));
  await new Promise<void>((resolve) => echo.bind(20076, "127.83.75.1", () => resolve()));
  const target = { address: "127.83.75.1", port: 20076 };
  const held = [await takeHostPort("::1", "tcp", 20077, target), await takeHostPort("::1", "udp", 20077, target)];
  const asker = dgram.createSocket("udp6");
  try {
    const client = net.connect({ host: "::1", port: 20077, allowHalfOpen: true }, () => client.end("you"));
    let answer = "";
    for await (const chunk of client) answer += chunk;
    expect(answer).toBe("heard you");
    const reply = new Promise<string>((resolve) => asker.on("message", (message) => resolve(String(message))));
    asker.send("hello", 20077, "::1");
    expect(await reply).toBe("echo hello");
  } finally {
    asker.close();
    echo.close();
    server.close();
    for (const port of held) port.release();
  }
});

test("rules and bindings of both families are written and read", () => {
  const rules = [
    {
      containerId: "c",
      address: "10.0.0.2",
      containerPort: 80,
      protocol: "tcp" as const,
      hostAddress: "0.0.0.0",
      hostPort: 8080,
    },
    {
      containerId: "c",
      address: "fd00::2",
      containerPort: 80,
      protocol: "sctp" as const,
      hostAddress: "::1",
      hostPort: 8080,
    },
  ];
  const options = {
    owner: "v",
    interfaceName: "br0",
    subnet: "10.0.0.0/24",
    gateway: "10.0.0.1",
    prefixLength: 24,
    allowedPorts: [2377],
    internal: false,
    masquerade: true,
    checkSources: true,
    forwardingWasOff: false,
  };
  const bindings = [
    { macAddress: "00:50:56:00:00:02", address: "10.0.0.2" },
    { macAddress: "00:50:56:00:00:02", address: "fd00::2" },
  ];
  const longest = {
    subnet: "fd00:1111:2222:3333:4444:5555:6666:7774/126",
    gateway: "fd00:1111:2222:3333:4444:5555:6666:7775",
    prefixLength: 126,
    forwardingWasOff: true,
  };
  const text = renderTable("vch-v/br0", { ...options, ipv6: longest }, rules, bindings);
  expect(text).toContain('add element inet vch-v/br0 one6 { ::1 . 132 . 8080 comment "c" : fd00::2 . 80 }');
  expect(text).toContain("add element inet vch-v/br0 bound6 { 00:50:56:00:00:02 . fd00::2 }");
  expect(/comment "(.*)"/.exec(text)?.[1]?.length).toBeLessThan(128);
  const without = renderTable("vch-v/br0", options, [], []);
  expect(without).not.toContain("6 {");
  expect(without.match(/meta nfproto ipv6 drop/g)).toHaveLength(2);
  const json = JSON.stringify({
    nftables: [
      {
        map: {
          name: "any6",
          elem: [[{ elem: { val: { concat: ["udp", 53] }, comment: "c" } }, { concat: ["fd00::2", 53] }]],
        },
      },
      { set: { name: "bound6", elem: [{ concat: ["00:50:56:00:00:02", "fd00::2"] }] } },
    ],
  });
  expect(parseRules(json)).toEqual([
    { containerId: "c", address: "fd00::2", containerPort: 53, protocol: "udp", hostAddress: "::", hostPort: 53 },
  ]);
  expect(parseBindings(json)).toEqual([{ macAddress: "00:50:56:00:00:02", address: "fd00::2" }]);
});
