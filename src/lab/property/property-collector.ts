import { LabFault } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject, type Parameters, sessionOf } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import type { Session } from "../session/sessions.ts";
import { PropertyFilter } from "./property-filter.ts";
import { Retrievals } from "./retrieval.ts";

/** Object updates in one reply unless the client asks for fewer, so that no reply grows without bound. */
const OBJECT_UPDATE_LIMIT = 2000;
const FILTER_LIMIT = 1000;
const COLLECTOR_LIMIT = 1000;
/** Longest wait when the client names none; then WaitForUpdatesEx returns nothing and is called again. */
const WAIT_LIMIT_SECONDS = 30 * 60;

/**
 * A session's PropertyCollector. The default one has the same reference in every session but other filters: filters belong
 * to a session.
 */
export class PropertyCollector {
  readonly #filters = new Set<PropertyFilter>();
  #version = 0;
  #wake: (() => void) | undefined;
  #cancel: ((reason: LabFault) => void) | undefined;
  #disposed = false;

  constructor(
    private readonly registry: Registry,
    private readonly session: Session,
    private readonly newId: () => string,
  ) {}

  get filters(): Reference[] {
    return [...this.#filters].map((filter) => filter.reference);
  }

  createFilter(spec: DataObject, partialUpdates: boolean): Reference {
    if (this.#filters.size >= FILTER_LIMIT) {
      throw new LabFault("LimitExceeded", `A property collector can have ${FILTER_LIMIT} filters.`, {
        limit: FILTER_LIMIT,
      });
    }
    const reference = { type: "PropertyFilter", value: this.newId() };
    const filter = new PropertyFilter(this.registry, reference, spec, partialUpdates, this.session, {
      changed: () => this.#wake?.(),
      destroy: (gone) => this.#destroy(gone),
    });
    this.#filters.add(filter);
    this.registry.add(filter);
    this.#wake?.();
    return reference;
  }

  /** Changes since `version`, at once. undefined: there are none. */
  check(version: string | undefined, limit = OBJECT_UPDATE_LIMIT): DataObject | undefined {
    this.#accept(version);
    return this.#take(Math.min(limit, OBJECT_UPDATE_LIMIT));
  }

  /** Changes since `version`, waiting for the first one. undefined: the wait is over without any. */
  async wait(version: string | undefined, options: DataObject | undefined, signal: AbortSignal) {
    const maxObjects = options?.maxObjectUpdates as number | undefined;
    const maxWait = options?.maxWaitSeconds as number | undefined;
    if (maxObjects !== undefined && maxObjects <= 0) throw positive("options.maxObjectUpdates");
    if (maxWait !== undefined && maxWait < 0) throw positive("options.maxWaitSeconds");
    if (this.#wake) {
      throw new LabFault("InvalidState", "Another WaitForUpdatesEx is waiting on this property collector.");
    }
    let update = this.check(version, maxObjects);
    if (update || maxWait === 0) return update;
    const deadline = Date.now() + Math.min(maxWait ?? WAIT_LIMIT_SECONDS, WAIT_LIMIT_SECONDS) * 1000;
    while (!update && (await this.#change(deadline - Date.now(), signal))) {
      update = this.#take(Math.min(maxObjects ?? OBJECT_UPDATE_LIMIT, OBJECT_UPDATE_LIMIT));
    }
    return update;
  }

  cancelWait(): void {
    this.#cancel?.(new LabFault("RequestCanceled", "The task was canceled by a user."));
  }

  dispose(): void {
    this.#disposed = true;
    this.cancelWait();
    for (const filter of this.#filters) filter.dispose();
    this.#filters.clear();
  }

  #destroy(filter: PropertyFilter): void {
    this.#filters.delete(filter);
    filter.dispose();
  }

  /** A version is good for one call: the one that the last reply carried, or "" to start over. */
  #accept(version: string | undefined): void {
    if (version === undefined || version === "") {
      for (const filter of this.#filters) filter.restart();
    } else if (version !== String(this.#version)) {
      throw new LabFault(
        "InvalidCollectorVersion",
        `The version '${version}' is not known to this property collector.`,
      );
    }
  }

  #take(limit: number): DataObject | undefined {
    const filterSet: DataObject[] = [];
    let left = limit;
    for (const filter of this.#filters) {
      const updates = left > 0 && filter.hasChanges ? filter.takeUpdates(left) : [];
      left -= updates.length;
      if (updates.length > 0) filterSet.push(filter.filterUpdate(updates));
    }
    if (filterSet.length === 0) return undefined;
    this.#version++;
    const truncated = [...this.#filters].some((filter) => filter.hasChanges);
    return data("UpdateSet", { version: String(this.#version), filterSet, truncated: truncated || undefined });
  }

  /** Resolves with true at the next change, with false when the time is over or nobody listens any more. */
  #change(milliseconds: number, signal: AbortSignal): Promise<boolean> {
    if (milliseconds <= 0 || signal.aborted || this.#disposed) return Promise.resolve(false);
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), milliseconds);
    const abort = (): void => resolve(false);
    signal.addEventListener("abort", abort);
    // Changes that one operation makes in one go are told in one update.
    this.#wake = () => queueMicrotask(() => resolve(true));
    this.#cancel = reject;
    return promise.finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      this.#wake = undefined;
      this.#cancel = undefined;
    });
  }
}

const positive = (property: string): LabFault =>
  new LabFault("InvalidArgument", `A specified parameter was not correct: ${property}. It must be greater than zero.`, {
    invalidProperty: property,
  });

/** What one session owns: its default collector, the collectors that it created, and its retrievals in pages. */
class SessionCollectors {
  readonly created = new Map<string, CreatedPropertyCollector>();
  readonly retrievals: Retrievals;
  constructor(
    registry: Registry,
    session: Session,
    readonly main: PropertyCollector,
  ) {
    this.retrievals = new Retrievals(registry, session);
  }
}

/** The managed object behind a PropertyCollector reference. */
abstract class CollectorFront extends ManagedObject {
  constructor(registry: Registry, reference: Reference) {
    super(registry, reference);
    this.properties({ filter: (session) => session && this.filtersOf(session) });
    this.methods({
      CreateFilter: (p, call) => this.collector(call).createFilter(p.spec as DataObject, p.partialUpdates as boolean),
      WaitForUpdatesEx: (p, call) =>
        this.collector(call).wait(p.version as string | undefined, p.options as DataObject | undefined, call.signal),
      WaitForUpdates: (p, call) => this.collector(call).wait(p.version as string | undefined, undefined, call.signal),
      CheckForUpdates: (p, call) => this.collector(call).check(p.version as string | undefined),
      CancelWaitForUpdates: (_, call) => this.collector(call).cancelWait(),
      RetrieveProperties: (p, call) => this.retrievals(call).all(p.specSet as DataObject[]),
      RetrievePropertiesEx: (p, call) =>
        this.retrievals(call).first(p.specSet as DataObject[], p.options as DataObject),
      ContinueRetrievePropertiesEx: (p, call) => this.retrievals(call).next(p.token as string),
      CancelRetrievePropertiesEx: (p, call) => this.retrievals(call).cancel(p.token as string),
      CreatePropertyCollector: (_, call) => this.create(call),
      DestroyPropertyCollector: (p, call) => this.destroy(p, call),
    });
  }

  protected abstract filtersOf(session: Session): Reference[];
  protected abstract collector(call: Call): PropertyCollector;
  protected abstract retrievals(call: Call): Retrievals;
  protected abstract create(call: Call): Reference;
  protected abstract destroy(parameters: Parameters, call: Call): void;
}

/** The default collector, the one of the ServiceContent. */
export class PropertyCollectorFront extends CollectorFront {
  readonly #sessions = new WeakMap<Session, SessionCollectors>();
  readonly #anonymous: Retrievals;
  #lastId = 0;

  constructor(registry: Registry, reference: Reference) {
    super(registry, reference);
    this.#anonymous = new Retrievals(registry, undefined);
  }

  /** `session[key]suffix`: how vCenter spells the references of a session's own objects. */
  newId(session: Session): string {
    return `session[${session.key}]${(++this.#lastId).toString(16)}`;
  }

  protected override filtersOf(session: Session): Reference[] {
    return this.of(session).main.filters;
  }

  protected override collector(call: Call): PropertyCollector {
    return this.of(sessionOf(call)).main;
  }

  override retrievals(call: Call): Retrievals {
    return call.session ? this.of(call.session).retrievals : this.#anonymous;
  }

  override create(call: Call): Reference {
    const session = sessionOf(call);
    const { created } = this.of(session);
    if (created.size >= COLLECTOR_LIMIT) {
      throw new LabFault("LimitExceeded", `A session can have ${COLLECTOR_LIMIT} property collectors.`, {
        limit: COLLECTOR_LIMIT,
      });
    }
    const reference = { type: "PropertyCollector", value: this.newId(session) };
    const collector = new PropertyCollector(this.registry, session, () => this.newId(session));
    const object = new CreatedPropertyCollector(this.registry, reference, collector, this, () =>
      created.delete(object.key),
    );
    created.set(object.key, object);
    this.registry.add(object);
    return reference;
  }

  protected override destroy(): void {
    throw new LabFault("NotSupported", "The default property collector cannot be destroyed.");
  }

  private of(session: Session): SessionCollectors {
    const known = this.#sessions.get(session);
    if (known) return known;
    const own = new SessionCollectors(
      this.registry,
      session,
      new PropertyCollector(this.registry, session, () => this.newId(session)),
    );
    this.#sessions.set(session, own);
    session.onEnd(() => {
      own.main.dispose();
      for (const collector of [...own.created.values()]) collector.end();
    });
    return own;
  }
}

/** A collector that a client made for itself with CreatePropertyCollector. */
class CreatedPropertyCollector extends CollectorFront {
  constructor(
    registry: Registry,
    reference: Reference,
    private readonly own: PropertyCollector,
    private readonly front: PropertyCollectorFront,
    private readonly forget: () => void,
  ) {
    super(registry, reference);
  }

  end(): void {
    this.forget();
    this.own.dispose();
    this.registry.remove(this);
  }

  protected override filtersOf(): Reference[] {
    return this.own.filters;
  }
  protected override collector(call: Call): PropertyCollector {
    sessionOf(call);
    return this.own;
  }
  protected override retrievals(call: Call): Retrievals {
    return this.front.retrievals(call);
  }
  protected override create(call: Call): Reference {
    return this.front.create(call);
  }
  protected override destroy(): void {
    this.end();
  }
}
