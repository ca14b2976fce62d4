import type { HealthCheck, HealthStatus, ProcessConfiguration } from "../../src/link/guest-configuration.ts";
import type { GuestEvent, HealthProbe } from "../../src/link/operations.ts";
import { startProcess } from "../process/child.ts";
import { timestamp } from "../state.ts";
import type { Container } from "./container.ts";

const SIGKILL = 9;
/** Longest output of a probe that is kept, in bytes, as in Docker. */
const OUTPUT_LIMIT = 4096;
/** Probes that are remembered, as in Docker. */
const LOG_LENGTH = 5;
/** Milliseconds that output may go on after a probe has ended. */
const TRAILING_OUTPUT_LIMIT = 1_000;
const MILLISECOND = 1_000_000;
const DEFAULTS = { interval: 30_000, timeout: 30_000, startInterval: 5_000, retries: 3 };

/** Docker's HEALTHCHECK: runs the probe while the container runs and keeps its status in the state. */
export class HealthMonitor {
  readonly #container: Container;
  readonly #check: HealthCheck;
  readonly #listener: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failingStreak = 0;
  #status: HealthStatus = "starting";
  #startedAt: string | undefined;
  /** Counts runs of the main process: a probe of an earlier one does not count. */
  #run = 0;
  readonly #log: HealthProbe[] = [];

  constructor(container: Container, check: HealthCheck, listener: () => void) {
    this.#container = container;
    this.#check = check;
    this.#listener = listener;
  }

  /** Status and the last probes, for whoever connects. */
  get event(): GuestEvent {
    return { type: "health", status: this.#status, failingStreak: this.#failingStreak, log: this.#log };
  }

  /** Follows the container over its restarts. */
  watch(): void {
    this.#begin();
    this.#container.state.onChange(({ status, startedAt }) => {
      if (status === "running" && startedAt !== this.#startedAt) this.#begin();
      else if (status !== "running") this.#end();
    });
  }

  #begin(): void {
    const { status, startedAt } = this.#container.state.current;
    if (status !== "running" || this.#check.test[0] === "NONE" || this.#check.test.length === 0) return;
    this.#end();
    this.#startedAt = startedAt;
    this.#status = "starting";
    this.#failingStreak = 0;
    this.#report();
    this.#schedule(this.#run);
  }

  #end(): void {
    this.#run++;
    clearTimeout(this.#timer);
  }

  #schedule(run: number): void {
    const { intervalNanoseconds, startIntervalNanoseconds } = this.#check;
    const interval = intervalNanoseconds > 0 ? intervalNanoseconds / MILLISECOND : DEFAULTS.interval;
    const first = startIntervalNanoseconds > 0 ? startIntervalNanoseconds / MILLISECOND : DEFAULTS.startInterval;
    const delay = this.#inStartPeriod() && this.#status === "starting" ? first : interval;
    this.#timer = setTimeout(() => void this.#probe(run), delay);
  }

  #inStartPeriod(): boolean {
    const since = Date.now() - Date.parse(this.#startedAt ?? "");
    return since < this.#check.startPeriodNanoseconds / MILLISECOND;
  }

  async #probe(run: number): Promise<void> {
    // A frozen container is not asked: its probe would only time out.
    if (this.#container.freezer.paused) {
      this.#schedule(run);
      return;
    }
    const start = timestamp();
    const result = await this.#runTest();
    if (run !== this.#run) return;
    if (this.#log.push({ start, end: timestamp(), ...result }) > LOG_LENGTH) this.#log.shift();
    if (result.exitCode === 0) {
      this.#failingStreak = 0;
      this.#status = "healthy";
    } else if (!(this.#inStartPeriod() && this.#status === "starting")) {
      this.#failingStreak++;
      if (this.#failingStreak >= (this.#check.retries || DEFAULTS.retries)) this.#status = "unhealthy";
    }
    this.#report();
    this.#listener();
    this.#schedule(run);
  }

  #report(): void {
    void this.#container.state.update({ health: { status: this.#status, failingStreak: this.#failingStreak } });
  }

  /** Never rejects: a probe that cannot be run has failed. */
  async #runTest(): Promise<Pick<HealthProbe, "exitCode" | "output">> {
    try {
      return await this.#runCommand();
    } catch (error) {
      return { exitCode: -1, output: error instanceof Error ? error.message : String(error) };
    }
  }

  async #runCommand(): Promise<Pick<HealthProbe, "exitCode" | "output">> {
    const [kind, ...rest] = this.#check.test;
    const { process } = this.#container.configuration;
    const probe: ProcessConfiguration = {
      ...process,
      arguments: kind === "CMD-SHELL" ? ["/bin/sh", "-c", rest[0] ?? ""] : rest,
      terminal: false,
      openStdin: false,
      stdinOnce: false,
    };
    const child = await startProcess({ process: probe, ...this.#container.placement() });
    const limit = this.#check.timeoutNanoseconds > 0 ? this.#check.timeoutNanoseconds / MILLISECOND : DEFAULTS.timeout;
    let timedOut = false;
    const killer = setTimeout(() => {
      timedOut = true;
      if (child.running) child.signal(SIGKILL);
    }, limit);
    const parts: Uint8Array[] = [];
    let length = 0;
    const pumped = child.pumpOutput(async (_stream, bytes) => {
      if (length < OUTPUT_LIMIT) parts.push(bytes.subarray(0, OUTPUT_LIMIT - length));
      length += bytes.length;
    });
    try {
      const exitCode = await child.exited;
      await Promise.race([pumped, Bun.sleep(TRAILING_OUTPUT_LIMIT)]);
      await child.stopOutput();
      const output = Buffer.concat(parts).toString();
      if (timedOut) return { exitCode: -1, output: `Health check exceeded timeout (${goSeconds(limit)}): ${output}` };
      return { exitCode, output: length > OUTPUT_LIMIT ? `${output}...` : output };
    } finally {
      clearTimeout(killer);
      await child.release();
    }
  }
}

/** Go's text of a duration of some seconds, as Docker prints a time-out. */
const goSeconds = (milliseconds: number): string => {
  if (milliseconds < 1000) return `${milliseconds}ms`;
  const minutes = Math.floor(milliseconds / 60_000);
  return `${minutes > 0 ? `${minutes}m` : ""}${(milliseconds - minutes * 60_000) / 1000}s`;
};
