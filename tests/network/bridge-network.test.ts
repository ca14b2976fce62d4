import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import dgram from "node:dgram";
import { readFileSync } from "node:fs";
import net from "node:net";
import { openBridgeNetwork, removeBridgeNetwork } from "../../src/network/bridge-network.ts";
import type { BridgeNetwork, BridgeNetworkOptions } from "../../src/network/contract.ts";
import {
  BRIDGE,
  GATEWAY,
  GUEST_ADDRESSES,
  HOST_ADDRESS,
  inside,
  makeNetworks,
  OUTSIDE_ADDRESS,
  removeNetworks,
  run,
  SUBNET,
  startInside,
} from "./namespaces.ts";

const A = { containerId: "a".repeat(64), containerName: "web", address: GUEST_ADDRESSES["vchtest-a"] };
const B = { containerId: "b".repeat(64), containerName: "other", address: GUEST_ADDRESSES["vchtest-b"] };
const tcp = (containerPort: number, hostPort?: number, hostAddress = "") => ({
  containerPort,
  protocol: "tcp" as const,
  hostAddress,
  hostPort,
});

const running: Bun.Subprocess[] = [];
let network: BridgeNetwork | undefined;
let forwardingBefore = "";

const forwarding = (): string => readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim();

async function open(options: Partial<BridgeNetworkOptions> = {}): Promise<BridgeNetwork> {
  network = await openBridgeNetwork({
    owner: "test vch",
    interfaceName: BRIDGE,
    subnet: SUBNET,
    gateway: GATEWAY,
    allowedPorts: [],
    addressesInUse: () => [],
    log: () => undefined,
    ...options,
  });
  return network;
}

const get = (...parameters: string[]): string[] => ["curl", "-s", "-4", "--max-time", "3", ...parameters];

beforeAll(async () => {
  forwardingBefore = forwarding();
  await makeNetworks();
  for (const namespace of ["vchtest-a", "vchtest-b"] as const) {
    const server = `import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("${namespace} saw " + self.client_address[0]).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer.request_queue_size = 64
s = http.server.ThreadingHTTPServer(("", 80), Handler)
print("ready", flush=True)
s.serve_forever()`;
    const child = startInside(namespace, "python3", "-c", server);
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

describe("published ports", () => {
  test("are reachable from outside, from this machine by any of its addresses, and from guests", async () => {
    expect(await network?.publish({ ...A, ports: [tcp(80, 18480)] })).toEqual([
      { containerPort: 80, protocol: "tcp", hostAddress: "0.0.0.0", hostPort: 18480 },
    ]);
    expect((await inside("vchtest-out", ...get(`http://${HOST_ADDRESS}:18480/`))).output).toBe(
      `vchtest-a saw ${OUTSIDE_ADDRESS}`,
    );
    for (const address of ["127.0.0.1", HOST_ADDRESS, GATEWAY]) {
      expect((await run(...get(`http://${address}:18480/`))).output).toStartWith("vchtest-a saw ");
    }
    // Hairpin: another guest, and the guest itself, by the machine's address.
    for (const guest of ["vchtest-b", "vchtest-a"] as const)
      expect((await inside(guest, ...get(`http://${HOST_ADDRESS}:18480/`))).output).toBe(`vchtest-a saw ${GATEWAY}`);
  });

  test("bound to 127.0.0.1 stay on this machine", async () => {
    await network?.publish({ ...A, ports: [tcp(80, 18481, "127.0.0.1")] });
    expect((await run(...get("http://127.0.0.1:18481/"))).output).toStartWith("vchtest-a");
    expect((await inside("vchtest-out", ...get(`http://${HOST_ADDRESS}:18481/`))).exitCode).not.toBe(0);
    expect((await inside("vchtest-b", ...get(`http://${GATEWAY}:18481/`))).exitCode).not.toBe(0);
  });

  test("work for UDP", async () => {
    await network?.publish({
      ...A,
      ports: [{ containerPort: 9000, protocol: "udp", hostAddress: "", hostPort: 18482 }],
    });
    const echo = startInside(
      "vchtest-a",
      "python3",
      "-c",
      "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('',9000));print('ready',flush=True)\nwhile True:\n d,a=s.recvfrom(2048);s.sendto(b'echo '+d,a)",
    );
    await echo.stdout.getReader().read();
    try {
      const socket = dgram.createSocket("udp4");
      const reply = new Promise<string>((resolve) => socket.on("message", (message) => resolve(message.toString())));
      socket.send("hello", 18482, "127.0.0.1");
      expect(await reply).toBe("echo hello");
      socket.close();
    } finally {
      echo.kill("SIGKILL");
      await echo.exited;
    }
  });

  test("conflict with Docker's words, all or none", async () => {
    await network?.publish({ ...A, ports: [tcp(80, 18483)] });
    await expect(network?.publish({ ...B, ports: [tcp(80, 18484), tcp(81, 18483)] })).rejects.toThrow(
      `driver failed programming external connectivity on endpoint other (${B.containerId}): Bind for 0.0.0.0:18483 failed: port is already allocated`,
    );
    expect((await run(...get("http://127.0.0.1:18484/"))).exitCode).toBe(7);
    expect(network?.published(B.containerId)).toEqual([]);
    // Another program has it.
    const server = net.createServer().listen(18485, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    await expect(network?.publish({ ...B, ports: [tcp(80, 18485)] })).rejects.toThrow("address already in use");
    server.close();
    await network?.withdraw(A.containerId);
    expect(await network?.publish({ ...B, ports: [tcp(80, 18483)] })).toHaveLength(1);
    expect((await run(...get("http://127.0.0.1:18483/"))).output).toStartWith("vchtest-b");
  });

  test("come from a range or from the ephemeral ports", async () => {
    const published = await network?.publish({
      ...A,
      ports: [
        { containerPort: 80, protocol: "tcp", hostAddress: "", hostPort: { first: 18490, last: 18492 } },
        { containerPort: 81, protocol: "tcp", hostAddress: "", hostPort: { first: 18490, last: 18492 } },
        tcp(80),
        { containerPort: 5000, protocol: "sctp", hostAddress: "", hostPort: 18490 },
      ],
    });
    expect(published?.map((port) => port.hostPort).slice(0, 2)).toEqual([18490, 18491]);
    expect((await run(...get(`http://127.0.0.1:${published?.[2]?.hostPort}/`))).output).toStartWith("vchtest-a");
    await expect(network?.publish({ ...B, ports: [{ ...tcp(80, 1), hostAddress: "::1" }] })).rejects.toThrow(
      "created with --ipv6",
    );
    await expect(network?.publish({ ...B, ports: [tcp(80, 18499, "192.0.2.7")] })).rejects.toThrow(
      "cannot assign requested address",
    );
  });

  test("heal after somebody flushed all rules", async () => {
    await network?.publish({ ...A, ports: [tcp(80, 18486)] });
    const [table] = (await run("nft", "list", "tables", "inet")).output
      .split("\n")
      .filter((l) => l.includes("vch-test"));
    await run("nft", "delete", "table", "inet", table?.replace("table inet ", "") ?? "");
    await network?.publish({ ...B, ports: [tcp(80, 18487)] });
    expect((await run(...get("http://127.0.0.1:18486/"))).output).toStartWith("vchtest-a");
    expect((await run(...get("http://127.0.0.1:18487/"))).output).toStartWith("vchtest-b");
  });
});

describe("the way out and in", () => {
  test("guests reach the outside behind this machine's address, and nobody outside reaches guests", async () => {
    const server = startInside(
      "vchtest-out",
      "python3",
      "-c",
      "import socket\ns=socket.socket();s.bind(('',8000));s.listen(5);print('ready',flush=True)\nwhile True:\n c,a=s.accept();c.sendall(a[0].encode());c.close()",
    );
    await server.stdout.getReader().read();
    try {
      expect((await inside("vchtest-a", "nc", "-w", "3", OUTSIDE_ADDRESS, "8000")).output).toBe(HOST_ADDRESS);
      expect((await inside("vchtest-out", ...get(`http://${A.address}/`))).exitCode).not.toBe(0);
      expect((await inside("vchtest-a", ...get(`http://${B.address}/`))).output).toBe(`vchtest-b saw ${A.address}`);
    } finally {
      server.kill("SIGKILL");
      await server.exited;
    }
  });

  test("of this machine, guests reach the allowed port, DNS and ping only", async () => {
    await network?.close({ removeRules: true });
    await open({ allowedPorts: [18470] });
    const servers = await Promise.all(
      [18470, 18471].map(
        (port) =>
          new Promise<net.Server>((resolve) => {
            const server = net
              .createServer((socket) => socket.end("yes"))
              .listen(port, "0.0.0.0", () => resolve(server));
          }),
      ),
    );
    const ask = (address: string, port: number) =>
      inside("vchtest-a", "nc", "-w", "2", address, String(port)).then(({ output }) => output);
    expect(await ask(GATEWAY, 18470)).toBe("yes");
    expect(await ask(GATEWAY, 18471)).toBe("");
    expect(await ask(HOST_ADDRESS, 18470)).toBe("");
    expect((await inside("vchtest-a", "ping", "-c", "1", "-W", "2", GATEWAY)).exitCode).toBe(0);
    for (const server of servers) server.close();
  });

  test("an internal network has no way out", async () => {
    await network?.close({ removeRules: true });
    await open({ internal: true });
    expect((await inside("vchtest-a", "ping", "-c", "1", "-W", "1", OUTSIDE_ADDRESS)).exitCode).not.toBe(0);
    await expect(network?.publish({ ...A, ports: [tcp(80, 18470)] })).rejects.toThrow("internal network");
  });
});

describe("life cycle", () => {
  test("rules outlive a killed endpoint and are taken over, random ports included", async () => {
    await network?.close({ removeRules: true });
    network = undefined;
    const holder = Bun.spawn([process.execPath, `${import.meta.dir}/holder.ts`], { stdout: "pipe", stderr: "inherit" });
    const line = new TextDecoder().decode((await holder.stdout.getReader().read()).value);
    const [port] = JSON.parse(line) as { hostPort: number }[];
    holder.kill("SIGKILL");
    await holder.exited;
    const url = `http://127.0.0.1:${port?.hostPort}/`;
    expect((await run(...get(url))).output).toStartWith("vchtest-a");
    const reopened = await open({ owner: "killed vch" });
    expect((await run(...get(url))).output).toStartWith("vchtest-a"); // also before reconcile
    const result = await reopened.reconcile([{ ...A, ports: [tcp(80)] }]);
    expect(result.failures).toEqual([]);
    expect(result.published.get(A.containerId)?.[0]?.hostPort).toBe(port?.hostPort);
    expect((await run(...get(url))).output).toStartWith("vchtest-a");
    await reopened.reconcile([]);
    expect((await run(...get(url))).exitCode).not.toBe(0);
  });

  test("closing with the rules, or removing them later, leaves nothing", async () => {
    await network?.publish({ ...A, ports: [tcp(80, 18488)] });
    await network?.close({ removeRules: false });
    network = undefined;
    expect((await run(...get("http://127.0.0.1:18488/"))).output).toStartWith("vchtest-a");
    await removeBridgeNetwork({ owner: "test vch" });
    await removeBridgeNetwork({ owner: "test vch" });
    expect((await run("nft", "list", "tables")).output).not.toContain("vch-test");
    expect((await run("ip", "addr", "show", "dev", BRIDGE)).output).not.toContain(GATEWAY);
    expect(readFileSync(`/proc/sys/net/ipv4/conf/${BRIDGE}/route_localnet`, "utf8").trim()).toBe("0");
    const others = /hook (forward|postrouting)/.test((await run("nft", "list", "ruleset")).output);
    if (!others) expect(forwarding()).toBe(forwardingBefore);
  });

  test("refuses an interface that is not there and a subnet that is taken", async () => {
    await network?.close({ removeRules: true });
    network = undefined;
    await expect(open({ interfaceName: "vchnone0" })).rejects.toThrow("no network interface vchnone0");
    await expect(open({ subnet: "172.31.251.0/24", gateway: "172.31.251.9" })).rejects.toThrow("overlaps with");
  });
});

test("names: the hook's, and SERVFAIL or an answer of the machine's servers for others", async () => {
  await network?.close({ removeRules: true });
  await open({ names: (name) => (name === "db" ? ["172.31.250.3"] : undefined) });
  const dig = (...parameters: string[]) =>
    inside("vchtest-a", "dig", `@${GATEWAY}`, "+tries=1", "+time=12", ...parameters).then(({ output }) => output);
  expect((await dig("+short", "DB")).trim()).toBe("172.31.250.3");
  expect((await dig("+short", "+tcp", "db")).trim()).toBe("172.31.250.3");
  expect(await dig("db", "AAAA")).toMatch(/status: NOERROR[\s\S]*ANSWER: 0/);
  expect(await dig("nosuch.invalid")).toMatch(/status: (NXDOMAIN|SERVFAIL|REFUSED)/);
});

test("a bound address works from its adapter only, also after a restart, and ARP does not move it", async () => {
  await network?.close({ removeRules: true });
  const macOf = async (namespace: "vchtest-a" | "vchtest-b"): Promise<string> =>
    /link\/ether (\S+)/.exec((await inside(namespace, "ip", "link", "show", "dev", "eth0")).output)?.[1] ?? "";
  const reaches = async (from: string = GUEST_ADDRESSES["vchtest-a"]): Promise<boolean> =>
    (await inside("vchtest-a", "ping", "-c", "1", "-W", "1", "-I", from, GATEWAY)).exitCode === 0;
  const bridge = await open({ checkSources: true });
  expect(await reaches()).toBe(false);
  await bridge.bind([
    { address: A.address, macAddress: await macOf("vchtest-a") },
    { address: B.address, macAddress: await macOf("vchtest-b") },
  ]);
  expect(await reaches()).toBe(true);
  await inside("vchtest-a", "ip", "addr", "add", `${B.address}/24`, "dev", "eth0");
  try {
    expect(await reaches(B.address)).toBe(false);
    expect((await inside("vchtest-a", "arping", "-U", "-c", "1", "-I", "eth0", B.address)).exitCode).toBe(0);
    expect((await run(...get(`http://${B.address}/`))).output).toStartWith("vchtest-b");
  } finally {
    await inside("vchtest-a", "ip", "addr", "del", `${B.address}/24`, "dev", "eth0");
  }
  await bridge.close({ removeRules: false });
  const again = await open({ checkSources: true });
  expect(await reaches()).toBe(true);
  await again.reconcile([], [{ address: B.address, macAddress: await macOf("vchtest-b") }]);
  expect(await reaches()).toBe(false);
  await again.unbind([B.address, "172.31.250.77"]);
  expect((await run("ip", "neigh", "show", "dev", BRIDGE, "nud", "permanent")).output).toBe("");
});
