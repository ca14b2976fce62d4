import { spawn } from "node:child_process";
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "./atomic-file.ts";
import { LOG_LEVEL_VARIABLE } from "./log.ts";
import type { StatePaths } from "./paths.ts";

/**
 * The two long-running processes of a VCH on this machine, `lab` and `serve`: started in the background, found again, stopped.
 *
 * A record file names the process by pid *and* start time, so that a pid that the kernel gave to somebody else is never
 * taken for ours.
 */
export type DaemonName = "lab" | "serve";

export interface DaemonRecord {
  pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot (proc(5)). */
  startTime: string;
}

/** How long a starting process may take until it says that it is ready. */
const READY_TIMEOUT_MILLISECONDS = 180_000;
/** How long a process may take to end after SIGTERM before it gets SIGKILL. */
export const STOP_TIMEOUT_MILLISECONDS = 30_000;
/** How often to look whether a process that is not our child has ended. */
const GONE_INTERVAL_MILLISECONDS = 20;
/** Lines of the log that an error shows. */
const LOG_TAIL_LINES = 12;

const recordPath = (paths: StatePaths, name: DaemonName): string => join(paths.run, `${name}.json`);
export const logPath = (paths: StatePaths, name: DaemonName): string => join(paths.logs, `${name}.log`);

async function startTimeOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The command name in parentheses may contain anything; fields are counted after the last parenthesis.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Called by the process itself once it serves: later commands find it by this record. */
export async function recordDaemon(paths: StatePaths, name: DaemonName): Promise<void> {
  const startTime = (await startTimeOf(process.pid)) ?? "";
  const record: DaemonRecord = { pid: process.pid, startTime };
  await writeFileAtomically(recordPath(paths, name), `${JSON.stringify(record)}\n`);
}

/** The running process, or undefined. */
export async function findDaemon(paths: StatePaths, name: DaemonName): Promise<DaemonRecord | undefined> {
  let record: DaemonRecord;
  try {
    record = JSON.parse(await readFile(recordPath(paths, name), "utf8")) as DaemonRecord;
  } catch {
    return undefined;
  }
  return (await startTimeOf(record.pid)) === record.startTime ? record : undefined;
}

const inherited = (name: string): Record<string, string> => {
  const value = process.env[name];
  return value === undefined ? {} : { [name]: value };
};

/** How to run this same program again: the compiled binary alone, or bun with the script. */
export function selfCommand(): string[] {
  return Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main];
}

async function logTail(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.trimEnd().split("\n").slice(-LOG_TAIL_LINES).join("\n");
}

/**
 * Starts `vch <arguments>` in the background and resolves with the text that it wrote to its ready pipe (file descriptor 3).
 * Rejects with the end of its log when it ends or stays silent.
 */
export async function startDaemon(paths: StatePaths, name: DaemonName, commandArguments: string[]): Promise<string> {
  await mkdir(paths.logs, { recursive: true });
  await mkdir(paths.run, { recursive: true });
  const path = logPath(paths, name);
  const log = await open(path, "a", 0o640);
  const [program, ...prefix] = selfCommand();
  if (program === undefined) throw new Error("cannot tell the path of this program");
  const child = spawn(program, [...prefix, ...commandArguments], {
    detached: true,
    cwd: "/",
    stdio: ["ignore", log.fd, log.fd, "pipe"],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      LANG: "C.UTF-8",
      VCH_READY_FD: "3",
      ...inherited(LOG_LEVEL_VARIABLE),
    },
  });
  await log.close();
  const pipe = child.stdio[3];
  let timer: Timer | undefined;
  try {
    return await new Promise<string>((resolve, reject) => {
      const fail = (why: string): void => {
        logTail(path).then((tail) => reject(new Error(`vch ${name} ${why}. The end of ${path}:\n${tail}`)), reject);
      };
      timer = setTimeout(() => {
        child.kill("SIGTERM");
        fail(`was not ready after ${READY_TIMEOUT_MILLISECONDS / 1000} s`);
      }, READY_TIMEOUT_MILLISECONDS);
      child.once("error", (error) => fail(`could not be started (${error.message})`));
      child.once("exit", (code, signal) => fail(`ended with ${signal ?? `exit code ${code}`} before it was ready`));
      pipe?.once("data", (data: Buffer) => resolve(data.toString("utf8").trim()));
    });
  } finally {
    clearTimeout(timer);
    child.removeAllListeners();
    pipe?.destroy();
    child.unref();
  }
}

/** Tells the process that started us that we serve. */
export async function announceReady(message: string): Promise<void> {
  if (process.env.VCH_READY_FD !== "3") return;
  await Bun.write(Bun.file(3), `${message}\n`);
}

/**
 * Resolves true when the process is gone within the time. It is not our child, so there is no exit event without a pidfd,
 * which Bun does not offer: this one wait looks again at intervals.
 */
async function waitGone(record: DaemonRecord, timeoutMilliseconds: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMilliseconds;
  while ((await startTimeOf(record.pid)) === record.startTime) {
    if (Date.now() > deadline) return false;
    await Bun.sleep(GONE_INTERVAL_MILLISECONDS);
  }
  return true;
}

/** Ends the process: SIGTERM, then SIGKILL after a limit. Not running is no error. */
export async function stopDaemon(paths: StatePaths, name: DaemonName): Promise<boolean> {
  const record = await findDaemon(paths, name);
  if (record === undefined) {
    await rm(recordPath(paths, name), { force: true });
    return false;
  }
  process.kill(record.pid, "SIGTERM");
  if (!(await waitGone(record, STOP_TIMEOUT_MILLISECONDS))) {
    process.kill(record.pid, "SIGKILL");
    await waitGone(record, STOP_TIMEOUT_MILLISECONDS);
  }
  await rm(recordPath(paths, name), { force: true });
  return true;
}
