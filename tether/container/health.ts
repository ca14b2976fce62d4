import type { HealthCheck, HealthStatus, ProcessConfiguration } from "../../src/link/guest-configuration.ts";
import { startProcess } from "../process/child.ts";
import type { Container } from "./container.ts";

const SIGKILL = 9;
/** Longest output of a probe that is kept, in bytes, as in Docker. */
const OUTPUT_LIMIT = 4096;
const MILLISECOND = 1_000_000;
const DEFAULTS = { interval: 30_000, timeout: 30_000, startInterval: 5_000, retries: 3 };

export interface ProbeResult {
  exitCode: number;
  output: string;
}

type ProbeListener = (status: HealthStatus, result: ProbeResult) => void;

/** Docker's HEALTHCHECK: runs the probe while the container runs and keeps its status in the state. */
export class HealthMonitor {
  readonly #container: Container;
  readonly #check: HealthCheck;
  readonly #listener: ProbeListener;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failingStreak = 0;
  #status: HealthStatus = "starting";
  #run = 0;

  constructor(container: Container, check: HealthCheck, listener: ProbeListener) {
    this.#container = container;
    this.#check = check;
    this.#listener = listener;
  }

  /** Follows the container over its restarts. */
  watch(): void {
    this.#begin();
    this.#container.state.onChange(({ status, startedAt }) => {
      if (status === "running" && startedAt !== this.#startedAt) this.#begin();
      else if (status !== "running") this.#end();
    });
  }
  #startedAt: string | undefined;

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
    const delay = this.#inStartPeriod() && this.#status === "starting" ? Math.min(first, interval) : interval;
    this.#timer = setTimeout(() => void this.#probe(run), delay);
  }

  #inStartPeriod(): boolean {
    const since = Date.now() - Date.parse(this.#startedAt ?? "");
    return since < this.#check.startPeriodNanoseconds / MILLISECOND;
  }

  async #probe(run: number): Promise<void> {
    const result = await this.#runTest();
    if (run !== this.#run) return;
    if (result.exitCode === 0) {
      this.#failingStreak = 0;
      this.#status = "healthy";
    } else if (!(this.#inStartPeriod() && this.#status === "starting")) {
      this.#failingStreak++;
      if (this.#failingStreak >= (this.#check.retries || DEFAULTS.retries)) this.#status = "unhealthy";
    }
    this.#report();
    this.#listener(this.#status, result);
    this.#schedule(run);
  }

  #report(): void {
    void this.#container.state.update({ health: { status: this.#status, failingStreak: this.#failingStreak } });
  }

  /** Never rejects: a probe that cannot be run has failed. */
  async #runTest(): Promise<ProbeResult> {
    try {
      return await this.#runCommand();
    } catch (error) {
      return { exitCode: 126, output: error instanceof Error ? error.message : String(error) };
    }
  }

  async #runCommand(): Promise<ProbeResult> {
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
      await Promise.race([pumped, Bun.sleep(1000)]);
      await child.stopOutput();
      if (timedOut) return { exitCode: -1, output: `Health check exceeded timeout (${limit} ms)` };
      return { exitCode, output: Buffer.concat(parts).toString() };
    } finally {
      clearTimeout(killer);
      await child.release();
    }
  }
}
