import { invalidArgument, LabFault } from "../fault.ts";
import type { DataObject, Reference } from "../model/data.ts";
import { type Call, ManagedObject, sessionOf } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import type { Session } from "../session/sessions.ts";

const COLLECTOR_LIMIT = 32;
const PAGE_SIZE = 10;
const PAGE_LIMIT = 1000;

/** A task as a collector sees it. */
interface KnownTask extends ManagedObject {
  readonly state: string;
  readonly entity: ManagedObject | undefined;
  readonly userName: string;
  readonly queueTime: Date;
  readonly completeTime: Date | undefined;
}

type Filter = (task: KnownTask) => boolean;

/** Collectors of tasks: each belongs to a session. */
export class TaskCollectors {
  #open = 0;
  #last = 0;

  constructor(
    private readonly registry: Registry,
    private readonly tasks: () => readonly KnownTask[],
  ) {}

  create(spec: DataObject, call: Call): Reference {
    const session = sessionOf(call);
    if (this.#open >= COLLECTOR_LIMIT) {
      throw new LabFault("InvalidState", `There are already ${COLLECTOR_LIMIT} task collectors.`);
    }
    const filter = readFilter(spec);
    this.#open++;
    const reference = { type: "TaskHistoryCollector", value: `session[${session.key}]tasks-${++this.#last}` };
    const collector = new TaskCollector(
      this.registry,
      reference,
      spec,
      () => this.tasks().filter(filter),
      () => {
        this.#open--;
      },
    );
    collector.belongsTo(session);
    return this.registry.add(collector).reference;
  }
}

function readFilter(spec: DataObject): Filter {
  for (const unknown of [
    "activationId",
    "alarm",
    "scheduledTask",
    "tag",
    "parentTaskKey",
    "rootTaskKey",
    "eventChainId",
  ]) {
    const value = spec[unknown];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    throw new LabFault("NotSupported", `The lab does not filter tasks by '${unknown}'.`);
  }
  const states = spec.state as string[] | undefined;
  const byEntity = spec.entity as DataObject | undefined;
  const entity = byEntity?.entity as Reference | undefined;
  const users = ((spec.userName as DataObject | undefined)?.userList as string[] | undefined) ?? [];
  const time = spec.time as DataObject | undefined;
  return (task) => {
    if (states && states.length > 0 && !states.includes(task.state)) return false;
    if (users.length > 0 && !users.includes(task.userName)) return false;
    const at = time?.timeType === "completedTime" ? task.completeTime : task.queueTime;
    if (time?.beginTime instanceof Date && !(at && at >= time.beginTime)) return false;
    if (time?.endTime instanceof Date && !(at && at <= time.endTime)) return false;
    if (!entity) return true;
    const own = task.entity?.reference.value === entity.value;
    if (byEntity?.recursion === "self") return own;
    return (byEntity?.recursion === "all" && own) || isBelow(task.entity, entity);
  };
}

function isBelow(object: ManagedObject | undefined, ancestor: Reference): boolean {
  const parent = object && "parent" in object ? (object.parent as ManagedObject | undefined) : undefined;
  return parent !== undefined && (parent.reference.value === ancestor.value || isBelow(parent, ancestor));
}

class TaskCollector extends ManagedObject {
  #pageSize = PAGE_SIZE;
  #read = new Set<KnownTask>();
  #leave: (() => void) | undefined;

  constructor(
    registry: Registry,
    reference: Reference,
    filter: DataObject,
    private readonly tasks: () => KnownTask[],
    private readonly forget: () => void,
  ) {
    super(registry, reference);
    const infos = (list: readonly KnownTask[]): unknown[] => list.map((task) => task.read("info"));
    this.properties({
      filter: () => filter,
      latestPage: () => infos(this.tasks().slice(-this.#pageSize).reverse()),
    });
    this.methods({
      ReadNextTasks: (p) =>
        infos(
          this.#take(
            this.tasks().filter((task) => !this.#read.has(task)),
            count(p.maxCount),
          ),
        ),
      ReadPreviousTasks: (p) => {
        const seen = this.tasks().filter((task) => this.#read.has(task));
        const page = seen.slice(-count(p.maxCount)).reverse();
        for (const task of page) this.#read.delete(task);
        return infos(page);
      },
      RewindCollector: () => this.#read.clear(),
      ResetCollector: () => {
        this.#read = new Set(this.tasks());
      },
      SetCollectorPageSize: (p) => {
        this.#pageSize = count(p.maxCount);
        this.changed("latestPage");
      },
      DestroyCollector: () => this.end(),
    });
  }

  belongsTo(session: Session): void {
    this.#leave = session.onEnd(() => this.end());
  }

  end(): void {
    this.#leave?.();
    this.forget();
    this.registry.remove(this);
  }

  #take(unread: readonly KnownTask[], limit: number): KnownTask[] {
    const page = unread.slice(0, limit);
    for (const task of page) this.#read.add(task);
    return page;
  }
}

function count(value: unknown): number {
  if (typeof value === "number" && value > 0 && value <= PAGE_LIMIT) return value;
  throw invalidArgument("maxCount", `It is 1 to ${PAGE_LIMIT}.`);
}
