/** Processes of this machine, told apart safely from later ones with the same id. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** Time between two looks at a process that is not our child and is about to end. Its QMP connection has closed already. */
const EXIT_LOOK_MS = 10;

export interface ProcessRecord {
  pid: number;
  /** Clock ticks since boot at which the process started; with the boot id this names one process for ever. */
  startTime: string;
  bootId: string;
}

const bootId = () => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

/** Fields of /proc/PID/stat from the third on (the second, the name, may contain anything). */
function statFields(text: string): string[] {
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

function readStat(pid: number): string[] | undefined {
  try {
    return statFields(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return undefined;
  }
}

/** The record of a process that runs now; undefined when there is none. */
export function describeProcess(pid: number): ProcessRecord | undefined {
  const startTime = readStat(pid)?.[19];
  return startTime === undefined ? undefined : { pid, startTime, bootId: bootId() };
}

/** In one step, so that a reader sees a whole record or none. */
export function writeProcessRecord(file: string, record: ProcessRecord): void {
  writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** The process named by a machine's run files, if it still runs: from our record, or from the file QEMU wrote itself. */
export async function findRecordedProcess(files: {
  processFile: string;
  pidFile: string;
  qmpSocket: string;
}): Promise<ProcessRecord | undefined> {
  const recorded = await readFile(files.processFile, "utf8").catch(() => undefined);
  if (recorded !== undefined) {
    const record = parseRecord(recorded);
    return record !== undefined && isAlive(record) ? record : undefined;
  }
  // Killed between starting QEMU and recording it: the command line tells whether the pid is still that QEMU.
  const pid = Number(await readFile(files.pidFile, "utf8").catch(() => ""));
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  return commandLine.includes(`path=${files.qmpSocket},`) ? describeProcess(pid) : undefined;
}

function parseRecord(text: string): ProcessRecord | undefined {
  try {
    const record: unknown = JSON.parse(text);
    if (typeof record !== "object" || record === null) return undefined;
    const { pid, startTime, bootId: boot } = record as Partial<Record<keyof ProcessRecord, unknown>>;
    if (typeof pid !== "number" || typeof startTime !== "string" || typeof boot !== "string") return undefined;
    return { pid, startTime, bootId: boot };
  } catch {
    return undefined;
  }
}

/** True while the very process of the record runs; one that has ended but was not waited for counts as gone. */
export function isAlive(record: ProcessRecord): boolean {
  const fields = readStat(record.pid);
  return (
    fields !== undefined &&
    fields[0] !== "Z" &&
    fields[0] !== "X" &&
    fields[19] === record.startTime &&
    record.bootId === bootId()
  );
}

/** SIGKILL to the process of the record, if it still is that process. */
export function killProcess(record: ProcessRecord): void {
  if (!isAlive(record)) return;
  try {
    process.kill(record.pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

/** True when the process ended within the limit. For processes that are not our children, of whose end no event tells. */
export async function waitForExit(record: ProcessRecord, limitMilliseconds: number): Promise<boolean> {
  const end = performance.now() + limitMilliseconds;
  while (isAlive(record)) {
    if (performance.now() > end) return false;
    await Bun.sleep(EXIT_LOOK_MS);
  }
  return true;
}

/** Clock ticks per second of /proc times: fixed in the Linux interface (USER_HZ). */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

export async function processUsage(pid: number): Promise<{ cpuNanoseconds: number; residentBytes: number }> {
  const fields = statFields(await readFile(`/proc/${pid}/stat`, "utf8"));
  const ticks = Number(fields[11]) + Number(fields[12]);
  return { cpuNanoseconds: (ticks / TICKS_PER_SECOND) * 1e9, residentBytes: Number(fields[21]) * PAGE_BYTES };
}
