/** The tether's DHCP client against dnsmasq, each in a network namespace. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomInt } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeDhcpFrame } from "../../src/format/dhcp-frame.ts";
import { encodeDhcpRequest } from "../../src/format/dhcp-message.ts";
import { run } from "./namespaces.ts";

const SERVER = "vchdhcp-server";
const CLIENT = "vchdhcp-client";
const ADDRESS = /^10\.66\.0\.1[0-3]$/;
const LIMIT = 60_000;

const directory = mkdtempSync(join(tmpdir(), "vch-dhcp-"));
const leaseFile = join(directory, "client.json");
let hardware = "";
let server: Bun.Subprocess<"ignore", "ignore", "pipe">;
let serverLog = "";

const must = async (...command: string[]): Promise<string> => {
  const { exitCode, output } = await run(...command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${output}`);
  return output;
};

const removeNamespaces = async (): Promise<void> => {
  for (const name of [SERVER, CLIENT]) await run("ip", "netns", "del", name);
};

beforeAll(async () => {
  await removeNamespaces();
  for (const name of [SERVER, CLIENT]) await must("ip", "netns", "add", name);
  await must("ip", "link", "add", "eth0", "netns", SERVER, "type", "veth", "peer", "name", "eth0", "netns", CLIENT);
  await must("ip", "-n", SERVER, "addr", "add", "10.66.0.1/24", "dev", "eth0");
  for (const name of [SERVER, CLIENT]) await must("ip", "-n", name, "link", "set", "eth0", "up");
  hardware = (await must("ip", "netns", "exec", CLIENT, "cat", "/sys/class/net/eth0/address")).trim();
  // Four addresses; renewal is asked for after five seconds, as dnsmasq gives no lease below two minutes.
  const options = [
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--log-facility=-",
    "--log-dhcp",
    "--user=root",
    "--port=0",
    "--no-ping",
    "--pid-file",
    "--dhcp-authoritative",
    "--interface=eth0",
    "--bind-interfaces",
    `--dhcp-leasefile=${directory}/leases`,
    "--dhcp-range=10.66.0.10,10.66.0.13,2m",
    "--dhcp-option=option:T1,5",
    "--dhcp-option=6,10.66.0.2",
    "--domain=lab.example",
  ];
  server = Bun.spawn(["ip", "netns", "exec", SERVER, "dnsmasq", ...options], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  void (async () => {
    for await (const bytes of server.stderr) serverLog += Buffer.from(bytes).toString();
  })();
  await until(() => serverLog.includes("DHCP, IP range"), "dnsmasq did not start");
});

afterAll(async () => {
  server.kill();
  await server.exited;
  await removeNamespaces();
  rmSync(directory, { recursive: true, force: true });
});

async function until(happened: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + LIMIT;
  while (!happened()) {
    if (Date.now() > deadline) throw new Error(`${what}\n${serverLog.slice(-3000)}`);
    await Bun.sleep(50);
  }
}

interface Told {
  event: string;
  address?: string;
  message?: string;
  [field: string]: unknown;
}

/** Starts the client; its events are gathered as they come. */
function startClient(environment: Record<string, string> = {}) {
  const told: Told[] = [];
  const child = Bun.spawn(
    [
      "ip",
      "netns",
      "exec",
      CLIENT,
      process.execPath,
      join(import.meta.dir, "dhcp-client.ts"),
      "eth0",
      hardware,
      leaseFile,
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit", env: { ...process.env, ...environment } },
  );
  const reading = (async () => {
    let text = "";
    for await (const bytes of child.stdout) {
      text += Buffer.from(bytes).toString();
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) told.push(JSON.parse(line) as Told);
    }
  })();
  return {
    told,
    event: async (name: string): Promise<Told> => {
      await until(
        () => told.some(({ event }) => event === name),
        `the client did not tell "${name}": ${JSON.stringify(told)}`,
      );
      return told.find(({ event }) => event === name) as Told;
    },
    stop: async (): Promise<void> => {
      child.kill("SIGTERM");
      await child.exited;
      await reading;
    },
  };
}

test("a lease with everything in it, renewed from its server alone, and given back", async () => {
  const client = startClient();
  const lease = await client.event("acquired");
  expect(lease.address).toMatch(ADDRESS);
  expect(lease).toMatchObject({
    prefixLength: 24,
    gateway: "10.66.0.1",
    nameServers: ["10.66.0.2"],
    search: ["lab.example"],
    expiry: 120,
    renewal: 5,
  });
  expect(readFileSync(join(directory, "leases"), "utf8")).toContain(`${hardware} ${lease.address} unit`);
  await until(() => client.told.filter(({ event }) => event === "kept").length >= 2, "the lease was not renewed");
  expect(client.told.map(({ event }) => event)).not.toContain("changed");
  await client.stop();
  await until(() => serverLog.includes(`DHCPRELEASE(eth0) ${lease.address}`), "the lease was not given back");
  expect(client.told.at(-1)).toEqual({ event: "released" });
});

test("the next run asks for the same address", async () => {
  const { address } = JSON.parse(readFileSync(leaseFile, "utf8")) as { address: string };
  const client = startClient();
  expect((await client.event("acquired")).address).toBe(address);
  await client.stop();
});

test("an address of another network is refused by the server, and another one is had", async () => {
  const kept = JSON.parse(readFileSync(leaseFile, "utf8")) as object;
  writeFileSync(leaseFile, JSON.stringify({ ...kept, address: "10.99.0.5", obtained: Date.now() }));
  const before = serverLog.length;
  const client = startClient();
  expect((await client.event("acquired")).address).toMatch(ADDRESS);
  expect(serverLog.slice(before)).toContain("DHCPNAK(eth0) 10.99.0.5");
  await client.stop();
});

test("somebody who takes all addresses: who has one keeps it, who has none is told so", async () => {
  const holder = startClient();
  const { address } = await holder.event("acquired");
  for (let index = 0; index < 12; index++) await takeAddress(index);
  await until(() => serverLog.includes("no address available"), "the pool did not run out");
  const from = holder.told.filter(({ event }) => event === "kept").length;
  await until(() => holder.told.filter(({ event }) => event === "kept").length > from, "the lease was not renewed");
  expect(holder.told.every((told) => told.address === undefined || told.address === address)).toBe(true);
  await holder.stop();
  // Its address may be free again, and goes to a stranger at once.
  for (let index = 20; index < 24; index++) await takeAddress(index);
  const late = startClient({ VCH_TEST_LIMIT: "4000" });
  expect(await late.event("failed")).toMatchObject({ message: "no DHCP server gave an address within 4 s" });
  await late.stop();
});

/** What a hostile container does: asks for an address under a made-up name, and takes it. */
async function takeAddress(index: number): Promise<void> {
  const made = `02:66:00:00:00:${index.toString(16).padStart(2, "0")}`;
  const transaction = randomInt(2 ** 32);
  const before = serverLog.length;
  await send({ type: 1, transaction, hardwareAddress: made });
  const offered = (): string | undefined => /DHCPOFFER\(eth0\) (\S+)/.exec(serverLog.slice(before))?.[1];
  const answered = (): boolean => offered() !== undefined || serverLog.slice(before).includes("no address available");
  await until(answered, "a made-up client got no answer");
  const address = offered();
  if (address === undefined) return;
  await send({ type: 3, transaction, hardwareAddress: made, requestedAddress: address, serverIdentifier: "10.66.0.1" });
  await until(() => serverLog.slice(before).includes("DHCPACK(eth0)"), "a made-up client got no address");
}

async function send(request: Omit<Parameters<typeof encodeDhcpRequest>[0], "seconds">): Promise<void> {
  const frame = encodeDhcpFrame({
    sourceHardware: request.hardwareAddress,
    targetHardware: "ff:ff:ff:ff:ff:ff",
    sourceAddress: "0.0.0.0",
    targetAddress: "255.255.255.255",
    message: encodeDhcpRequest({ ...request, seconds: 0 }),
  });
  const sending = `import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0)); s.send(bytes.fromhex(sys.argv[1]))`;
  await must("ip", "netns", "exec", CLIENT, "python3", "-c", sending, Buffer.from(frame).toString("hex"));
}
