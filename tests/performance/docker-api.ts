/**
 * Throughput of the Docker API. Read-only calls in turn with podman's Docker-compatible service, which gets as many containers; and,
 * of the endpoint alone, events with many listeners, attach and cp, and the memory of attach streams on which nothing happens.
 * The client is curl, over unix sockets. usage: bun tests/performance/docker-api.ts [--containers 1000] [--rounds 5] [--alone]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type ApiServer, startEndpoint, startPodman, usage } from "./docker-api/servers.ts";
import { eventsWith, idleAttachMemory, streamRates } from "./docker-api/streams.ts";
import { median } from "./table.ts";

const { values: options } = parseArgs({
  options: {
    containers: { type: "string", default: "1000" },
    rounds: { type: "string", default: "5" },
    streams: { type: "string", default: "1000" },
    listeners: { type: "string", default: "100" },
    /** Without podman. */
    alone: { type: "boolean", default: false },
  },
});
const containers = Number(options.containers);

interface Call {
  name: string;
  path: string;
}
const PARALLEL = 16;
/** A round has as many requests as take about so long, one after another on one connection or on `PARALLEL` ones. */
const ROUND_MILLISECONDS = 700;
const MOST_REQUESTS = 5000;
/** What no call may take. */
const LIMIT_SECONDS = 60;
const CALLS: readonly Call[] = [
  { name: "/_ping", path: "/_ping" },
  { name: "/version", path: "/v1.40/version" },
  { name: `/containers/json, ${containers} containers`, path: "/v1.40/containers/json?all=1" },
  {
    name: "/containers/json, filtered by label",
    path: `/v1.40/containers/json?all=1&filters=${encodeURIComponent('{"label":["number=7"]}')}`,
  },
  { name: "/containers/NAME/json", path: "/v1.40/containers/c7/json" },
  { name: "/info", path: "/v1.40/info" },
];

/** Milliseconds per request: waited, and of the server's CPU. */
async function round(
  server: ApiServer,
  call: Call,
  parallel: boolean,
  requests: number,
): Promise<{ wall: number; cpu: number }> {
  const url = `http://d${call.path}${call.path.includes("?") ? "&" : "?"}n=[1-${requests}]`;
  const more = parallel ? ["--parallel", "--parallel-max", String(PARALLEL)] : [];
  const before = await usage(server.pid);
  const started = performance.now();
  await Bun.$`curl -sS --fail --max-time ${LIMIT_SECONDS} -o /dev/null ${more} --unix-socket ${server.socket} ${url}`.quiet();
  const wall = (performance.now() - started) / requests;
  return { wall, cpu: ((await usage(server.pid)).cpu - before.cpu) / requests };
}

async function compare(servers: readonly ApiServer[], call: Call, parallel: boolean): Promise<void> {
  const found = new Map(servers.map(({ name }) => [name, [] as { wall: number; cpu: number }[]]));
  const requests = new Map<string, number>();
  for (const server of servers) {
    let count = 5;
    // Also what warms both up.
    while (count < MOST_REQUESTS) {
      const { wall } = await round(server, call, parallel, count);
      const fitting = Math.round(ROUND_MILLISECONDS / wall);
      if (fitting < count * 2) break;
      count = Math.min(MOST_REQUESTS, count * 4, fitting);
    }
    requests.set(server.name, count);
  }
  for (let number = 0; number < Number(options.rounds); number++)
    for (const server of servers)
      found.get(server.name)?.push(await round(server, call, parallel, requests.get(server.name) ?? 5));
  const cells = servers.map(({ name }) => {
    const all = found.get(name) ?? [];
    return { wall: median(all.map(({ wall }) => wall)), cpu: median(all.map(({ cpu }) => cpu)) };
  });
  const [ours, other] = cells;
  console.log(
    `| ${call.name}${parallel ? `, ${PARALLEL} connections` : ""} | ${cells
      .flatMap(({ wall, cpu }) => [wall.toFixed(2), cpu.toFixed(2)])
      .join(" | ")} |${ours && other ? ` ${(other.wall / ours.wall).toFixed(1)} |` : ""}`,
  );
}

const directory = await mkdtemp(join(tmpdir(), "vch-api-bench-"));
const servers: ApiServer[] = [];
try {
  const endpoint = await startEndpoint(directory, containers);
  servers.push(endpoint);
  const podman = options.alone ? undefined : await startPodman(directory, containers);
  if (podman) servers.push(podman);
  console.log(
    `| call | ${servers.map(({ name }) => `${name}: ms | ${name}: CPU ms`).join(" | ")} |${podman ? " times as fast |" : ""}`,
  );
  console.log(`| --- |${" --- |".repeat(servers.length * 2 + (podman ? 1 : 0))}`);
  for (const parallel of [false, true]) for (const call of CALLS) await compare(servers, call, parallel);
  await podman?.stop();
  servers.splice(1);
  for (const line of await eventsWith(endpoint, Number(options.listeners))) console.log(line);
  for (const line of await streamRates(endpoint)) console.log(line);
  for (const line of await idleAttachMemory(endpoint, Number(options.streams))) console.log(line);
} finally {
  for (const server of servers) await server.stop();
  await rm(directory, { recursive: true, force: true });
}
