import type {
  ContainerConfiguration,
  GuestLimits,
  GuestState,
  RestartPolicy,
} from "../../src/link/guest-configuration.ts";
import { DISK_LAYOUT } from "../../src/link/guest-configuration.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { ContainerTree } from "../boot/root.ts";
import type { LiveNetwork } from "../network/live.ts";
import { OutputHub } from "../output/hub.ts";
import { LogWriter } from "../output/log-file.ts";
import { PATHS } from "../paths.ts";
import { type ChildProcess, type StartOptions, startProcess } from "../process/child.ts";
import { ProcessStartError } from "../process/start-error.ts";
import { type StateReport, timestamp } from "../state.ts";
import { changeLimits, outOfMemoryKills } from "./cgroup.ts";
import { Freezer } from "./freezer.ts";
import { RestartManager } from "./restart.ts";
import { signalNumber } from "./signals.ts";

const SIGKILL = 9;
/**
 * Milliseconds that attached clients may take none of the last output before the rest is dropped, the time that the control link
 * needs to come back not counted; and milliseconds in all.
 */
const DRAIN_LIMIT = 10_000;
const LONGEST_DRAIN = 180_000;
/** What `none` keeps all the same, so that a client that attaches late can be given the output from the start. */
const UNREADABLE_LOG = { driver: "none", maximumSize: 1024 * 1024, maximumFiles: 1 } as const;

/** What a container has to do with the control link. */
export interface ContainerLink {
  /** Tells it where to call after its network has changed. */
  useEndpoints(endpoints: string[]): void;
  readonly isResumable: boolean;
  isRecovering(milliseconds: number): boolean;
}

/** The container's main process over its restarts. */
export class Container {
  readonly configuration: ContainerConfiguration;
  readonly tree: ContainerTree;
  readonly output: OutputHub;
  readonly state: StateReport;
  readonly freezer = new Freezer();
  /** Resolves when the process has ended for good. */
  readonly finished: Promise<void>;
  #finish: () => void = () => undefined;
  readonly #restarts: RestartManager;
  readonly #cgroup: string | undefined;
  #process: ChildProcess | undefined;
  #stopping = false;
  #endPause: () => void = () => undefined;
  #inputClosed = false;
  readonly #exitListeners = new Set<(exitCode: number) => void>();
  /** Networks that may change while it runs. */
  network: Promise<LiveNetwork> | undefined;
  /** The control link, once it is there. */
  link: ContainerLink | undefined;
  /** Tells the first attached client from none yet. */
  attachedOnce = false;

  constructor(
    configuration: ContainerConfiguration,
    tree: ContainerTree,
    state: StateReport,
    /** `cutOff`: the last run ended without a final state, so that its log may be damaged. */
    { cgroup, cutOff }: { cgroup: string | undefined; cutOff: boolean },
  ) {
    this.configuration = configuration;
    this.tree = tree;
    this.state = state;
    this.#cgroup = cgroup;
    const log = configuration.log.driver === "none" ? UNREADABLE_LOG : configuration.log;
    this.output = new OutputHub(new LogWriter(`${tree.private}/${DISK_LAYOUT.logs}`, log, { repair: cutOff }));
    this.#restarts = new RestartManager(configuration.restart);
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Starts the main process; afterwards it is kept going as the restart policy says. Throws ProcessStartError. */
  async start(): Promise<void> {
    const child = await this.#startOnce();
    void this.#keepGoing(child);
  }

  /** The running main process. Throws LinkError `not-running`. */
  get process(): ChildProcess {
    if (this.#process?.running) return this.#process;
    throw new LinkError("not-running", `container ${this.configuration.id} is not running`);
  }

  /** How to start one more process in the container. */
  placement(): Pick<StartOptions, "placement" | "root" | "hostname" | "cgroup"> {
    return {
      placement: { kind: "exec", join: this.process.pid },
      root: this.tree.root,
      hostname: this.configuration.hostname,
      cgroup: this.#cgroup,
    };
  }

  async writeInput(bytes: Uint8Array): Promise<void> {
    if (this.#process?.running) await this.#process.writeInput(bytes);
  }

  /** An attached client has ended its input. */
  async endInput(): Promise<void> {
    if (!this.configuration.process.stdinOnce || this.#inputClosed) return;
    this.#inputClosed = true;
    await this.#process?.endInput();
  }

  /** Waited for when a run has ended, before anybody is told. */
  settle: () => Promise<void> = () => Promise.resolve();

  onExit(listener: (exitCode: number) => void): () => void {
    this.#exitListeners.add(listener);
    return () => void this.#exitListeners.delete(listener);
  }

  /** Docker pause. Throws LinkError `not-running` between two runs. */
  async pause(): Promise<void> {
    void this.process;
    await this.freezer.pause();
    void this.state.update({ paused: true });
  }

  async unpause(): Promise<void> {
    await this.freezer.unpause();
    void this.state.update({ paused: undefined });
  }

  update(limits: GuestLimits, restart: RestartPolicy): void {
    if (this.#cgroup !== undefined) changeLimits(limits);
    this.#restarts.policy = restart;
  }

  /** Signal, wait, SIGKILL. Resolves to the final state. No restart follows. */
  async stop(signal = signalNumber(this.configuration.stopSignal) ?? 15, seconds?: number): Promise<GuestState> {
    this.#stopping = true;
    this.#endPause();
    const limit = seconds ?? this.configuration.stopTimeoutSeconds;
    const child = this.#process;
    if (child?.running) {
      child.signal(signal);
      this.#unfreeze();
      const killer = limit < 0 ? undefined : setTimeout(() => child.running && child.signal(SIGKILL), limit * 1000);
      await child.exited;
      clearTimeout(killer);
    }
    await this.finished;
    return this.state.current;
  }

  /** A frozen process could not act on a signal. */
  #unfreeze(): void {
    const { paused } = this.freezer;
    this.freezer.release();
    if (paused) void this.state.update({ paused: undefined });
  }

  async #startOnce(): Promise<ChildProcess> {
    this.#unfreeze();
    const { configuration } = this;
    this.output.beginRun();
    const child = await startProcess({
      process: configuration.process,
      placement: {
        kind: "main",
        root: PATHS.root,
        readOnlyRoot: configuration.readOnlyRoot,
        isolated: configuration.network.isolated ?? false,
        init: configuration.init,
        masked: configuration.maskedPaths,
        readOnlyPaths: configuration.readOnlyPaths,
      },
      root: this.tree.root,
      hostname: configuration.hostname,
      cgroup: this.#cgroup,
    });
    this.#process = child;
    this.state.phase("process");
    void this.state.update({
      status: "running",
      pid: child.pid,
      startedAt: timestamp(),
      restartCount: this.#restarts.count,
    });
    return child;
  }

  async #keepGoing(first: ChildProcess): Promise<void> {
    let child = first;
    for (;;) {
      const begun = performance.now();
      const killsBefore = outOfMemoryKills();
      const exitCode = await this.#run(child);
      const ended = { exitCode, finishedAt: timestamp(), oomKilled: outOfMemoryKills() > killsBefore };
      const gone = { ...ended, pid: undefined, paused: undefined };
      const delay = this.#stopping ? undefined : this.#restarts.next(exitCode, performance.now() - begun);
      if (delay !== undefined) {
        void this.state.update({ status: "restarting", ...gone, restartCount: this.#restarts.count });
        await this.#pause(delay);
      }
      if (delay === undefined || this.#stopping) {
        void this.state.update({ status: "exited", ...gone, ...(this.#stopping ? { stopped: true } : {}) });
        break;
      }
      try {
        child = await this.#startOnce();
      } catch (error) {
        this.fail(error);
        break;
      }
    }
    this.#finish();
  }

  /** Reports that the process could not be started. */
  fail(error: unknown): void {
    const known = error instanceof ProcessStartError ? error : undefined;
    const failure = known?.failure === "not-running" ? "other" : (known?.failure ?? "other");
    void this.state.update({
      status: "failed",
      failure,
      exitCode: known?.exitCode ?? 128,
      error: error instanceof Error ? error.message : String(error),
      finishedAt: timestamp(),
    });
    this.#finish();
  }

  /** Follows one run to its end, output included. */
  async #run(child: ChildProcess): Promise<number> {
    const pumped = child.pumpOutput((stream, bytes) => this.output.deliver(stream, bytes));
    const exitCode = await child.exited;
    this.state.phase("exited");
    await this.#whileDelivering(pumped);
    await child.stopOutput();
    this.output.endRun();
    await child.release();
    await this.#whileDelivering(this.output.drained());
    await this.settle();
    for (const listener of [...this.#exitListeners]) listener(exitCode);
    return exitCode;
  }

  /** Waits for work that delivers output, for as long as clients go on taking it or the link may still come back. */
  async #whileDelivering(work: Promise<void>): Promise<void> {
    const end = performance.now() + LONGEST_DRAIN;
    let over = false;
    const done = work.then(() => {
      over = true;
    });
    while (!over && performance.now() < end) {
      const before = this.output.deliveries;
      await this.#limited(DRAIN_LIMIT, done);
      if (this.output.deliveries === before && !this.link?.isRecovering(DRAIN_LIMIT)) return;
    }
  }

  async #limited(milliseconds: number, work: Promise<void>): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds);
    });
    await Promise.race([work, limit]);
    clearTimeout(timer);
  }

  async #pause(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
