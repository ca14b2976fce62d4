/**
 * A cold `docker run --rm IMAGE true`, phase by phase, against the bare boot of the same kernel in the same machine with an
 * init that does nothing. The two take turns, so that both see the same load of the host.
 *
 * usage: tests/e2e/with-environment bun tests/performance/cold-run.ts [--runs N] [--json]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { RunTimes } from "../../src/engine/contract.ts";
import { dockerGet } from "../../src/machine/docker-client.ts";
import { statePaths } from "../../src/machine/paths.ts";
import { readSettings } from "../../src/machine/settings.ts";
import { Session } from "../../src/vsphere/session.ts";
import { type BareTimes, makeBareMachine } from "./bare/bare-boot.ts";
import { median, printTable } from "./table.ts";

const { values: options } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
    direct: { type: "boolean", default: false },
    state: { type: "string", default: process.env.VCH_E2E_STATE ?? process.env.VCH_STATE ?? "/var/lib/vch" },
    image: { type: "string", default: "busybox" },
  },
});

const now = (): number => performance.timeOrigin + performance.now();
const paths = statePaths(options.state);
const settings = await readSettings(paths);
if (settings?.lab === undefined) throw new Error(`${options.state} has no lab: start one with \`vch up\``);
const session = await Session.open(settings.vsphere);

/** Times of vSphere's own events about a VM, by type. */
async function eventsOf(vm: string): Promise<Record<string, number>> {
  const { eventManager } = session.content;
  if (!eventManager) throw new Error("vSphere has no event manager");
  const events = await session.call("QueryEvents", eventManager, { filter: { disableFullMessage: true } });
  const ours = events.filter((event) => event.vm?.name.startsWith(`${vm}-`));
  return Object.fromEntries(ours.map((event) => [event._type, event.createdTime.getTime()]));
}

/** Phases of one run in milliseconds; their sum is the total. */
type Phases = Record<string, number>;

async function coldRun(name: string): Promise<Phases> {
  const begun = now();
  const child = Bun.spawn(["docker", "run", "--rm", "--name", name, options.image, "true"], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const code = await child.exited;
  const ended = now();
  if (code !== 0) throw new Error(`docker run failed: ${await child.stderr.text()}`);
  const run = (await dockerGet<RunTimes[]>(paths, "/vch/runs")).find((candidate) => candidate.name === name);
  if (run === undefined) throw new Error(`the endpoint knows no times of ${name}`);
  return phasesOf(run, await eventsOf(name), begun, ended);
}

function phasesOf({ steps, guest }: RunTimes, events: Record<string, number>, begun: number, ended: number): Phases {
  const powered = events.VmPoweredOnEvent ?? Number.NaN;
  const off = events.VmPoweredOffEvent ?? Number.NaN;
  const firmware = guest["init.firmware"] ?? Number.NaN;
  // The guest counts from where its kernel began.
  const kernelBegan = powered + firmware;
  const step = (key: string): number => steps[key] ?? Number.NaN;
  const inGuest = (key: string): number => kernelBegan + (guest[key] ?? Number.NaN);
  const ends: [string, number][] = [
    ["docker CLI and API", step("create")],
    ["create the VM and its disk", step("created")],
    ["attach and ask for the start", step("start")],
    ["start: ports, configuration", step("configured")],
    ["power on: QEMU, QMP, network", powered],
    ["firmware, boot loader, unpacking", kernelBegan],
    ["kernel", inGuest("init.start")],
    ["init: drivers", inGuest("init.modules")],
    ["init: CD-ROM", inGuest("init.medium")],
    ["init: the rest", inGuest("init.root")],
    ["tether: program loaded", inGuest("program")],
    ["tether: configured", inGuest("configured")],
    ["tether: RW disk mounted", inGuest("disks")],
    ["tether: root built", inGuest("mounts")],
    ["tether: network up", inGuest("network")],
    ["tether: process started", inGuest("process")],
    ["process ended", inGuest("exited")],
    ["output delivered, VM off", off],
    ["VM destroyed", step("destroyed")],
    ["docker CLI ends", ended],
  ];
  let before = begun;
  const phases: Phases = {};
  for (const [name, at] of ends) {
    phases[name] = at - before;
    before = at;
  }
  return { ...phases, total: ended - begun };
}

const folder = await mkdtemp(join(tmpdir(), "vch-cold-run-"));
const bare = await makeBareMachine({
  bootstrapIso: paths.iso,
  folder,
  cpus: settings.defaults.cpus,
  memoryMB: settings.defaults.memoryMB,
  directBoot: options.direct,
});
try {
  const count = Number(options.runs);
  const pairs: { bare: BareTimes; run: Phases }[] = [];
  // The first of each fills caches and waits for the loader VM of `vch up` to end; it does not count.
  await bare.boot();
  await coldRun(`cold-${process.pid}-warm`);
  for (let index = 0; index < count; index++)
    pairs.push({ bare: await bare.boot(), run: await coldRun(`cold-${process.pid}-${index}`) });

  const ratios = pairs.map((pair) => (pair.run.total ?? Number.NaN) / pair.bare.total);
  if (options.json) console.log(JSON.stringify({ accelerator: bare.accelerator, pairs, ratios }));
  else {
    console.log(`${count} pairs, ${bare.accelerator.kind} (${bare.accelerator.reason}); milliseconds\n`);
    const column = (key: keyof BareTimes): number[] => pairs.map((pair) => pair.bare[key]);
    printTable("bare boot", [
      ["power on: QEMU, QMP, network", column("powerOn")],
      ["firmware, boot loader, unpacking", column("firmware")],
      ["kernel", column("kernel")],
      ["power off", column("powerOff")],
      ["total", column("total")],
    ]);
    console.log();
    const names = Object.keys(pairs[0]?.run ?? {});
    printTable(
      "docker run --rm",
      names.map((name) => [name, pairs.map((pair) => pair.run[name] ?? Number.NaN)]),
    );
    const percent = (value: number): string => value.toFixed(2);
    const least = Math.min(...pairs.map((pair) => pair.run.total ?? Number.NaN));
    const leastBare = Math.min(...column("total"));
    console.log(
      `\nratio, pair by pair: median ${percent(median(ratios))}, ${ratios.map(percent).join(" ")}; of the two minima: ${percent(least / leastBare)}`,
    );
  }
} finally {
  await bare.close();
  await session.close();
  await rm(folder, { recursive: true, force: true });
}
