import { method, TypedValue } from "../../vsphere/vim25/index.ts";
import { asFault, LabFault, localizedFault } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import { TaskCollectors } from "./task-collector.ts";

/** Finished tasks stay readable this long, as on ESXi. */
export const RETENTION_MILLISECONDS = 10 * 60 * 1000;
/** Finished tasks kept at most; the oldest go first. */
const RETENTION_LIMIT = 2000;
/** `recentTask` lists no more than this. */
const RECENT_LIMIT = 200;

export interface TaskOwner extends ManagedObject {
  readonly name: string;
}

/** One asynchronous operation. `info` is told to watchers with every change of state. */
export class Task extends ManagedObject {
  state: "queued" | "running" | "success" | "error" = "queued";
  readonly queueTime = new Date();
  #startTime: Date | undefined;
  completeTime: Date | undefined;
  #result: unknown;
  #fault: LabFault | undefined;
  #progress: number | undefined;
  #cancel: ((fault: LabFault) => void) | undefined;
  #cancelled = false;

  constructor(
    registry: Registry,
    reference: Reference,
    private readonly methodName: string,
    readonly entity: TaskOwner | undefined,
    readonly userName: string,
    private readonly eventChainId: number,
  ) {
    super(registry, reference);
    this.properties({ info: () => this.#info() });
    this.methods({
      CancelTask: () => {
        if (this.cancel()) return;
        throw new LabFault("NotSupported", "The task cannot be canceled: its steps must finish together.");
      },
    });
  }

  override get authority(): ManagedObject | undefined {
    return this.entity;
  }

  start(): void {
    this.state = "running";
    this.#startTime = new Date();
    this.changed("info");
  }

  /** @param percent 0 to 100 */
  progress(percent: number): void {
    this.#progress = Math.round(percent);
    this.changed("info");
  }

  /** false: it does not wait for anything. */
  cancel(): boolean {
    if (!this.#cancel) return false;
    this.#cancelled = true;
    this.#cancel(new LabFault("RequestCanceled", "The task was canceled by a user."));
    return true;
  }

  /** While a task waits it can be cancelled: `cancel` makes what it waits for fail with the fault. Without it, no more. */
  cancelWith(cancel: ((fault: LabFault) => void) | undefined): void {
    this.#cancel = cancel;
    this.changed("info");
  }

  succeed(result: unknown): void {
    this.#result = result;
    this.state = "success";
    this.#finish();
  }

  fail(error: unknown): void {
    this.#fault = asFault(error);
    this.state = "error";
    this.#finish();
  }

  #finish(): void {
    this.completeTime = new Date();
    this.#cancel = undefined;
    this.changed("info");
  }

  #info(): DataObject {
    const info = method(this.methodName);
    const entity = this.entity;
    return data("TaskInfo", {
      key: this.reference.value,
      task: this.reference,
      name: this.methodName,
      descriptionId: `${entity?.reference.type ?? info?.on ?? "Task"}.${info?.vmodlName ?? this.methodName}`,
      entity: entity?.reference,
      entityName: entity?.name,
      state: this.state,
      cancelled: this.#cancelled,
      cancelable: this.#cancel !== undefined,
      error: this.#fault && localizedFault(this.#fault),
      result: this.#typedResult(),
      progress: this.state === "running" ? this.#progress : undefined,
      reason: data("TaskReasonUser", { userName: this.userName }),
      queueTime: this.queueTime,
      startTime: this.#startTime,
      completeTime: this.completeTime,
      eventChainId: this.eventChainId,
    });
  }

  #typedResult(): unknown {
    const type = method(this.methodName)?.taskResult;
    if (this.#result === undefined || !type || type.kind === "void") return undefined;
    const name = type.kind === "reference" ? `→${type.type}` : type.type;
    if (isPolymorphic(this.#result)) return this.#result;
    return new TypedValue(type.array ? `${name}[]` : name, this.#result);
  }
}

const isPolymorphic = (value: unknown): boolean => typeof value === "object" && value !== null && "_type" in value;

/** Runs operations as tasks and remembers the finished ones for a while. */
export class TaskManager extends ManagedObject {
  readonly #collectors = new TaskCollectors(this.registry, () => this.recentAll());
  readonly #tasks: Task[] = [];
  readonly #running = new Set<Promise<void>>();
  #lastId = 0;

  constructor(
    registry: Registry,
    reference: Reference,
    private readonly taskId: (owner: string, name: string, n: number) => string,
  ) {
    super(registry, reference);
    this.properties({
      recentTask: () => this.recent().map((task) => task.reference),
      maxCollector: () => 32,
      description: () => data("TaskDescription", { methodInfo: [], state: [], reason: [] }),
    });
    this.methods({
      CreateCollectorForTasks: (p, call) => this.#collectors.create(p.filter as DataObject, call),
    });
  }

  /** Every task that is remembered, oldest first. */
  recentAll(): readonly Task[] {
    this.#expire();
    return this.#tasks;
  }

  /** Tasks that run or ended lately, of one entity or of all. */
  recent(entity?: ManagedObject): Task[] {
    this.#expire();
    const tasks = entity ? this.#tasks.filter((task) => task.entity === entity) : this.#tasks;
    return tasks.slice(-RECENT_LIMIT);
  }

  /**
   * Starts `operation` at once and returns its Task. What it throws becomes the task's error.
   * @param method The SOAP method, `PowerOnVM_Task`.
   */
  run(
    method: string,
    entity: TaskOwner | undefined,
    userName: string,
    operation: (task: Task) => Promise<unknown>,
  ): Reference {
    this.#expire();
    const number = ++this.#lastId;
    const reference = { type: "Task", value: this.taskId(entity?.reference.value ?? "ha-host", method, number) };
    const task = new Task(this.registry, reference, method, entity, userName, number);
    this.#tasks.push(task);
    this.registry.add(task);
    this.#announce(entity);
    task.start();
    const running = operation(task).then(
      (result) => task.succeed(result),
      (error: unknown) => task.fail(error),
    );
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
    return reference;
  }

  /** Ends the tasks that wait for something that may never come. */
  cancelWaiting(): void {
    for (const task of this.#tasks) task.cancel();
  }

  /** Resolves when no task runs any more. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  #announce(entity: ManagedObject | undefined): void {
    this.changed("recentTask");
    entity?.changed("recentTask");
  }

  #expire(): void {
    const limit = Date.now() - RETENTION_MILLISECONDS;
    let excess = this.#tasks.length - RETENTION_LIMIT;
    for (let i = 0; i < this.#tasks.length; ) {
      const task = this.#tasks[i];
      // They are in the order in which they were queued: what follows cannot have ended earlier.
      if (excess <= 0 && task && task.queueTime.getTime() >= limit) return;
      const old = task?.completeTime && (task.completeTime.getTime() < limit || excess > 0);
      if (!task || !old) {
        i++;
        continue;
      }
      excess--;
      this.#tasks.splice(i, 1);
      this.registry.remove(task);
    }
  }
}
