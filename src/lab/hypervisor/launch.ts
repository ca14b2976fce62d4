/** Starts a QEMU process that outlives this one, and waits until it answers. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { HypervisorError } from "./contract.ts";
import { describeProcess, killProcess, type ProcessRecord, waitForExit, writeProcessRecord } from "./host/process.ts";
import type { RunFiles } from "./qemu/naming.ts";
import { qemuError } from "./qemu/qemu-error.ts";
import { QmpClient } from "./qmp/qmp-client.ts";

/** QEMU opens its devices and dials back within this time, also when a hundred start at once. */
const START_TIMEOUT_MS = 60_000;
/** How much of the end of QEMU's output is looked at. */
const LOG_TAIL_BYTES = 8 * 1024;

export interface QemuProcess {
  record: ProcessRecord;
  qmp: QmpClient;
  /** Resolves, never rejects, when the process is gone. */
  exited: Promise<void>;
}

/** The end of QEMU's output. */
export async function readLogTail(files: RunFiles): Promise<string> {
  const handle = await open(files.logFile, "r").catch(() => undefined);
  if (handle === undefined) return "";
  try {
    const { size } = await handle.stat();
    const buffer = Buffer.alloc(Math.min(size, LOG_TAIL_BYTES));
    await handle.read(buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString("utf8");
  } finally {
    await handle.close();
  }
}

/** Resolves with the connection that QEMU makes to the start socket. */
async function listenForStart(path: string): Promise<{ connection: Promise<Socket>; close(): void }> {
  await rm(path, { force: true });
  const server = createServer({ allowHalfOpen: false });
  const connection = Promise.withResolvers<Socket>();
  server.once("connection", connection.resolve);
  server.listen(path);
  await once(server, "listening");
  return { connection: connection.promise, close: () => void server.close() };
}

/**
 * `incoming`: file to hand over as descriptor 3, positioned where QEMU shall read.
 * Rejects with HypervisorError when QEMU cannot start; no process is left then.
 */
export async function launchQemu(
  binary: string,
  words: readonly string[],
  files: RunFiles,
  incoming?: number,
): Promise<QemuProcess> {
  const start = await listenForStart(files.startSocket);
  const log = openSync(files.logFile, "a", 0o600);
  let record: ProcessRecord | undefined;
  const exit = Promise.withResolvers<void>();
  let running = true;
  const timer = setTimeout(() => record !== undefined && killProcess(record), START_TIMEOUT_MS);
  try {
    // Its own session: a signal to the lab's terminal or service does not reach it.
    const child = spawn(binary, [...words], {
      detached: true,
      cwd: "/",
      stdio: ["ignore", log, log, ...(incoming === undefined ? [] : [incoming])],
      env: { PATH: process.env.PATH ?? "", LC_ALL: "C" },
    });
    const spawnFailed = Promise.withResolvers<never>();
    child.once("error", (error) => {
      spawnFailed.reject(
        new HypervisorError(
          "HostConfigFault",
          `cannot run ${binary}: ${error.message}; install the package qemu-system-x86`,
        ),
      );
    });
    child.once("exit", () => {
      running = false;
      exit.resolve();
    });
    child.unref();
    record = child.pid === undefined ? undefined : describeProcess(child.pid);
    if (record !== undefined) writeProcessRecord(files.processFile, record);
    const socket = await Promise.race([start.connection, exit.promise, spawnFailed.promise]);
    if (socket === undefined || record === undefined) throw new Error("QEMU ended at once");
    const qmp = await QmpClient.overSocket(socket);
    return { record, qmp, exited: exit.promise };
  } catch (error) {
    if (record !== undefined && running) {
      killProcess(record);
      await waitForExit(record, START_TIMEOUT_MS);
    }
    if (error instanceof HypervisorError) throw error;
    throw qemuError("start the VM", (await readLogTail(files)) || String(error));
  } finally {
    clearTimeout(timer);
    closeSync(log);
    start.close();
  }
}
