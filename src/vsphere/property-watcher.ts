/**
 * A property collector of its own with one long poll, shared by any number of filters. After a lost session or a restarted server
 * the collector and all filters are made anew and every listener gets its objects again from the start.
 */
import { VSphereFault } from "./contract.ts";
import type { Session } from "./session.ts";
import type { ManagedObjectReference, ObjectUpdate, PropertyFilterSpec, UpdateSet } from "./vim25/index.ts";

/** How long the server holds an empty poll; short enough for proxies that cut silent connections. */
const POLL_SECONDS = 50;
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
  onRefused(error: unknown): void;
}

class Watch {
  filter: ManagedObjectReference<"PropertyFilter"> | undefined;
  stopped = false;
  incomplete = false;
  constructor(readonly listener: WatchListener) {}
}

export class PropertyWatcher {
  private readonly watches = new Set<Watch>();
  private collector: { reference: ManagedObjectReference<"PropertyCollector">; session: number } | undefined;
  private version = "";
  private running = false;
  private installing = 0;
  /** Updates of filters whose creation has not been answered yet. */
  private readonly early = new Map<string, ObjectUpdate[]>();
  private readonly closing = new AbortController();

  constructor(private readonly session: Session) {}

  /** Starts watching; the returned function stops it. */
  watch(listener: WatchListener): () => void {
    const watch = new Watch(listener);
    this.watches.add(watch);
    if (!this.running) {
      this.running = true;
      void this.run();
    } else if (this.collector) {
      // The poll that is under way covers filters that join it. When this fails, the loop starts over and tries again.
      void this.install(watch, this.collector).catch(() => undefined);
    }
    return () => this.stop(watch);
  }

  async close(): Promise<void> {
    this.watches.clear();
    this.closing.abort();
    const { collector } = this;
    this.collector = undefined;
    if (collector && collector.session === this.session.number && !this.session.isClosed) {
      // It ends with the session anyway.
      await this.session.call("DestroyPropertyCollector", collector.reference, {}).catch(() => undefined);
    }
  }

  private stop(watch: Watch): void {
    watch.stopped = true;
    this.watches.delete(watch);
    if (watch.filter && !this.session.isClosed) this.destroyFilter(watch.filter);
  }

  private destroyFilter(filter: ManagedObjectReference<"PropertyFilter">): void {
    // Gone with its collector already, or it goes with it later.
    void this.session.call("DestroyPropertyFilter", filter, {}).catch(() => undefined);
  }

  private async run(): Promise<void> {
    let failures = 0;
    while (this.watches.size > 0 && !this.closing.signal.aborted) {
      try {
        await this.poll();
        failures = 0;
      } catch (error) {
        if (this.closing.signal.aborted || this.session.isClosed) break;
        this.forget();
        // Nothing tells when a server is back. A lost session is repaired at once.
        const lost = error instanceof VSphereFault && failures === 0;
        if (!lost) await Bun.sleep(Math.min(FIRST_RETRY_MS * 2 ** failures, LAST_RETRY_MS));
        failures++;
      }
    }
    this.running = false;
  }

  private async poll(): Promise<void> {
    const collector = await this.currentCollector();
    await Promise.all(
      [...this.watches].filter((watch) => !watch.filter).map((watch) => this.install(watch, collector)),
    );
    if (this.watches.size === 0) return;
    const updates = await this.session.call(
      "WaitForUpdatesEx",
      collector.reference,
      { version: this.version, options: { maxWaitSeconds: POLL_SECONDS } },
      { longPoll: true, signal: this.closing.signal },
    );
    if (updates) this.deliver(updates);
  }

  private async currentCollector() {
    if (this.collector) return this.collector;
    const reference = await this.session.call("CreatePropertyCollector", this.session.content.propertyCollector, {});
    this.collector = { reference, session: this.session.number };
    this.version = "";
    return this.collector;
  }

  private async install(watch: Watch, collector: NonNullable<typeof this.collector>): Promise<void> {
    this.installing++;
    try {
      const spec = await watch.listener.filter();
      if (watch.stopped || watch.filter || this.collector !== collector) return;
      watch.listener.onStart?.();
      const filter = await this.session.call("CreateFilter", collector.reference, { spec, partialUpdates: false });
      if (watch.stopped) {
        this.destroyFilter(filter);
        return;
      }
      if (this.collector !== collector) return;
      watch.filter = filter;
      const early = this.early.get(filter.value);
      if (early) watch.listener.onUpdates(early, true);
    } catch (error) {
      const refused =
        error instanceof VSphereFault && error.fault !== "NotAuthenticated" && this.collector === collector;
      if (!refused || isGone(error, collector.reference)) throw error;
      watch.stopped = true;
      this.watches.delete(watch);
      watch.listener.onRefused(error);
    } finally {
      this.installing--;
      if (this.installing === 0) this.early.clear();
    }
  }

  private deliver(updates: UpdateSet): void {
    this.version = updates.version;
    const complete = updates.truncated !== true;
    const byFilter = new Map([...this.watches].map((watch) => [watch.filter?.value, watch]));
    for (const { filter, objectSet } of updates.filterSet ?? []) {
      const watch = byFilter.get(filter.value);
      if (watch) {
        watch.incomplete = !complete;
        watch.listener.onUpdates(objectSet ?? [], complete);
      } else if (this.installing > 0) {
        this.early.set(filter.value, [...(this.early.get(filter.value) ?? []), ...(objectSet ?? [])]);
      }
    }
    if (!complete) return;
    for (const watch of this.watches) {
      if (!watch.incomplete) continue;
      watch.incomplete = false;
      watch.listener.onUpdates([], true);
    }
  }

  /** Drops the collector, so that the next round makes a new one with all filters. */
  private forget(): void {
    const { collector } = this;
    this.collector = undefined;
    this.early.clear();
    for (const watch of this.watches) {
      watch.filter = undefined;
      watch.incomplete = false;
    }
    if (collector && collector.session === this.session.number) {
      // Usually it is what failed.
      void this.session.call("DestroyPropertyCollector", collector.reference, {}).catch(() => undefined);
    }
  }
}

function isGone(error: VSphereFault, reference: ManagedObjectReference): boolean {
  const { obj } = error.detail;
  const isIt = typeof obj === "object" && obj !== null && "value" in obj && obj.value === reference.value;
  return error.fault === "ManagedObjectNotFound" && isIt;
}
