/**
 * One filter on a property collector of its own, with one long poll. After a lost session or a restarted server both are made anew
 * and the listener gets its objects again from the start.
 */
import { VSphereFault } from "./contract.ts";
import type { Session } from "./session.ts";
import type { ManagedObjectReference, ObjectUpdate, PropertyFilterSpec } from "./vim25/index.ts";

/** How long the server holds an empty poll; short enough for proxies that cut silent connections. */
const POLL_SECONDS = 50;
/** Objects in one answer at most; vCenter itself sends no more than 100. */
const UPDATES_IN_ANSWER = 100;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;

export interface WatchListener {
  /** What to watch. Asked again after a lost session, with which views are gone. */
  filter(): Promise<PropertyFilterSpec>;
  /** A full set of `enter` updates follows, the first time or again. */
  onStart?(): void;
  /** `complete` is false while the server has more of the same set to send. */
  onUpdates(updates: readonly ObjectUpdate[], complete: boolean): void;
  /** The server refuses the filter: nothing more will come. */
  onRefused(error: VSphereFault): void;
}

export class PropertyWatcher {
  private collector: { reference: ManagedObjectReference<"PropertyCollector">; session: number } | undefined;
  private filtered = false;
  private version = "";
  private readonly closing = new AbortController();

  constructor(
    private readonly session: Session,
    private readonly listener: WatchListener,
  ) {
    void this.run();
  }

  async close(): Promise<void> {
    this.closing.abort();
    const { collector } = this;
    this.collector = undefined;
    if (collector) await this.destroy(collector);
  }

  private get ended(): boolean {
    return this.closing.signal.aborted || this.session.isClosed;
  }

  private async run(): Promise<void> {
    let failures = 0;
    while (!this.ended) {
      try {
        await this.poll();
        failures = 0;
      } catch (error) {
        if (this.ended) return;
        if (error instanceof RefusedError) {
          this.listener.onRefused(error.fault);
          return;
        }
        this.forget();
        // Nothing tells when a server is back. A lost session is repaired at once.
        const lost = error instanceof VSphereFault && failures === 0;
        if (!lost) await Bun.sleep(Math.min(FIRST_RETRY_MS * 2 ** failures, LAST_RETRY_MS));
        failures++;
      }
    }
  }

  private async poll(): Promise<void> {
    const collector = await this.currentCollector();
    if (!this.filtered) await this.install(collector);
    const updates = await this.session.call(
      "WaitForUpdatesEx",
      collector,
      { version: this.version, options: { maxWaitSeconds: POLL_SECONDS, maxObjectUpdates: UPDATES_IN_ANSWER } },
      { longPoll: true, signal: this.closing.signal },
    );
    if (!updates || this.ended) return;
    this.version = updates.version;
    const objects = (updates.filterSet ?? []).flatMap(({ objectSet }) => objectSet ?? []);
    this.listener.onUpdates(objects, updates.truncated !== true);
  }

  private async currentCollector() {
    if (this.collector) return this.collector.reference;
    const reference = await this.session.call("CreatePropertyCollector", this.session.content.propertyCollector, {});
    this.collector = { reference, session: this.session.number };
    this.filtered = false;
    this.version = "";
    return reference;
  }

  private async install(collector: ManagedObjectReference<"PropertyCollector">): Promise<void> {
    const { number } = this.session;
    try {
      const spec = await this.listener.filter();
      this.listener.onStart?.();
      await this.session.call("CreateFilter", collector, { spec, partialUpdates: false });
      this.filtered = true;
    } catch (error) {
      // Within one session, a fault is about what is to be watched.
      if (error instanceof VSphereFault && this.session.number === number) throw new RefusedError(error);
      throw error;
    }
  }

  /** Drops the collector, so that the next round makes a new one. */
  private forget(): void {
    const { collector } = this;
    this.collector = undefined;
    if (collector) void this.destroy(collector);
  }

  private async destroy(collector: NonNullable<typeof this.collector>): Promise<void> {
    if (collector.session !== this.session.number || this.session.isClosed) return;
    // Usually it is what failed, and it ends with its session anyway.
    await this.session.call("DestroyPropertyCollector", collector.reference, {}).catch(() => undefined);
  }
}

class RefusedError extends Error {
  constructor(readonly fault: VSphereFault) {
    super(fault.message);
  }
}
