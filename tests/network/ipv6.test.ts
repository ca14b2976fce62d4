/** The IPv6 side of a bridge network, with namespaces for guests and for the machine outside. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { openBridgeNetwork, removeBridgeNetwork } from "../../src/network/bridge-network.ts";
import type { BridgeNetwork, BridgeNetworkOptions, PortRequest } from "../../src/network/contract.ts";
import {
  BRIDGE,
  GATEWAY,
  GATEWAY6,
  GUEST_ADDRESSES,
  GUEST_ADDRESSES6,
  HOST_ADDRESS6,
  inside,
  makeNetworks,
  type Namespace,
  OUTSIDE_ADDRESS6,
  removeNetworks,
  run,
  SUBNET,
  SUBNET6,
  startInside,
} from "./namespaces.ts";

const endpoint = (namespace: "vchtest-a" | "vchtest-b") => ({
  containerId: namespace.at(-1)?.repeat(64) ?? "",
  containerName: namespace,
  address: GUEST_ADDRESSES[namespace],
  address6: GUEST_ADDRESSES6[namespace],
});
const A = endpoint("vchtest-a");
const B = endpoint("vchtest-b");
const tcp = (hostPort?: number, hostAddress = ""): PortRequest => ({
  containerPort: 80,
  protocol: "tcp",
  hostAddress,
  hostPort,
});

/** TCP on 80 and UDP on 9000 of both families: each answers with the namespace's name and who asks. */
const SERVER = `import socket, sys, threading
name = sys.argv[1]
t = socket.socket(socket.AF_INET6, socket.SOCK_STREAM); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
t.bind(("::", 80)); t.listen(64)
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(("::", 9000))
def datagrams():
    while True:
        d, a = u.recvfrom(2048); u.sendto(f"{name} saw {a[0]}".encode(), a)
threading.Thread(target=datagrams, daemon=True).start()
print("ready", flush=True)
while True:
    c, a = t.accept()
    c.sendall(f"{name} saw {a[0]}".encode()); c.close()
`;
/** What the other side says; nothing when it cannot be reached. */
const CLIENT = `import socket, sys
kind, address, port, source = sys.argv[1:5]
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(3)
try:
    if source: s.bind((source, 0))
    s.connect((address, int(port)))
    if kind == "udp": s.send(b"x")
    print(s.recv(200).decode(), end="")
except OSError: pass
`;

const running: Bun.Subprocess[] = [];
let network: BridgeNetwork | undefined;
let forwardingBefore = "";
const forwarding = (): string => readFileSync("/proc/sys/net/ipv6/conf/all/forwarding", "utf8").trim();

async function ask(
  from: Namespace | "here",
  kind: "tcp" | "udp",
  address: string,
  port: number,
  source = "",
): Promise<string> {
  const command = ["python3", "-c", CLIENT, kind, address, String(port), source];
  return (await (from === "here" ? run(...command) : inside(from, ...command))).output;
}
const pings = async (from: Namespace, to: string, ...more: string[]): Promise<boolean> =>
  (await inside(from, "ping", "-6", "-c", "1", "-W", "2", ...more, to)).exitCode === 0;

async function open(options: Partial<BridgeNetworkOptions> = {}): Promise<BridgeNetwork> {
  network = await openBridgeNetwork({
    owner: "test6 vch",
    interfaceName: BRIDGE,
    subnet: SUBNET,
    gateway: GATEWAY,
    ipv6: { subnet: SUBNET6, gateway: GATEWAY6 },
    allowedPorts: [],
    addressesInUse: () => [],
    log: () => undefined,
    ...options,
  });
  return network;
}

beforeAll(async () => {
  forwardingBefore = forwarding();
  await makeNetworks();
  for (const namespace of ["vchtest-a", "vchtest-b", "vchtest-out"] as const) {
    const child = startInside(namespace, "python3", "-c", SERVER, namespace);
    running.push(child);
    await child.stdout.getReader().read();
  }
});
beforeEach(async () => {
  await open();
});
afterEach(async () => {
  await network?.close({ removeRules: true });
  network = undefined;
});
afterAll(async () => {
  for (const child of running) child.kill("SIGKILL");
  await Promise.all(running.map((child) => child.exited));
  await removeNetworks();
});

test("guests reach each other and, translated, the outside; nobody outside reaches them unasked", async () => {
  expect(await ask("vchtest-a", "tcp", B.address6, 80)).toBe(`vchtest-b saw ${A.address6}`);
  expect(await ask("vchtest-a", "tcp", OUTSIDE_ADDRESS6, 80)).toBe(`vchtest-out saw ${HOST_ADDRESS6}`);
  expect(await ask("vchtest-a", "udp", OUTSIDE_ADDRESS6, 9000)).toBe(`vchtest-out saw ${HOST_ADDRESS6}`);
  expect(await pings("vchtest-a", GATEWAY6)).toBe(true);
  expect(await ask("vchtest-out", "tcp", A.address6, 80)).toBe("");
  expect(await pings("vchtest-out", A.address6)).toBe(false);
});

test("a published port is reached by both families from outside, from here, by ::1, and from guests", async () => {
  const udp: PortRequest = { containerPort: 9000, protocol: "udp", hostAddress: "", hostPort: 18582 };
  expect(await network?.publish({ ...A, ports: [tcp(18580), udp] })).toEqual([
    { containerPort: 80, protocol: "tcp", hostAddress: "0.0.0.0", hostPort: 18580 },
    { containerPort: 80, protocol: "tcp", hostAddress: "::", hostPort: 18580 },
    { containerPort: 9000, protocol: "udp", hostAddress: "0.0.0.0", hostPort: 18582 },
    { containerPort: 9000, protocol: "udp", hostAddress: "::", hostPort: 18582 },
  ]);
  expect(await ask("vchtest-out", "tcp", HOST_ADDRESS6, 18580)).toBe(`vchtest-a saw ${OUTSIDE_ADDRESS6}`);
  expect(await ask("vchtest-out", "udp", HOST_ADDRESS6, 18582)).toBe(`vchtest-a saw ${OUTSIDE_ADDRESS6}`);
  for (const address of [HOST_ADDRESS6, GATEWAY6, "::1", "127.0.0.1"])
    expect(await ask("here", "tcp", address, 18580)).toStartWith("vchtest-a saw ");
  expect(await ask("here", "udp", "::1", 18582)).toStartWith("vchtest-a saw ");
  // Hairpin: another guest, and the guest itself, by any address of this machine.
  for (const guest of ["vchtest-b", "vchtest-a"] as const)
    for (const address of [HOST_ADDRESS6, GATEWAY6])
      expect(await ask(guest, "tcp", address, 18580)).toBe(`vchtest-a saw ${GATEWAY6}`);
  await network?.withdraw(A.containerId);
  for (const address of [HOST_ADDRESS6, "::1"]) expect(await ask("here", "tcp", address, 18580)).toBe("");
});

test("an address of one family publishes on that alone, and each family's port can be another container's", async () => {
  await network?.publish({ ...A, ports: [tcp(18583, "0.0.0.0")] });
  await network?.publish({ ...B, ports: [tcp(18583, "::")] });
  expect(await ask("vchtest-out", "tcp", HOST_ADDRESS6, 18583)).toStartWith("vchtest-b");
  expect(await ask("here", "tcp", "127.0.0.1", 18583)).toStartWith("vchtest-a");
  await expect(network?.publish({ ...B, ports: [tcp(18583)] })).rejects.toThrow(
    "Bind for 0.0.0.0:18583 failed: port is already allocated",
  );
  await network?.publish({ ...A, ports: [tcp(18584, "::1")] });
  expect(await ask("here", "tcp", "::1", 18584)).toStartWith("vchtest-a");
  expect(await ask("vchtest-out", "tcp", HOST_ADDRESS6, 18584)).toBe("");
});

test("a port that is chosen at random is the same in both families, also after a restart of the endpoint", async () => {
  const first = await network?.publish({ ...A, ports: [tcp()] });
  const ports = new Set(first?.map(({ hostPort }) => hostPort));
  expect(ports.size).toBe(1);
  const [port = 0] = ports;
  await network?.close({ removeRules: false });
  expect(await ask("vchtest-out", "tcp", HOST_ADDRESS6, port)).toStartWith("vchtest-a");
  const again = await open();
  const { published, failures } = await again.reconcile([{ ...A, ports: [tcp()] }]);
  expect(failures).toEqual([]);
  expect(published.get(A.containerId)).toEqual(first ?? []);
  expect(await ask("vchtest-out", "tcp", HOST_ADDRESS6, port)).toStartWith("vchtest-a");
});

test("a bound address works from its adapter only, and neighbour discovery does not move it", async () => {
  await network?.close({ removeRules: true });
  const macOf = async (namespace: "vchtest-a" | "vchtest-b"): Promise<string> =>
    /link\/ether (\S+)/.exec((await inside(namespace, "ip", "link", "show", "dev", "eth0")).output)?.[1] ?? "";
  const bridge = await open({ checkSources: true });
  expect(await pings("vchtest-a", GATEWAY6, "-I", A.address6)).toBe(false);
  await bridge.bind([
    { address: A.address6, macAddress: await macOf("vchtest-a") },
    { address: B.address6, macAddress: await macOf("vchtest-b") },
  ]);
  expect(await pings("vchtest-a", GATEWAY6, "-I", A.address6)).toBe(true);
  await inside("vchtest-a", "ip", "addr", "add", `${B.address6}/64`, "dev", "eth0", "nodad");
  await inside("vchtest-a", "ip", "addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad");
  try {
    // The neighbour advertisement of an adapter that got the address just now, unsolicited and overriding.
    await inside("vchtest-a", "sysctl", "-qw", "net.ipv6.conf.eth0.ndisc_notify=1");
    await inside("vchtest-a", "ip", "link", "set", "eth0", "down");
    await inside("vchtest-a", "ip", "link", "set", "eth0", "up");
    expect(await ask("here", "tcp", B.address6, 80)).toStartWith("vchtest-b");
    for (const source of [B.address6, "2001:db8::2"])
      expect(await pings("vchtest-a", GATEWAY6, "-I", source)).toBe(false);
  } finally {
    for (const address of [`${B.address6}/64`, "2001:db8::2/64"])
      await inside("vchtest-a", "ip", "addr", "del", address, "dev", "eth0");
    await inside("vchtest-a", "ip", "addr", "replace", `${A.address6}/64`, "dev", "eth0", "nodad");
    await inside("vchtest-a", "ip", "route", "replace", "default", "via", GATEWAY6);
    await inside("vchtest-a", "ip", "route", "replace", "default", "via", GATEWAY);
  }
  await bridge.unbind([A.address6, B.address6]);
  expect((await run("ip", "-6", "neigh", "show", "dev", BRIDGE, "nud", "permanent")).output).toBe("");
});

test("guests reach nothing else of this machine, and a network without IPv6 lets none through", async () => {
  const server = Bun.listen({
    hostname: "::",
    port: 18585,
    socket: { open: (socket) => void socket.end("yes"), data: (socket) => void socket.end() },
  });
  try {
    for (const address of [GATEWAY6, HOST_ADDRESS6]) expect(await ask("vchtest-a", "tcp", address, 18585)).toBe("");
    await network?.close({ removeRules: true });
    await open({ internal: true });
    expect(await ask("vchtest-a", "tcp", OUTSIDE_ADDRESS6, 80)).toBe("");
    await network?.close({ removeRules: true });
    await open({ ipv6: undefined });
    // Even by a guest's own doing: addresses of its choice on both sides.
    await run("ip", "addr", "add", `${GATEWAY6}/64`, "dev", BRIDGE, "nodad");
    expect(await pings("vchtest-a", GATEWAY6)).toBe(false);
    expect(await ask("vchtest-a", "tcp", GATEWAY6, 18585)).toBe("");
  } finally {
    await run("ip", "addr", "del", `${GATEWAY6}/64`, "dev", BRIDGE);
    server.stop(true);
  }
});

test("removing leaves no address and no switch that was not set before", async () => {
  await network?.close({ removeRules: false });
  network = undefined;
  expect((await run("ip", "-6", "addr", "show", "dev", BRIDGE)).output).toContain(GATEWAY6);
  await removeBridgeNetwork({ owner: "test6 vch" });
  expect((await run("ip", "-6", "addr", "show", "dev", BRIDGE)).output).not.toContain(GATEWAY6);
  expect((await run("nft", "list", "tables")).output).not.toContain("vch-test6");
  const others = /hook (forward|postrouting)/.test((await run("nft", "list", "ruleset")).output);
  if (!others) expect(forwarding()).toBe(forwardingBefore);
  await expect(open({ ipv6: { subnet: "fd00:fb::/64", gateway: "fd00:fb::9" } })).rejects.toThrow("overlaps with");
});
