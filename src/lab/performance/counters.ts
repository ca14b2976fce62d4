/** The counters that the lab measures, with the ids that vCenter gives them. */
import type { MachineCounters } from "../hypervisor/contract.ts";
import { type DataObject, data } from "../model/data.ts";

/** Two readings of a machine and what is known around them. */
export interface Reading {
  time: number;
  counters: MachineCounters;
}

export interface Span {
  before: Reading;
  after: Reading;
  cpus: number;
  /** MHz of one CPU. */
  cpuMhz: number;
  memoryMB: number;
  bootTime: Date;
}

export interface Counter {
  key: number;
  group: string;
  name: string;
  rollup: "average" | "latest" | "summation";
  unit: string;
  stats: "rate" | "absolute" | "delta";
  label: string;
  value(span: Span): number;
  /** Device keys with a series of their own. */
  perDevice?: (span: Span) => [string, number][];
}

const seconds = ({ before, after }: Span): number => Math.max((after.time - before.time) / 1000, 0.001);
const MEBIBYTE = 2 ** 20;

/** Busy CPU time as a part of one CPU: 1.5 is one and a half CPUs. */
const cpuShare = (span: Span): number =>
  Math.max(span.after.counters.cpuNanoseconds - span.before.counters.cpuNanoseconds, 0) / 1e9 / seconds(span);

type Device = "disks" | "networkAdapters";

/** KB per second of a sum of counters of devices; a device that is new counts from zero. */
function rates<D extends Device>(kind: D, amount: (device: MachineCounters[D][number]) => number, scale: number) {
  return (span: Span): [string, number][] =>
    span.after.counters[kind].map((device) => {
      const old = (span.before.counters[kind] as { key: number }[]).find(({ key }) => key === device.key);
      const was = old === undefined ? 0 : amount(old as MachineCounters[D][number]);
      return [
        String(device.key),
        Math.round(Math.max(amount(device as MachineCounters[D][number]) - was, 0) / scale / seconds(span)),
      ];
    });
}

const total = (series: [string, number][]): number => series.reduce((sum, [, value]) => sum + value, 0);

function deviceCounter(
  counter: Omit<Counter, "value" | "rollup" | "stats" | "perDevice">,
  perDevice: (span: Span) => [string, number][],
): Counter {
  return { ...counter, rollup: "average", stats: "rate", perDevice, value: (span) => total(perDevice(span)) };
}

const KILO = 1024;
const diskRead = rates("disks", (disk) => disk.readBytes, KILO);
const diskWrite = rates("disks", (disk) => disk.writeBytes, KILO);
const received = rates("networkAdapters", (nic) => nic.receiveBytes, KILO);
const transmitted = rates("networkAdapters", (nic) => nic.transmitBytes, KILO);
const sum =
  (...parts: ((span: Span) => [string, number][])[]) =>
  (span: Span): [string, number][] => {
    const [first = [], ...others] = parts.map((part) => part(span));
    return first.map(([key, value]) => [
      key,
      others.reduce((all, other) => all + (other.find(([name]) => name === key)?.[1] ?? 0), value),
    ]);
  };

const percent = (part: number): number => Math.round(Math.min(Math.max(part, 0), 1) * 10_000);

export const COUNTERS: readonly Counter[] = [
  {
    key: 2,
    group: "cpu",
    name: "usage",
    rollup: "average",
    unit: "percent",
    stats: "rate",
    label: "Usage",
    value: (span) => percent(cpuShare(span) / span.cpus),
  },
  {
    key: 6,
    group: "cpu",
    name: "usagemhz",
    rollup: "average",
    unit: "megaHertz",
    stats: "rate",
    label: "Usage in MHz",
    value: (span) => Math.round(cpuShare(span) * span.cpuMhz),
  },
  {
    key: 12,
    group: "cpu",
    name: "used",
    rollup: "summation",
    unit: "millisecond",
    stats: "delta",
    label: "Used",
    value: (span) => Math.round(cpuShare(span) * seconds(span) * 1000),
  },
  {
    key: 24,
    group: "mem",
    name: "usage",
    rollup: "average",
    unit: "percent",
    stats: "absolute",
    label: "Usage",
    value: (span) => percent(span.after.counters.residentBytes / (span.memoryMB * MEBIBYTE)),
  },
  {
    key: 98,
    group: "mem",
    name: "consumed",
    rollup: "average",
    unit: "kiloBytes",
    stats: "absolute",
    label: "Consumed",
    value: (span) => Math.round(span.after.counters.residentBytes / KILO),
  },
  deviceCounter(
    { key: 125, group: "disk", name: "usage", unit: "kiloBytesPerSecond", label: "Usage" },
    sum(diskRead, diskWrite),
  ),
  deviceCounter({ key: 130, group: "disk", name: "read", unit: "kiloBytesPerSecond", label: "Read rate" }, diskRead),
  deviceCounter({ key: 131, group: "disk", name: "write", unit: "kiloBytesPerSecond", label: "Write rate" }, diskWrite),
  deviceCounter(
    { key: 143, group: "net", name: "usage", unit: "kiloBytesPerSecond", label: "Usage" },
    sum(received, transmitted),
  ),
  deviceCounter(
    { key: 148, group: "net", name: "received", unit: "kiloBytesPerSecond", label: "Data receive rate" },
    received,
  ),
  deviceCounter(
    { key: 149, group: "net", name: "transmitted", unit: "kiloBytesPerSecond", label: "Data transmit rate" },
    transmitted,
  ),
  {
    key: 155,
    group: "sys",
    name: "uptime",
    rollup: "latest",
    unit: "second",
    stats: "absolute",
    label: "Uptime",
    value: ({ after, bootTime }) => Math.max(Math.floor((after.time - bootTime.getTime()) / 1000), 0),
  },
];

const GROUPS: Readonly<Record<string, string>> = {
  cpu: "CPU",
  mem: "Memory",
  disk: "Disk",
  net: "Network",
  sys: "System",
};

const UNITS: Readonly<Record<string, string>> = {
  percent: "%",
  megaHertz: "MHz",
  kiloBytes: "KB",
  kiloBytesPerSecond: "KBps",
};

export const vimCounter = (counter: Counter): DataObject =>
  data("PerfCounterInfo", {
    key: counter.key,
    nameInfo: element(counter.name, counter.label),
    groupInfo: element(counter.group, GROUPS[counter.group] ?? counter.group),
    unitInfo: element(counter.unit, UNITS[counter.unit] ?? counter.unit),
    rollupType: counter.rollup,
    statsType: counter.stats,
    level: 1,
    perDeviceLevel: 3,
  });

export const element = (key: string, label: string): DataObject =>
  data("ElementDescription", { label, summary: label, key });
