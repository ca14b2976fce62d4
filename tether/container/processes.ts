import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { LinkError } from "../../src/link/link-error.ts";
import { passwdNames } from "../process/users.ts";

/** Clock ticks per second of /proc/PID/stat: 100 on every Linux that programs can see. */
const TICKS = 100;
const PAGE = 4096;
/** Longest command line shown, in characters. */
const COMMAND_LIMIT = 4096;

interface ProcessEntry {
  pid: number;
  ppid: number;
  uid: number;
  gid: number;
  state: string;
  pgid: number;
  sid: number;
  tty: string;
  cpuTicks: number;
  startTicks: number;
  nice: number;
  threads: number;
  virtualBytes: number;
  residentBytes: number;
  name: string;
  command: string;
}

interface Context {
  uptime: number;
  bootSeconds: number;
  memoryBytes: number;
  users: Map<number, string>;
}

const namespaceOf = (pid: number): string | undefined => {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    // Ended since it was listed.
    return undefined;
  }
};

const readProcess = (pid: number): ProcessEntry | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const close = stat.lastIndexOf(")");
    const name = stat.slice(stat.indexOf("(") + 1, close);
    const field = stat.slice(close + 2).split(" ");
    const number = (index: number): number => Number(field[index] ?? 0);
    const { uid, gid } = statSync(`/proc/${pid}`);
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replace(/\0+$/, "").replaceAll("\0", " ");
    const device = number(4);
    const minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    return {
      pid,
      ppid: number(1),
      uid,
      gid,
      state: field[0] ?? "?",
      pgid: number(2),
      sid: number(3),
      tty: device === 0 ? "?" : `pts/${minor}`,
      cpuTicks: number(11) + number(12),
      nice: number(16),
      threads: number(17),
      startTicks: number(19),
      virtualBytes: number(20),
      residentBytes: number(21) * PAGE,
      name,
      command: (command === "" ? `[${name}]` : command).slice(0, COMMAND_LIMIT),
    };
  } catch {
    // Ended while it was read.
    return undefined;
  }
};

/** The processes in the PID namespace of `pid`. */
const processesWith = (pid: number): ProcessEntry[] => {
  const namespace = namespaceOf(pid);
  const found: ProcessEntry[] = [];
  for (const name of readdirSync("/proc")) {
    const candidate = Number(name);
    if (!Number.isInteger(candidate) || namespaceOf(candidate) !== namespace) continue;
    const entry = readProcess(candidate);
    if (entry !== undefined) found.push(entry);
  }
  return found.sort((a, b) => a.pid - b.pid);
};

const two = (value: number): string => String(value).padStart(2, "0");

const cpuTime = (ticks: number): string => {
  const seconds = Math.floor(ticks / TICKS);
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
};

const shortCpuTime = (ticks: number): string => {
  const seconds = Math.floor(ticks / TICKS);
  return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
};

const elapsed = (seconds: number): string => {
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor(seconds / 3600) % 24;
  const clock = `${two(Math.floor(seconds / 60) % 60)}:${two(Math.floor(seconds) % 60)}`;
  if (days > 0) return `${days}-${two(hours)}:${clock}`;
  return hours > 0 ? `${two(hours)}:${clock}` : clock;
};

const age = (entry: ProcessEntry, context: Context): number => Math.max(0, context.uptime - entry.startTicks / TICKS);

const startTime = (entry: ProcessEntry, context: Context): string => {
  const date = new Date((context.bootSeconds + entry.startTicks / TICKS) * 1000);
  if (age(entry, context) < 86_400) return `${two(date.getHours())}:${two(date.getMinutes())}`;
  return date.toLocaleDateString("en-US", { month: "short", day: "2-digit" }).replace(" ", "");
};

const cpuShare = (entry: ProcessEntry, context: Context): number =>
  (entry.cpuTicks / TICKS / Math.max(age(entry, context), 0.01)) * 100;

const user = (entry: ProcessEntry, { users }: Context): string => users.get(entry.uid) ?? String(entry.uid);

/** Columns of ps by their -o name, with ps's own headings. */
const COLUMNS: Record<string, { title: string; value: (entry: ProcessEntry, context: Context) => string | number }> = {
  pid: { title: "PID", value: (e) => e.pid },
  ppid: { title: "PPID", value: (e) => e.ppid },
  uid: { title: "UID", value: (e) => e.uid },
  gid: { title: "GID", value: (e) => e.gid },
  user: { title: "USER", value: user },
  pgid: { title: "PGID", value: (e) => e.pgid },
  sid: { title: "SID", value: (e) => e.sid },
  c: { title: "C", value: (e, context) => Math.min(99, Math.floor(cpuShare(e, context))) },
  stime: { title: "STIME", value: startTime },
  start: { title: "START", value: startTime },
  tty: { title: "TTY", value: (e) => e.tty },
  time: { title: "TIME", value: (e) => cpuTime(e.cpuTicks) },
  bsdtime: { title: "TIME", value: (e) => shortCpuTime(e.cpuTicks) },
  etime: { title: "ELAPSED", value: (e, context) => elapsed(age(e, context)) },
  cmd: { title: "CMD", value: (e) => e.command },
  args: { title: "COMMAND", value: (e) => e.command },
  command: { title: "COMMAND", value: (e) => e.command },
  comm: { title: "COMMAND", value: (e) => e.name },
  ucmd: { title: "CMD", value: (e) => e.name },
  stat: { title: "STAT", value: (e) => e.state },
  state: { title: "S", value: (e) => e.state },
  ni: { title: "NI", value: (e) => e.nice },
  nlwp: { title: "NLWP", value: (e) => e.threads },
  vsz: { title: "VSZ", value: (e) => Math.floor(e.virtualBytes / 1024) },
  rss: { title: "RSS", value: (e) => Math.floor(e.residentBytes / 1024) },
  pcpu: { title: "%CPU", value: (e, context) => cpuShare(e, context).toFixed(1) },
  pmem: { title: "%MEM", value: (e, { memoryBytes }) => ((e.residentBytes / memoryBytes) * 100).toFixed(1) },
  "%cpu": { title: "%CPU", value: (e, context) => cpuShare(e, context).toFixed(1) },
  "%mem": { title: "%MEM", value: (e, { memoryBytes }) => ((e.residentBytes / memoryBytes) * 100).toFixed(1) },
};

const FULL = ["user", "pid", "ppid", "c", "stime", "tty", "time", "cmd"];
const LAYOUTS: Record<string, string[]> = {
  "": FULL,
  "-ef": FULL,
  "-e": ["pid", "tty", "time", "ucmd"],
  "-A": ["pid", "tty", "time", "ucmd"],
  aux: ["user", "pid", "pcpu", "pmem", "vsz", "rss", "tty", "stat", "start", "bsdtime", "command"],
  ax: ["pid", "tty", "stat", "bsdtime", "command"],
  "-eF": FULL,
};
LAYOUTS["-aux"] = LAYOUTS.aux ?? FULL;

interface Column {
  name: string;
  title: string | undefined;
}

/** Columns that ps arguments ask for. Throws LinkError for arguments that are not understood. */
export const parsePsArguments = (text: string): Column[] => {
  const words = text
    .trim()
    .split(/\s+/)
    .filter((word) => word !== "");
  const columns: Column[] = [];
  const rest: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    const list = /^(?:-e?o|o|-eo)$/.test(word) ? words[++index] : /^-o(.+)$/.exec(word)?.[1];
    if (/^(?:-e?o|o)/.test(word) && list !== undefined) {
      for (const item of list.split(",")) {
        const [name = "", title] = item.split("=", 2);
        if (!Object.hasOwn(COLUMNS, name)) {
          throw new LinkError("invalid", `ps: unknown column "${name}"; known are ${Object.keys(COLUMNS).join(", ")}`);
        }
        columns.push({ name, title });
      }
    } else {
      rest.push(word);
    }
  }
  const layout = LAYOUTS[rest.join(" ")];
  if (columns.length > 0 && (rest.length === 0 || layout !== undefined)) return columns;
  if (layout === undefined || columns.length > 0) {
    throw new LinkError("invalid", `ps arguments "${text}" are not supported; use -ef, aux, ax or -o COLUMNS`);
  }
  return layout.map((name) => ({ name, title: layout === FULL && name === "user" ? "UID" : undefined }));
};

/** docker top: the container's processes as ps would show them; user names are those of the container. */
export const listProcesses = async (
  pid: number,
  root: number,
  text: string,
): Promise<{ titles: string[]; processes: string[][] }> => {
  const columns = parsePsArguments(text);
  const memory = /^MemTotal:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  const boot = /^btime (\d+)/m.exec(readFileSync("/proc/stat", "utf8"))?.[1];
  const context: Context = {
    uptime: Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]),
    bootSeconds: Number(boot ?? 0),
    memoryBytes: Number(memory ?? 1) * 1024,
    users: await passwdNames(root),
  };
  return {
    titles: columns.map(({ name, title }) => title ?? COLUMNS[name]?.title ?? name),
    processes: processesWith(pid).map((entry) =>
      columns.map(({ name }) => String(COLUMNS[name]?.value(entry, context) ?? "")),
    ),
  };
};
