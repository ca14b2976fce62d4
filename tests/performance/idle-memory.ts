/**
 * Memory of the appliance and of idle container VMs: `vch serve` and `vch lab` before and after N containers that sleep, what
 * each VM takes of the host, what its guest sees, and the smallest `docker run -m` that still runs a program.
 *
 * usage: tests/e2e/with-environment bun tests/performance/idle-memory.ts [--containers N] [--image IMAGE]
 */
import { readdir, readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { findDaemon } from "../../src/machine/daemon.ts";
import { statePaths } from "../../src/machine/paths.ts";
import { median, printTable } from "./table.ts";

const { values: options } = parseArgs({
  options: {
    containers: { type: "string", default: "20" },
    state: { type: "string", default: process.env.VCH_E2E_STATE ?? process.env.VCH_STATE ?? "/var/lib/vch" },
    image: { type: "string", default: "busybox" },
    /** Milliseconds for caches and translated code to settle before measuring. */
    settle: { type: "string", default: "15000" },
  },
});
const paths = statePaths(options.state);
/** Smallest limits to try first, in MiB; Docker refuses less than 6. */
const LIMITS_MB = [6, 16, 32, 64, 128];

async function docker(...words: string[]): Promise<string> {
  const child = Bun.spawn(["docker", ...words], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`docker ${words.join(" ")}: ${errors}`);
  return out.trim();
}

/** Memory of a process in MiB: `proportional` counts pages shared with others in part, `anonymous` are its own. */
async function memoryOf(pid: number): Promise<{ resident: number; proportional: number; anonymous: number }> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  const value = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) / 1024;
  return { resident: value("Rss"), proportional: value("Pss"), anonymous: value("Anonymous") };
}

/** QEMU processes of this lab. */
async function machines(): Promise<number[]> {
  const found: number[] = [];
  for (const id of await readdir(`${paths.run}/lab`)) {
    const text = await readFile(`${paths.run}/lab/${id}/pid`, "utf8").catch(() => "");
    const pid = Number.parseInt(text, 10);
    if (pid > 0) found.push(pid);
  }
  return found;
}

const daemon = async (name: "lab" | "serve"): Promise<number> => {
  const record = await findDaemon(paths, name);
  if (record === undefined) throw new Error(`vch ${name} does not run`);
  return record.pid;
};
const [lab, serve] = [await daemon("lab"), await daemon("serve")];
const appliance = async () => ({ serve: await memoryOf(serve), lab: await memoryOf(lab) });

const names = Array.from({ length: Number(options.containers) }, (_, index) => `idle-${process.pid}-${index}`);
try {
  const before = await appliance();
  for (const name of names) await docker("run", "-d", "--name", name, options.image, "sleep", "1000000");
  await Bun.sleep(Number(options.settle));
  const after = await appliance();
  const vms = await Promise.all((await machines()).map(memoryOf));
  const guests: { total: number; available: number; used: number }[] = [];
  for (const name of names.slice(0, 3)) {
    const text = await docker("exec", name, "cat", "/proc/meminfo");
    const value = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(text)?.[1]) / 1024;
    const used = value("MemTotal") - value("MemFree") - value("Buffers") - value("Cached");
    guests.push({ total: value("MemTotal"), available: value("MemAvailable"), used });
  }
  console.log(`${names.length} idle containers, ${vms.length} VMs; MiB\n`);
  const process_ = (name: "serve" | "lab"): [string, number[]][] => [
    [`vch ${name}, RSS before`, [before[name].resident]],
    [`vch ${name}, RSS with containers`, [after[name].resident]],
    [`vch ${name}, PSS with containers`, [after[name].proportional]],
    [`vch ${name}, anonymous`, [after[name].anonymous]],
  ];
  printTable("appliance", [...process_("serve"), ...process_("lab")]);
  console.log();
  printTable("per idle VM", [
    ["QEMU, PSS", vms.map((vm) => vm.proportional)],
    ["QEMU, anonymous", vms.map((vm) => vm.anonymous)],
    ["guest: total", guests.map((guest) => guest.total)],
    ["guest: available", guests.map((guest) => guest.available)],
    ["guest: used without caches", guests.map((guest) => guest.used)],
  ]);
  console.log(`\nhost memory per idle VM, median: ${Math.round(median(vms.map((vm) => vm.proportional)))} MiB PSS`);
} finally {
  await docker("rm", "-f", ...names).catch((error: unknown) => console.error(String(error)));
}

for (const limit of LIMITS_MB) {
  const failure = await docker("run", "--rm", "-m", `${limit}m`, options.image, "true").then(
    () => undefined,
    (error: unknown) => String(error),
  );
  console.log(`docker run -m ${limit}m: ${failure ?? "runs"}`);
  if (failure === undefined) break;
}
