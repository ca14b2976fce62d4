import { invalidArgument, LabFault, notSupported } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";
import { VirtualMachine } from "../vm/virtual-machine.ts";
import { COUNTERS, type Counter, element, type Reading, type Span, vimCounter } from "./counters.ts";
import { INTERVAL_SECONDS, Sampler } from "./sampler.ts";

const QUERY_LIMIT = 64;

/** Performance counters of VMs and of the host, measured where the VMs run. Real-time values only. */
export class PerformanceManager extends ManagedObject {
  readonly #sampler: Sampler;

  constructor(
    private readonly context: LabContext,
    reference: Reference,
  ) {
    super(context.registry, reference);
    this.#sampler = new Sampler(context);
    this.properties({
      description: () =>
        data("PerformanceDescription", {
          counterType: ["average", "latest", "summation"].map((name) => element(name, name)),
          statsType: ["absolute", "delta", "rate"].map((name) => element(name, name)),
        }),
      historicalInterval: () => [],
      perfCounter: () => COUNTERS.map(vimCounter),
    });
    this.methods({
      QueryPerfProviderSummary: (p) => {
        this.#provider(p.entity as Reference);
        return data("PerfProviderSummary", {
          entity: p.entity,
          currentSupported: true,
          summarySupported: false,
          refreshRate: INTERVAL_SECONDS,
        });
      },
      QueryPerfCounter: (p) => (p.counterId as number[]).map((id) => vimCounter(counterOf(id))),
      QueryPerfCounterByLevel: () => COUNTERS.map(vimCounter),
      QueryAvailablePerfMetric: async (p) => {
        if (p.intervalId !== undefined && p.intervalId !== INTERVAL_SECONDS) return [];
        return this.#available(this.#provider(p.entity as Reference));
      },
      QueryPerf: async (p) => {
        const specs = p.querySpec as DataObject[];
        if (specs.length > QUERY_LIMIT) throw invalidArgument("querySpec", `There are more than ${QUERY_LIMIT}.`);
        const found = [];
        for (const spec of specs) {
          const metric = await this.#query(spec);
          if (metric) found.push(metric);
        }
        return found;
      },
    });
  }

  /** VMs that make up what an entity uses. */
  #provider(reference: Reference): VirtualMachine[] {
    const object = this.registry.get(reference);
    if (object instanceof VirtualMachine) return [object];
    if (object.reference.type === "HostSystem") {
      return this.context.inventory.virtualMachines.filter((vm) => vm.powerState === "poweredOn");
    }
    throw invalidArgument("entity", "Only VMs and hosts have counters here.");
  }

  async #available(vms: readonly VirtualMachine[]): Promise<DataObject[]> {
    const metrics: DataObject[] = [];
    const [only] = vms.length === 1 ? vms : [];
    const span = only && spanOf(only, await this.#sampler.readings(only), -1, this.context.inventory.facts.cpuMhz);
    if (only && !span) return [];
    for (const counter of COUNTERS) {
      metrics.push(data("PerfMetricId", { counterId: counter.key, instance: "" }));
      for (const [instance] of (span && counter.perDevice?.(span)) ?? []) {
        metrics.push(data("PerfMetricId", { counterId: counter.key, instance }));
      }
    }
    return metrics;
  }

  async #query(spec: DataObject): Promise<DataObject | undefined> {
    if (spec.intervalId !== undefined && spec.intervalId !== INTERVAL_SECONDS) {
      throw notSupported(`the lab keeps real-time values only; use the interval ${INTERVAL_SECONDS}.`);
    }
    const entity = spec.entity as Reference;
    const vms = this.#provider(entity);
    const wanted = (spec.metricId as DataObject[] | undefined) ?? COUNTERS.map(({ key }) => metricId(key, ""));
    const limit = (spec.maxSample as number | undefined) ?? Number.MAX_SAFE_INTEGER;
    const spans = (await Promise.all(vms.map((vm) => this.#spans(vm)))).filter((list) => list.length > 0);
    const [longest = []] = [...spans].sort((a, b) => b.length - a.length);
    const inTime = (time: number): boolean =>
      !(spec.startTime instanceof Date && time <= spec.startTime.getTime()) &&
      !(spec.endTime instanceof Date && time > spec.endTime.getTime());
    const times = longest
      .map(({ after }) => after.time)
      .filter(inTime)
      .slice(-limit);
    if (times.length === 0) return undefined;
    const series = wanted.flatMap((id) => {
      const counter = counterOf(id.counterId as number);
      const instance = String(id.instance ?? "");
      const instances = instance === "*" ? ["", ...deviceNames(counter, spans)] : [instance];
      return instances.flatMap((name) => this.#series(counter, name, times, spans));
    });
    if (spec.format === "csv") return csv(entity, times, series);
    return data("PerfEntityMetric", {
      entity,
      sampleInfo: times.map((time) =>
        data("PerfSampleInfo", { timestamp: new Date(time), interval: INTERVAL_SECONDS }),
      ),
      value: series.map(({ counter, instance, values }) =>
        data("PerfMetricIntSeries", { id: metricId(counter.key, instance), value: values }),
      ),
    });
  }

  #series(counter: Counter, instance: string, times: readonly number[], spans: readonly Span[][]) {
    const values = times.map((_, position) => {
      let value = 0;
      for (const list of spans) {
        const span = list.at(position - times.length);
        if (!span) continue;
        value +=
          instance === ""
            ? counter.value(span)
            : (counter.perDevice?.(span).find(([key]) => key === instance)?.[1] ?? 0);
      }
      return value;
    });
    const known = instance === "" || deviceNames(counter, spans).includes(instance);
    return known ? [{ counter, instance, values }] : [];
  }

  async #spans(vm: VirtualMachine): Promise<Span[]> {
    const readings = await this.#sampler.readings(vm);
    return readings
      .map((_, index) => spanOf(vm, readings, index, this.context.inventory.facts.cpuMhz))
      .filter((span) => span !== undefined);
  }
}

/** The span that ends with a reading; `index` -1 is the last one. */
function spanOf(vm: VirtualMachine, readings: readonly Reading[], index: number, cpuMhz: number): Span | undefined {
  const end = index < 0 ? readings.length + index : index;
  const [before, after] = [readings[end - 1], readings[end]];
  if (!before || !after || !vm.bootTime) return undefined;
  const { cpus, memoryMB } = vm.configuration;
  return { before, after, cpus, cpuMhz, memoryMB, bootTime: vm.bootTime };
}

const metricId = (counterId: number, instance: string): DataObject => data("PerfMetricId", { counterId, instance });

function deviceNames(counter: Counter, spans: readonly Span[][]): string[] {
  const names = new Set<string>();
  for (const list of spans)
    for (const [name] of (list.at(-1) && counter.perDevice?.(list.at(-1) as Span)) ?? []) names.add(name);
  return [...names];
}

function counterOf(key: number): Counter {
  const counter = COUNTERS.find((known) => known.key === key);
  if (counter) return counter;
  throw new LabFault(
    "InvalidArgument",
    `A specified parameter was not correct: counterId. There is no counter ${key}.`,
    {
      invalidProperty: "counterId",
    },
  );
}

function csv(
  entity: Reference,
  times: readonly number[],
  series: readonly { counter: Counter; instance: string; values: number[] }[],
): DataObject {
  return data("PerfEntityMetricCSV", {
    entity,
    sampleInfoCSV: times.map((time) => `${INTERVAL_SECONDS},${new Date(time).toISOString()}`).join(","),
    value: series.map(({ counter, instance, values }) =>
      data("PerfMetricSeriesCSV", { id: metricId(counter.key, instance), value: values.join(",") }),
    ),
  });
}
