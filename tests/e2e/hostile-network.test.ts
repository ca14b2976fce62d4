/** A container that forges addresses: what it sends goes nowhere, and its neighbours notice nothing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, removeContainers, run, uniqueName } from "./docker.ts";

const network = uniqueName("hostile");
const victim = uniqueName("victim");
const VICTIM = "10.95.0.10";
const GATEWAY = "10.95.0.1";

/** Runs a script in a container of its own that may change its network. */
const attack = async (script: string): Promise<string> =>
  (await docker(["run", "--rm", "--cap-add", "NET_ADMIN", "--network", network, BUSYBOX, "sh", "-c", script])).stdout;
const reaches = (word: string, command: string): string =>
  `${command} >/dev/null 2>&1 && echo ${word} || echo no-${word}`;
const victimServes = async (): Promise<boolean> =>
  (await run(["curl", "-sS", "--max-time", "10", "http://127.0.0.1:18195/"])).stdout === "victim\n";

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await dockerOk("network", "create", "--subnet", "10.95.0.0/24", network);
  const script = "mkdir /www; echo victim >/www/index.html; exec httpd -f -p 80 -h /www";
  const options = ["--network", network, "--ip", VICTIM, "-p", "18195:80"];
  await dockerOk("run", "-d", "--name", victim, ...options, BUSYBOX, "sh", "-c", script);
});

afterAll(async () => {
  await removeContainers(victim);
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
    ].join("; "),
  );
  expect(output.trim().split("\n")).toEqual(["gateway", "no-forged", "no-victims"]);
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
});

test("another MAC address sends nothing", async () => {
  const setMac = (mac: string): string => `ip link set eth0 down; ip link set eth0 address ${mac}; ip link set eth0 up`;
  const output = await attack(
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
  const output = await attack(
    [...others.map((port) => reaches(String(port), `nc -w 3 ${GATEWAY} ${port} </dev/null`)), "true"].join("; "),
  );
  expect(output.trim().split("\n")).toEqual(others.map((port) => `no-${port}`));
});

test("a flood of questions leaves the neighbours' names alone", async () => {
  const flooding = attack(
    "for i in $(seq 1 400); do nslookup $i.invalid >/dev/null 2>&1 & done; sleep 8; kill $(jobs -p) 2>/dev/null; true",
  );
  const asking = await docker(["exec", victim, "nslookup", victim]);
  expect(asking).toMatchObject({ code: 0 });
  await flooding;
});
