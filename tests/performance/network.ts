/**
 * Throughput and latency of TCP: container to container on one network, container to the outside through NAT, from outside to a
 * published port; each against the same two VMs on a Linux bridge without rules, in turn. The outside is a network namespace.
 *
 * usage: tests/e2e/with-environment bun tests/performance/network.ts [--rounds N] [--seconds N]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { statePaths } from "../../src/machine/paths.ts";
import { readSettings } from "../../src/machine/settings.ts";
import { median } from "./table.ts";
import { imageDiskOf, startBareMachines, untilListening } from "./traffic/bare-pair.ts";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    /** One byte there and back, this many times. */
    pings: { type: "string", default: "500" },
    state: { type: "string", default: process.env.VCH_E2E_STATE ?? process.env.VCH_STATE ?? "/var/lib/vch" },
    image: { type: "string", default: `${process.env.VCH_E2E_REGISTRY ?? ""}/debian:latest` },
  },
});
const AGENT = await Bun.file(join(import.meta.dir, "traffic/agent.pl")).text();
const PORT = 5001;
const PUBLISHED = 15001;
const NETWORK = `traffic-${process.pid}`;
const OUTSIDE = "vch-traffic";
const BRIDGE = "vchtraffic0";
/** The namespace's address behind this machine, and its other one, on the bare bridge. */
const [OUTSIDE_ADDRESS, HOST_ADDRESS] = ["10.99.5.2", "10.99.5.1"];
const [BARE_OUTSIDE, BARE_HOST, ...BARE] = ["10.99.6.2", "10.99.6.1", "10.99.6.11", "10.99.6.12"];

interface Measured {
  megabits: number;
  microseconds: number;
}

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ").slice(0, 200)}: ${errors}`);
  return out.trim();
}
const docker = (...words: string[]): Promise<string> => run("docker", ...words);
const inOutside = ["ip", "netns", "exec", OUTSIDE];
const perl = (...words: string[]): string[] => ["perl", "-e", AGENT, ...words];

async function makeOutside(): Promise<void> {
  const veth = (host: string, name: string): string =>
    `ip link add ${host} type veth peer name ${name} netns ${OUTSIDE}; ip link set ${host} up; ip -n ${OUTSIDE} link set ${name} up`;
  await run(
    "sh",
    "-ec",
    `ip netns add ${OUTSIDE}; ip -n ${OUTSIDE} link set lo up; ${veth("vchtraffic1", "eth0")}; ${veth("vchtraffic2", "eth1")}
     ip addr add ${HOST_ADDRESS}/24 dev vchtraffic1; ip -n ${OUTSIDE} addr add ${OUTSIDE_ADDRESS}/24 dev eth0
     ip link add ${BRIDGE} type bridge; ip addr add ${BARE_HOST}/24 dev ${BRIDGE}; ip link set ${BRIDGE} up
     ip link set vchtraffic2 master ${BRIDGE}; ip -n ${OUTSIDE} addr add ${BARE_OUTSIDE}/24 dev eth1`,
  );
}

/** Whatever of it is there. */
async function removeOutside(): Promise<void> {
  await run("sh", "-c", `ip netns del ${OUTSIDE} 2>/dev/null; ip link del ${BRIDGE} 2>/dev/null; true`);
}

/** Has the agent at `agent` measure towards `target`. */
async function measureFrom(agent: string, target: string): Promise<Measured> {
  const answered = Promise.withResolvers<string>();
  let text = "";
  const socket = await Bun.connect({
    hostname: agent,
    port: PORT,
    socket: {
      data: (_socket, bytes) => {
        text += bytes.toString();
      },
      close: () => answered.resolve(text),
      error: (_socket, error) => answered.reject(error),
    },
  });
  socket.write(`C${target} ${PORT} ${options.seconds} ${options.pings}\n`);
  return JSON.parse(await answered.promise) as Measured;
}

async function measureFromOutside(host: string, port: number): Promise<Measured> {
  const words = perl("measure", host, String(port), options.seconds, options.pings);
  return JSON.parse(await run(...inOutside, ...words)) as Measured;
}

const paths = statePaths(options.state);
const settings = await readSettings(paths);
if (settings?.lab === undefined) throw new Error(`${options.state} has no lab: start one with \`vch up\``);
const folder = await mkdtemp("/var/tmp/vch-traffic-");
const containers = [`${NETWORK}-a`, `${NETWORK}-b`];
let bare: { close(): Promise<void> } | undefined;
let outside: Bun.Subprocess | undefined;

try {
  await removeOutside();
  await makeOutside();
  outside = Bun.spawn([...inOutside, ...perl("serve", String(PORT))], { stdio: ["ignore", "ignore", "inherit"] });
  await docker("pull", "-q", options.image);
  await docker("network", "create", NETWORK);
  const serve = perl("serve", String(PORT));
  for (const [index, name] of containers.entries()) {
    const publish = index === 0 ? ["-p", `${PUBLISHED}:${PORT}`] : [];
    await docker("run", "-d", "--name", name, "--network", NETWORK, ...publish, options.image, ...serve);
  }
  const [first = "", second = ""] = await Promise.all(
    containers.map((name) =>
      docker("inspect", "-f", `{{(index .NetworkSettings.Networks "${NETWORK}").IPAddress}}`, name),
    ),
  );
  bare = await startBareMachines({
    bootstrapIso: paths.iso,
    folder,
    datastore: paths.datastore,
    imageDisk: await imageDiskOf(
      join(paths.datastore, "vch", settings.name),
      await docker("image", "inspect", "-f", "{{.Id}}", options.image),
    ),
    cpus: settings.defaults.cpus,
    memoryMB: settings.defaults.memoryMB,
    bridge: BRIDGE,
    addresses: BARE,
    command: serve,
  });
  const [bareFirst = "", bareSecond = ""] = BARE;
  for (const host of [first, second, bareFirst, bareSecond]) await untilListening(host, PORT);

  const ways: { name: string; ours: () => Promise<Measured>; bare: () => Promise<Measured> }[] = [
    {
      name: "container to container",
      ours: () => measureFrom(second, first),
      bare: () => measureFrom(bareSecond, bareFirst),
    },
    {
      name: "container to outside, NAT",
      ours: () => measureFrom(second, OUTSIDE_ADDRESS),
      bare: () => measureFrom(bareSecond, BARE_OUTSIDE),
    },
    {
      name: "outside to published port",
      ours: () => measureFromOutside(HOST_ADDRESS, PUBLISHED),
      bare: () => measureFromOutside(bareFirst, PORT),
    },
  ];
  const rows: string[] = [];
  for (const way of ways) {
    // One of each first: translated code and caches are the same for both then.
    await way.ours();
    await way.bare();
    const pairs: { ours: Measured; bare: Measured }[] = [];
    for (let round = 0; round < Number(options.rounds); round++)
      pairs.push({ bare: await way.bare(), ours: await way.ours() });
    const of = (side: "ours" | "bare", key: keyof Measured): number => median(pairs.map((pair) => pair[side][key]));
    const throughput = median(pairs.map((pair) => pair.ours.megabits / pair.bare.megabits));
    const latency = median(pairs.map((pair) => pair.bare.microseconds / pair.ours.microseconds));
    const cells = [of("bare", "megabits").toFixed(0), of("ours", "megabits").toFixed(0), throughput.toFixed(2)];
    cells.push(of("bare", "microseconds").toFixed(0), of("ours", "microseconds").toFixed(0), latency.toFixed(2));
    rows.push(`| ${way.name} | ${cells.join(" | ")} |`);
  }
  console.log(
    "| way | bare, Mbit/s | vch | ratio | bare, µs | vch | ratio (bare / vch) |\n|---|---|---|---|---|---|---|",
  );
  console.log(rows.join("\n"));
} finally {
  outside?.kill();
  await bare?.close();
  await docker("rm", "-f", ...containers).catch((error: unknown) => console.error(String(error)));
  await docker("network", "rm", NETWORK).catch((error: unknown) => console.error(String(error)));
  await removeOutside();
  await rm(folder, { recursive: true, force: true });
}
