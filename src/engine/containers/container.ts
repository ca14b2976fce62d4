/** One container as the running engine knows it: its document, its present run, and the session with its guest. */
import type { LinkSession } from "../../link/contract.ts";
import type { GuestState } from "../../link/guest-configuration.ts";
import type { HealthProbe } from "../../link/operations.ts";
import type { PublishedPort } from "../../network/contract.ts";
import type { VirtualMachineReference } from "../../vsphere/contract.ts";
import type { LogEntry } from "../contract.ts";
import { conflict, EngineError } from "../errors.ts";
import type { GuestOwner } from "../guests/guest-links.ts";
import { CONTAINER_QUEUE_LENGTH, LINK_TIMEOUT } from "../limits.ts";
import { type Deferred, deferred, OperationQueue, within } from "../waiting.ts";
import type { ContainerDocument, RunRecord } from "./document.ts";
import type { Exec } from "./exec.ts";
import { Timeline } from "./timeline.ts";

export type ContainerStatus = "created" | "running" | "paused" | "restarting" | "exited" | "removing" | "dead";

export class Container implements GuestOwner {
  document: ContainerDocument;
  vm: VirtualMachineReference | undefined;
  status: ContainerStatus = "created";
  /** The present run, or the last one. */
  run: RunRecord | undefined;
  /** Our entries in the VM's extraConfig, as last written. */
  stored = new Map<string, string>();
  /** The inventory view has shown the present run's VM as powered on: from then on, off means that it went off. */
  seenOn = false;
  /** When the steps of the present run happened, or of the last one. */
  timeline = new Timeline();
  /** Number of runs that ended under this engine: tells one run from the next. */
  endedRuns = 0;
  /** The guest's last word in the present run. */
  guest: GuestState | undefined;
  /** Settled by the first report of a run that is being started. */
  starting: Deferred<GuestState> | undefined;
  /** Work after the end of a run: until it is done, the VM may still be on. */
  finishing: Promise<void> | undefined;
  /** Why the process is stopped by us; a restart policy does not apply then. */
  stopRequested = false;
  /** Times in a row that its VM was lost and started again by the restart policy. */
  lostRuns = 0;
  published: readonly PublishedPort[] = [];
  health: HealthProbe[] = [];
  /** Whole log of the last run, when it was short. */
  logTail: LogEntry[] | undefined;
  readonly execs = new Map<string, Exec>();
  readonly queue: OperationQueue;
  readonly removed = deferred<void>();
  #session: LinkSession | undefined;
  #nextExit = deferred<number>();
  #attachments = 0;
  /** Pieces of output that attached clients have taken. */
  deliveries = 0;
  #detached = deferred<void>();
  /** Settled whenever a session arrives or a run ends: whoever waits looks again. */
  #turn = deferred<void>();

  /** Reports of finished runs are stale. */
  readonly #finishedBoots = new Set<string>();

  constructor(
    document: ContainerDocument,
    readonly onSession: (container: Container, session: LinkSession) => void,
  ) {
    this.document = document;
    this.queue = new OperationQueue(CONTAINER_QUEUE_LENGTH, () =>
      conflict(`container ${document.name} has ${CONTAINER_QUEUE_LENGTH} operations waiting: try again later`),
    );
    this.removed.promise.catch(() => undefined);
  }

  get id(): string {
    return this.document.id;
  }

  get name(): string {
    return this.document.name;
  }

  get isRunning(): boolean {
    return this.status === "running" || this.status === "restarting" || this.status === "paused";
  }

  get autoRemove(): boolean {
    return this.document.hostConfig.AutoRemove === true;
  }

  get session(): LinkSession | undefined {
    return this.#session;
  }

  get virtualMachine(): VirtualMachineReference {
    if (!this.vm) throw new EngineError("internal", `container ${this.id} has no VM`);
    return this.vm;
  }

  connected(session: LinkSession): void {
    this.#session = session;
    this.timeline.mark("linked");
    void session.closed.then(() => {
      if (this.#session === session) this.#session = undefined;
    });
    this.onSession(this, session);
    this.wake();
  }

  /** The VM is off: a session that has not noticed is over. */
  disconnect(): void {
    this.#session?.close("the VM is off");
    this.#session = undefined;
  }

  wake(): void {
    this.#turn.resolve();
    this.#turn = deferred();
  }

  /** Resolves when a session arrives, a run ends or the container is removed. */
  get turn(): Promise<void> {
    return this.#turn.promise;
  }

  /** The session with the guest of a running container; waits for one that is on its way. */
  async link(): Promise<LinkSession> {
    const deadline = performance.now() + LINK_TIMEOUT;
    for (;;) {
      if (!this.isRunning) throw conflict(`container ${this.id} is not running`);
      if (this.#session) return this.#session;
      const left = deadline - performance.now();
      if (left <= 0)
        throw new EngineError(
          "unavailable",
          `the guest of container ${this.name} has not called for ${LINK_TIMEOUT / 1000} s: see its console log, tether.debug in the VM's directory`,
        );
      await within(this.turn, left, () => undefined);
    }
  }

  /** A session within the time, or undefined; for the end of a run, when nothing depends on it. */
  async sessionWithin(milliseconds: number): Promise<LinkSession | undefined> {
    const deadline = performance.now() + milliseconds;
    for (;;) {
      const left = deadline - performance.now();
      if (this.#session || left <= 0) return this.#session;
      await within(this.turn, left, () => undefined);
    }
  }

  /** The exit code of the present or next run. */
  get nextExit(): Promise<number> {
    return this.#nextExit.promise;
  }

  exited(exitCode: number): void {
    this.#nextExit.resolve(exitCode);
    this.#nextExit = deferred();
    this.wake();
  }

  /** Clients that wait for or follow the process's output. */
  get attachments(): number {
    return this.#attachments;
  }

  attach(): void {
    this.#attachments++;
  }

  detach(): void {
    this.#attachments--;
    if (this.#attachments > 0) return;
    this.#detached.resolve();
    this.#detached = deferred();
  }

  /** Resolves when no client follows the output any more: each has got all of it, or has left. */
  async noAttachments(): Promise<void> {
    while (this.#attachments > 0) await this.#detached.promise;
  }

  /**
   * Resolves when no client follows the output any more, or none has taken any for the time, in milliseconds, in which the link
   * was there.
   */
  async outputDelivered(grace: number, limit: number): Promise<void> {
    const end = performance.now() + limit;
    const none = this.noAttachments();
    while (this.#attachments > 0 && performance.now() < end) {
      const before = this.deliveries;
      await within(none, grace, () => undefined);
      const away = this.#session !== undefined && (this.#session.carriedFor ?? 0) < grace;
      if (this.deliveries === before && !away) return;
    }
  }

  isStale(boot: string): boolean {
    return this.#finishedBoots.has(boot);
  }

  bootFinished(boot: string): void {
    this.#finishedBoots.add(boot);
    const [oldest] = this.#finishedBoots;
    if (this.#finishedBoots.size > 8 && oldest !== undefined) this.#finishedBoots.delete(oldest);
  }
}
