/**
 * The lab beside govmomi's simulator, and the driver as client of both. Both serve as vCenter, have 1,000 VMs that the driver made, and run
 * no machine: the lab has a hypervisor that only keeps books. The same requests go to both, as ready bytes over kept connections, and
 * their answers are not decoded, so that the client takes little of the time. Rounds of the two servers take turns.
 *
 * usage: bun tests/performance/vim25-servers.ts [VMS] [ROUNDS] [vcsim|lab]
 */
import { connectVSphere, type VirtualMachineReference, type VSphere } from "../../src/vsphere/index.ts";
import { viewFilter } from "../../src/vsphere/properties.ts";
import { Session } from "../../src/vsphere/session.ts";
import { machine } from "../vsphere/machines.ts";
import { type RunningServer, SERVERS, stateFolder } from "../vsphere/servers.ts";
import { cpuSeconds, residentMegabytes } from "./process-usage.ts";
import { median } from "./table.ts";
import { prepare, RawClient, RawWatcher } from "./vim25-raw-client.ts";

const VMS = Number(Bun.argv[2] ?? 1000);
const ROUNDS = Number(Bun.argv[3] ?? 3);
const ONLY = Bun.argv[4];
const LOGINS = 200;
const AT_ONCE = 8;
const CREATIONS_AT_ONCE = 32;
const SMALL_RETRIEVALS = 20;
const LARGE_RETRIEVALS = 2;
const DRIVER_VIEWS = 3;
const WATCHERS = 100;
const CLOSE_LIMIT_MILLISECONDS = 5000;
const CHANGES = 4;
const FEW = ["name", "runtime.powerState", "config.uuid"];
const MUCH = ["name", "config", "runtime", "summary"];

interface Measure {
  /** Operations per second. */
  rate: number;
  /** Processor time for one operation, in milliseconds. */
  server: number;
  client: number;
  /** Resident memory after it, in megabytes. */
  serverMemory: number;
  clientMemory: number;
}

class Bench {
  readonly results = new Map<string, Measure[]>();
  readonly machines: VirtualMachineReference[] = [];

  private constructor(
    readonly name: string,
    readonly server: RunningServer,
    readonly network: string,
    readonly vsphere: VSphere,
    readonly session: Session,
    readonly raw: RawClient,
  ) {}

  static async open(name: string, server: RunningServer, network: string): Promise<Bench> {
    const vsphere = await connectVSphere(server.target);
    const session = await Session.open(server.target);
    const raw = await RawClient.login(server.target, session.content);
    return new Bench(name, server, network, vsphere, session, raw);
  }

  /** The server is stopped next, whether or not it answers. */
  async close(): Promise<void> {
    const closing = Promise.allSettled([this.raw.logout(), this.session.close(), this.vsphere.close()]);
    await Promise.race([closing, Bun.sleep(CLOSE_LIMIT_MILLISECONDS)]);
  }

  async measure(what: string, operations: number, work: () => Promise<unknown>): Promise<void> {
    const { pid } = this.server;
    const started = { server: cpuSeconds(pid), client: cpuSeconds(process.pid), now: performance.now() };
    await work();
    const seconds = (performance.now() - started.now) / 1000;
    const each = (cpu: number): number => (cpu * 1000) / operations;
    const measure: Measure = {
      rate: operations / seconds,
      server: each(cpuSeconds(pid) - started.server),
      client: each(cpuSeconds(process.pid) - started.client),
      serverMemory: residentMegabytes(pid),
      clientMemory: residentMegabytes(process.pid),
    };
    this.results.set(what, [...(this.results.get(what) ?? []), measure]);
    const cpu = `server ${measure.server.toFixed(2)} ms, client ${measure.client.toFixed(2)} ms`;
    const memory = `server ${measure.serverMemory} MB, client ${measure.clientMemory} MB`;
    console.error(
      `${this.name.padEnd(6)} ${what.padEnd(52)} ${measure.rate.toPrecision(3).padStart(8)}/s  ${cpu}  ${memory}`,
    );
  }
}

/** Runs `work` for 0 … count - 1, so many at a time. */
async function each(count: number, atOnce: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

const create = (bench: Bench, round: number): Promise<void> =>
  bench.measure("driver: CreateVM_Task, until the task has ended", VMS, () =>
    each(VMS, CREATIONS_AT_ONCE, async (index) => {
      const adapters = [{ network: bench.network, connected: false }];
      const spec = machine(bench.vsphere, `vm-${round}-${index}`, { networkAdapters: adapters });
      bench.machines.push(await bench.vsphere.createVm(spec));
    }),
  );

const destroy = (bench: Bench): Promise<void> =>
  bench.measure("driver: removal with its files", VMS, async () => {
    const machines = bench.machines.splice(0);
    await each(machines.length, CREATIONS_AT_ONCE, async (index) => {
      const vm = machines[index];
      if (vm) await bench.vsphere.destroyVm(vm, { keepDisks: [] });
    });
  });

const login = (bench: Bench): Promise<void> =>
  bench.measure("Login and Logout", LOGINS, () =>
    each(LOGINS, AT_ONCE, async () => {
      const client = await RawClient.login(bench.server.target, bench.session.content);
      await client.logout();
    }),
  );

async function retrieve(bench: Bench): Promise<void> {
  const { content } = bench.session;
  if (!content.viewManager) throw new Error("no view manager");
  const container = { container: content.rootFolder, type: ["VirtualMachine"], recursive: true };
  const view = await bench.raw.reference(prepare("CreateContainerView", content.viewManager, container));
  const retrieval = (pathSet: string[]): string =>
    prepare("RetrievePropertiesEx", content.propertyCollector, {
      specSet: [viewFilter(view, { VirtualMachine: pathSet })],
      options: {},
    });
  for (const [what, paths, count] of [
    ["3 properties", FEW, SMALL_RETRIEVALS],
    [MUCH.join(", "), MUCH, LARGE_RETRIEVALS],
  ] as const) {
    const body = retrieval([...paths]);
    let length = 0;
    await bench.measure(`RetrievePropertiesEx of ${VMS} VMs: ${what}`, count, () =>
      each(count, 2, async () => {
        const text = await bench.raw.send(body);
        length = text.length;
        if (text.split("<objects>").length - 1 !== VMS) throw new Error("not all VMs are in the answer");
      }),
    );
    console.error(`       ${what}: ${(length / 1e6).toFixed(2)} MB`);
  }
  await bench.measure(`driver: a live view of ${VMS} VMs, complete`, DRIVER_VIEWS, () =>
    each(DRIVER_VIEWS, 1, async () => {
      const live = await bench.vsphere.openView();
      if (live.list().length !== VMS) throw new Error(`${live.list().length} VMs`);
      await live.close();
    }),
  );
}

async function watch(bench: Bench): Promise<void> {
  const { content } = bench.session;
  const watchers: RawWatcher[] = [];
  await bench.measure(`${WATCHERS} watchers have their first set of ${VMS} VMs`, WATCHERS, async () => {
    await each(WATCHERS, AT_ONCE, async () => {
      watchers.push(await RawWatcher.open(bench.server.target, content, ["runtime.powerState"], VMS));
    });
    await Promise.all(watchers.map(({ ready }) => ready));
  });
  await bench.measure(`changes of power that ${WATCHERS} watchers were told`, CHANGES, async () => {
    for (let change = 0; change < CHANGES; change++) {
      const vm = bench.machines[Math.floor(change / 2)];
      if (!vm) throw new Error("too few VMs");
      const told = Promise.all(watchers.map((watcher) => watcher.told(vm)));
      await (change % 2 === 0 ? bench.vsphere.powerOn(vm) : bench.vsphere.powerOff(vm));
      await told;
    }
  });
  await Promise.all(watchers.map((watcher) => watcher.close()));
}

const folders = [];
const benches: Bench[] = [];
try {
  for (const [name, wanted] of [
    ["vcsim", "vcsim as vCenter"],
    ["lab", "lab as vCenter"],
  ] as const) {
    const kind = SERVERS.find((server) => server.name === wanted);
    if (!kind || (ONLY !== undefined && ONLY !== name)) continue;
    const folder = await stateFolder();
    folders.push(folder);
    const bench = await Bench.open(name, await kind.start(folder.path), kind.network);
    benches.push(bench);
    console.error(`${name}: ${residentMegabytes(bench.server.pid)} MB at the start`);
  }
  for (let round = 0; round < ROUNDS; round++) {
    const steps = [(bench: Bench) => create(bench, round), login, retrieve, watch, destroy];
    for (const step of steps) for (const bench of benches) await step(bench);
  }
  printResults();
} finally {
  for (const bench of benches) {
    await bench.close();
    await bench.server.stop();
  }
  for (const folder of folders) await folder.remove();
}

/** Medians of the rounds, and how many times as fast as the first server the second is. */
function printResults(): void {
  console.log(`medians of ${ROUNDS} rounds; processor time in ms per operation, memory in MB`);
  console.log("| operation | | per second | server CPU | client CPU | server memory | client memory |");
  console.log("|---|---|---|---|---|---|---|");
  for (const what of benches[0]?.results.keys() ?? []) {
    const rates: number[] = [];
    for (const { name, results } of benches) {
      const measures = results.get(what) ?? [];
      const of = (key: keyof Measure): number => median(measures.map((measure) => measure[key]));
      rates.push(of("rate"));
      const cells = [of("rate"), of("server"), of("client")].map((value) => value.toPrecision(3));
      console.log(`| ${what} | ${name} | ${cells.join(" | ")} | ${of("serverMemory")} | ${of("clientMemory")} |`);
    }
    const [first, second] = rates;
    if (first !== undefined && second !== undefined)
      console.log(`|  | ratio | ${(second / first).toFixed(2)} | | | | |`);
  }
}
