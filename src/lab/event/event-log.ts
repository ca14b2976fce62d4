import { LabFault } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject, sessionOf } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import type { Session } from "../session/sessions.ts";

/** Events kept; older ones are forgotten. */
const RING_SIZE = 1000;
const PAGE_SIZE = 10;
const PAGE_LIMIT = 1000;
const COLLECTOR_LIMIT = 32;

/** An entity as an event mentions it. */
interface Subject {
  readonly name: string;
  readonly reference: Reference;
}

/** A host as an event mentions it, with its compute resource. */
interface HostSubject extends Subject {
  readonly computeResource: Subject;
}

/** A VM as an event mentions it, with where it runs. */
interface PlacedSubject extends Subject {
  readonly host: HostSubject;
}

/** EventManager over a ring of the last events. */
export class EventLog extends ManagedObject {
  #events: DataObject[] = [];
  #lastKey = 0;
  readonly #collectors = new Set<EventCollector>();
  /** The one datacenter; set while the inventory is built. */
  datacenter: Subject | undefined;

  constructor(registry: Registry, reference: Reference) {
    super(registry, reference);
    this.properties({
      latestEvent: () => this.#events.at(-1),
      maxCollector: () => COLLECTOR_LIMIT,
      description: () => data("EventDescription", { category: [], eventInfo: [] }),
    });
    this.methods({
      QueryEvents: (p) => this.query(p.filter as DataObject),
      CreateCollectorForEvents: (p, call) => this.#createCollector(p.filter as DataObject, call),
    });
  }

  /** Adds an event about a VM. `fields`: what its type has besides. */
  post(type: string, vm: PlacedSubject, message: string, fields: Record<string, unknown> = {}): void {
    this.#post(type, vm.host, message, { vm: argument("VmEventArgument", "vm", vm), template: false, ...fields });
  }

  /** Adds an event about a host. */
  postOfHost(type: string, host: HostSubject, message: string): void {
    this.#post(type, host, message, {});
  }

  #post(type: string, host: HostSubject, message: string, fields: Record<string, unknown>): void {
    const event = data(type, {
      key: ++this.#lastKey,
      chainId: this.#lastKey,
      createdTime: new Date(),
      userName: "",
      datacenter: this.datacenter && argument("DatacenterEventArgument", "datacenter", this.datacenter),
      computeResource: argument("ComputeResourceEventArgument", "computeResource", host.computeResource),
      host: hostArgument(host),
      fullFormattedMessage: message,
      ...fields,
    });
    this.#events.push(event);
    if (this.#events.length > RING_SIZE) this.#events.shift();
    this.changed("latestEvent");
    for (const collector of this.#collectors) collector.changed("latestPage");
  }

  /** Events that fit the filter, oldest first. */
  query(filter: DataObject): DataObject[] {
    for (const unknown of ["userName", "alarm", "scheduledTask", "tag", "eventChainId"]) {
      const value = filter[unknown];
      if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
      throw new LabFault("NotSupported", `The lab does not filter events by '${unknown}'.`);
    }
    const types = (filter.eventTypeId ?? filter.type) as string[] | undefined;
    const entity = (filter.entity as DataObject | undefined)?.entity as Reference | undefined;
    const time = filter.time as DataObject | undefined;
    const fits = (event: DataObject): boolean => {
      const created = event.createdTime as Date;
      if (types && types.length > 0 && !types.includes(event._type) && !types.includes(`vim.event.${event._type}`))
        return false;
      if (time?.beginTime instanceof Date && created < time.beginTime) return false;
      if (time?.endTime instanceof Date && created > time.endTime) return false;
      // Of a VM, a host or a cluster its own; every other entity contains all.
      return entity === undefined || concerns(event, entity);
    };
    const found = this.#events.filter(fits);
    const limit = filter.maxCount as number | undefined;
    return limit === undefined || limit <= 0 ? found : found.slice(-limit);
  }

  #createCollector(filter: DataObject, call: Call): Reference {
    const session = sessionOf(call);
    if (this.#collectors.size >= COLLECTOR_LIMIT) {
      throw new LabFault("InvalidState", `There are already ${COLLECTOR_LIMIT} event collectors.`);
    }
    this.query(filter);
    const reference = {
      type: "EventHistoryCollector",
      value: `session[${session.key}]events-${++this.#lastCollector}`,
    };
    const collector: EventCollector = new EventCollector(this.registry, reference, filter, this, () =>
      this.#collectors.delete(collector),
    );
    this.#collectors.add(collector);
    collector.belongsTo(session);
    return this.registry.add(collector).reference;
  }
  #lastCollector = 0;
}

const FIELDS: Readonly<Record<string, string>> = {
  VirtualMachine: "vm",
  HostSystem: "host",
  ComputeResource: "computeResource",
  ClusterComputeResource: "computeResource",
};

function concerns(event: DataObject, entity: Reference): boolean {
  const field = FIELDS[entity.type];
  if (field === undefined) return true;
  const subject = event[field] as DataObject | undefined;
  return (subject?.[field] as Reference | undefined)?.value === entity.value;
}

/** A VM as an event mentions it. */
export const vmArgument = (vm: Subject): DataObject => argument("VmEventArgument", "vm", vm);
/** A host as an event mentions it. */
export const hostArgument = (host: Subject): DataObject => argument("HostEventArgument", "host", host);

const argument = (type: string, field: string, subject: Subject): DataObject =>
  data(type, { name: subject.name, [field]: subject.reference });

/** A cursor over the events that fit a filter. */
class EventCollector extends ManagedObject {
  #pageSize = PAGE_SIZE;
  /** Key of the last event that was read. */
  #position = 0;
  #leave: (() => void) | undefined;

  constructor(
    registry: Registry,
    reference: Reference,
    private readonly filter: DataObject,
    private readonly log: EventLog,
    private readonly forget: () => void,
  ) {
    super(registry, reference);
    this.properties({
      filter: () => filter,
      latestPage: () => this.log.query(this.filter).slice(-this.#pageSize).reverse(),
    });
    this.methods({
      ReadNextEvents: (p) => this.#next(count(p.maxCount)),
      ReadPreviousEvents: (p) => this.#previous(count(p.maxCount)),
      RewindCollector: () => {
        this.#position = 0;
      },
      ResetCollector: () => {
        this.#position = Number(this.log.query(this.filter).at(-1)?.key ?? 0);
      },
      SetCollectorPageSize: (p) => {
        this.#pageSize = count(p.maxCount);
        this.changed("latestPage");
      },
      DestroyCollector: () => this.end(),
    });
  }

  /** Ends with the session. */
  belongsTo(session: Session): void {
    this.#leave = session.onEnd(() => this.end());
  }

  end(): void {
    this.#leave?.();
    this.forget();
    this.registry.remove(this);
  }

  #next(limit: number): DataObject[] {
    const page = this.log
      .query(this.filter)
      .filter((event) => Number(event.key) > this.#position)
      .slice(0, limit);
    this.#position = Number(page.at(-1)?.key ?? this.#position);
    return page;
  }

  #previous(limit: number): DataObject[] {
    const page = this.log
      .query(this.filter)
      .filter((event) => Number(event.key) <= this.#position)
      .slice(-limit);
    this.#position = page[0] ? Number(page[0].key) - 1 : this.#position;
    return page;
  }
}

function count(value: unknown): number {
  if (typeof value === "number" && value > 0 && value <= PAGE_LIMIT) return value;
  throw new LabFault("InvalidArgument", `A specified parameter was not correct: maxCount. It is 1 to ${PAGE_LIMIT}.`, {
    invalidProperty: "maxCount",
  });
}
