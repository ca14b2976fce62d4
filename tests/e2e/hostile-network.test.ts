/** A container that forges addresses: what it sends goes nowhere, and its neighbours notice nothing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, image, removeContainers, run, uniqueName } from "./docker.ts";

const network = uniqueName("hostile");
const victim = uniqueName("victim");
const attacker = uniqueName("attacker");
const VICTIM = "10.95.0.10";
const GATEWAY = "10.95.0.1";
const VICTIM6 = "fd00:95::10";
const GATEWAY6 = "fd00:95::1";
const PROGRAM = readFileSync(join(import.meta.dir, "hostile.pl"), "utf8");

/** Runs a script in the container that may change its network. */
const attack = async (script: string): Promise<string> => (await docker(["exec", attacker, "sh", "-c", script])).stdout;
/** The same in a container of its own, for what would cut the control link of the other. */
const attackAlone = async (script: string): Promise<string> =>
  (await docker(["run", "--rm", "--cap-add", "NET_ADMIN", "--network", network, BUSYBOX, "sh", "-c", script])).stdout;
/** Runs tests/e2e/hostile.pl there. */
async function send(...words: string[]): Promise<void> {
  const result = await docker(["exec", "-i", attacker, "perl", "-", ...words], { input: PROGRAM });
  expect(result).toMatchObject({ code: 0, stdout: expect.stringMatching(/^sent [1-9]/) });
}
const reaches = (word: string, command: string): string =>
  `${command} >/dev/null 2>&1 && echo ${word} || echo no-${word}`;
const victimServes = async (host = "127.0.0.1"): Promise<boolean> =>
  (await run(["curl", "-sS", "--max-time", "10", `http://${host}:18195/`])).stdout === "victim\n";

beforeAll(async () => {
  await Promise.all([dockerOk("pull", "-q", BUSYBOX), dockerOk("pull", "-q", image("perl"))]);
  await dockerOk("network", "create", "--subnet", "10.95.0.0/24", "--ipv6", "--subnet", "fd00:95::/64", network);
  const script = "mkdir /www; echo victim >/www/index.html; exec httpd -f -p 80 -h /www";
  const options = ["--network", network, "--ip", VICTIM, "--ip6", VICTIM6, "-p", "18195:80"];
  const rights = ["--cap-add", "NET_ADMIN", "--network", network];
  await Promise.all([
    dockerOk("run", "-d", "--name", victim, ...options, BUSYBOX, "sh", "-c", script),
    dockerOk("run", "-d", "--name", attacker, ...rights, image("perl"), "sleep", "100000"),
  ]);
});

afterAll(async () => {
  await removeContainers(victim, attacker);
  await dockerOk("network", "rm", network);
});

test("an address of somebody else, or of nobody, leads nowhere", async () => {
  const output = await attack(
    [
      reaches("gateway", `ping -c 1 -W 5 ${GATEWAY}`),
      "ip addr add 10.95.0.200/24 dev eth0",
      reaches("forged", `ping -c 1 -W 3 -I 10.95.0.200 ${GATEWAY}`),
      `ip addr add ${VICTIM}/24 dev eth0`,
      reaches("victims", `ping -c 1 -W 3 -I ${VICTIM} ${GATEWAY}`),
      `ip addr del 10.95.0.200/24 dev eth0; ip addr del ${VICTIM}/24 dev eth0`,
      reaches("gateway6", `ping -6 -c 1 -W 5 ${GATEWAY6}`),
      "ip addr add fd00:95::200/64 dev eth0",
      reaches("forged6", `ping -6 -c 1 -W 3 -I fd00:95::200 ${GATEWAY6}`),
      `ip addr add ${VICTIM6}/64 dev eth0`,
      reaches("victims6", `ping -6 -c 1 -W 3 -I ${VICTIM6} ${GATEWAY6}`),
      `ip addr del fd00:95::200/64 dev eth0; ip addr del ${VICTIM6}/64 dev eth0`,
    ].join("; "),
  );
  expect(output.trim().split("\n")).toEqual([
    "gateway",
    "no-forged",
    "no-victims",
    "gateway6",
    "no-forged6",
    "no-victims6",
  ]);
  expect(await victimServes()).toBe(true);
});

test("ARP that claims the victim's address does not draw its traffic", async () => {
  const attacking = attack(
    `ip addr add ${VICTIM}/24 dev eth0; for i in 1 2 3 4 5 6 7 8; do arping -U -c 1 -I eth0 -s ${VICTIM} ${VICTIM}; sleep 1; done`,
  );
  for (let request = 0; request < 5; request++) {
    expect(await victimServes()).toBe(true);
    await Bun.sleep(1500);
  }
  await attacking;
  await attack(`ip addr del ${VICTIM}/24 dev eth0`);
});

test("neighbour discovery that claims the victim's address, and a router's word, move nothing", async () => {
  const mac = (await attack("cat /sys/class/net/eth0/address")).trim();
  const sending = send("neighbours", mac, VICTIM6, "8");
  for (let request = 0; request < 5; request++) {
    expect(await victimServes("[::1]")).toBe(true);
    await Bun.sleep(1500);
  }
  await sending;
  const routes = await dockerOk("exec", victim, "sh", "-c", "ip -6 route; ip -6 addr show dev eth0");
  expect(routes).toContain(`default via ${GATEWAY6}`);
  expect(routes).not.toContain("fe80::bad");
  expect(routes).not.toContain("2001:db8:bad");
});

test("another MAC address sends nothing", async () => {
  const setMac = (mac: string): string => `ip link set eth0 down; ip link set eth0 address ${mac}; ip link set eth0 up`;
  const output = await attackAlone(
    [
      "own=$(cat /sys/class/net/eth0/address)",
      setMac("00:50:56:0a:0b:0c"),
      reaches("neighbour", `ping -c 1 -W 3 ${VICTIM}`),
      setMac("$own"),
      reaches("neighbour", `ping -c 1 -W 5 ${VICTIM}`),
    ].join("; "),
  );
  expect(output.trim().split("\n")).toEqual(["no-neighbour", "neighbour"]);
});

test("the gateway serves names and the control link, and nothing else", async () => {
  const { stdout } = await run(["ss", "-tlnH"]);
  const ports = [...new Set([...stdout.matchAll(/:(\d+)\s/g)].map((match) => Number(match[1])))];
  const others = ports.filter((port) => ![53, 2377, 18195].includes(port)).slice(0, 6);
  expect(others.length).toBeGreaterThan(1);
  const tries = [GATEWAY, GATEWAY6].flatMap((gateway) =>
    others.map((port) => ({ word: `${port}-of-${gateway}`, command: `nc -w 3 ${gateway} ${port} </dev/null` })),
  );
  const output = await attack(tries.map(({ word, command }) => reaches(word, command)).join("; "));
  expect(output.trim().split("\n")).toEqual(tries.map(({ word }) => `no-${word}`));
});

test("broken DNS messages stop nobody's resolver", async () => {
  for (const server of [GATEWAY, "127.0.0.11"]) await send("names", server, "800");
  for (const name of [victim, attacker])
    expect(await docker(["exec", name, "nslookup", victim])).toMatchObject({ code: 0 });
  // The gateway's own resolver, which knows the names too.
  expect(await docker(["exec", victim, "nslookup", victim, GATEWAY])).toMatchObject({ code: 0 });
});

test("a flood of questions leaves the neighbours' names alone", async () => {
  const flooding = attack(
    "for i in $(seq 1 400); do nslookup $i.invalid >/dev/null 2>&1 & done; sleep 8; kill $(jobs -p) 2>/dev/null; true",
  );
  const asking = await docker(["exec", victim, "nslookup", victim]);
  expect(asking).toMatchObject({ code: 0 });
  await flooding;
});
