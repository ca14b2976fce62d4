/**
 * Waits for any number of tasks with one standing filter on `TaskManager.recentTask`, which holds every queued and running task that
 * this user may see and the latest finished ones. So waiting costs no call at all: the outcome comes with the long poll that is
 * always under way, possibly before the answer to the call that started the task.
 */
import { VSphereFault } from "./contract.ts";
import { type ObjectProperties, retrieve } from "./properties.ts";
import { PropertyWatcher } from "./property-watcher.ts";
import type { Session } from "./session.ts";
import {
  type AnyValue,
  isReference,
  type LocalizedMethodFault,
  type ManagedObjectReference,
  type ObjectUpdate,
  type PropertyFilterSpec,
} from "./vim25/index.ts";

/** Progress is left out: it would be most of the traffic. */
const WATCHED = ["info.state", "info.result", "info.error"];
/** Outcomes of tasks that nobody waits for yet: of calls under way, and of other users. */
const REMEMBERED_OUTCOMES = 1_000;
/** A server that loses an update must not hang us: what is still waited for is read again, ever more rarely. */
const FIRST_REREAD_MS = 1_000;
const LAST_REREAD_MS = 30_000;

type TaskReference = ManagedObjectReference<"Task">;
type Outcome = { result: AnyValue | undefined } | { error: LocalizedMethodFault | undefined };

export interface WaitOptions {
  /** Named in errors. */
  what: string;
  timeoutMilliseconds: number;
  /** The task yields something: a success told without it, as by servers that send each property by itself, is read again. */
  yields: boolean;
}

interface Waiting {
  task: TaskReference;
  options: WaitOptions;
  resolve(result: AnyValue | undefined): void;
  reject(error: unknown): void;
}

export class TaskWaiter {
  private readonly waiting = new Map<string, Waiting[]>();
  /** With the session they were told in: a restarted server gives the ids of old tasks to new ones. */
  private readonly outcomes = new Map<string, { outcome: Outcome; session: number }>();
  private readonly watcher: PropertyWatcher;
  private reread: Timer | undefined;
  private rereadPause = FIRST_REREAD_MS;

  constructor(private readonly session: Session) {
    this.watcher = new PropertyWatcher(session, {
      filter: () => this.filter(),
      onStart: () => this.outcomes.clear(),
      onUpdates: (updates) => this.apply(updates),
      onRefused: (error) => this.failAll(error),
    });
  }

  /** Resolves with the task's result; rejects with its error, or when it does not finish in time. */
  wait(task: TaskReference, options: WaitOptions): Promise<AnyValue | undefined> {
    const { what, timeoutMilliseconds } = options;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.forget(task.value, waiting);
        const text = `${what} did not finish within ${timeoutMilliseconds / 1000} s; look at the task ${task.value} in vSphere`;
        reject(new VSphereFault("Timedout", text, { task }));
      }, timeoutMilliseconds);
      const waiting: Waiting = {
        task,
        options,
        resolve: (result) => {
          clearTimeout(timer);
          resolve(result);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.waiting.set(task.value, [...(this.waiting.get(task.value) ?? []), waiting]);
      const known = this.outcomes.get(task.value);
      if (known?.session === this.session.number) this.settle(task.value, known.outcome);
      if (!this.waiting.has(task.value)) return;
      this.rereadPause = FIRST_REREAD_MS;
      this.scheduleReread();
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.reread);
    await this.watcher.close();
    this.failAll(new VSphereFault("RequestCanceled", "The connection to vSphere was closed while a task was running"));
  }

  private async filter(): Promise<PropertyFilterSpec> {
    const { taskManager } = this.session.content;
    if (!taskManager) throw new VSphereFault("NotSupported", "The server offers no task manager");
    return {
      propSet: [{ type: "Task", pathSet: WATCHED }],
      objectSet: [
        {
          obj: taskManager,
          skip: true,
          selectSet: [{ _type: "TraversalSpec", type: "TaskManager", path: "recentTask", skip: false }],
        },
      ],
    };
  }

  private apply(updates: readonly ObjectUpdate[]): void {
    for (const { obj, changeSet } of updates) {
      const values = new Map<string, AnyValue>();
      for (const { name, val } of changeSet ?? []) if (val !== undefined) values.set(name, val);
      const outcome = outcomeOf(values);
      if (outcome) this.settle(obj.value, outcome);
    }
  }

  private settle(id: string, outcome: Outcome): void {
    this.remember(id, outcome);
    const incomplete = "result" in outcome && outcome.result === undefined;
    for (const one of this.waiting.get(id) ?? []) {
      if (incomplete && one.options.yields) {
        void this.read([id]);
        continue;
      }
      this.forget(id, one);
      if ("error" in outcome) one.reject(taskFault(outcome.error, one.options.what));
      else one.resolve(outcome.result);
    }
  }

  private remember(id: string, outcome: Outcome): void {
    this.outcomes.delete(id);
    this.outcomes.set(id, { outcome, session: this.session.number });
    for (const oldest of this.outcomes.keys()) {
      if (this.outcomes.size <= REMEMBERED_OUTCOMES) break;
      this.outcomes.delete(oldest);
    }
  }

  private scheduleReread(): void {
    clearTimeout(this.reread);
    this.reread = setTimeout(() => {
      void this.read([...this.waiting.keys()]).then(() => {
        if (this.waiting.size > 0 && !this.session.isClosed) this.scheduleReread();
      });
    }, this.rereadPause);
    this.reread.unref();
    this.rereadPause = Math.min(this.rereadPause * 2, LAST_REREAD_MS);
  }

  private async read(ids: readonly string[]): Promise<void> {
    if (ids.length === 0 || this.session.isClosed) return;
    let found: ObjectProperties[];
    try {
      found = await retrieve(this.session, {
        propSet: [{ type: "Task", pathSet: WATCHED }],
        objectSet: ids.map((value) => ({ obj: { type: "Task", value } })),
      });
    } catch (error) {
      const gone =
        error instanceof VSphereFault && error.fault === "ManagedObjectNotFound" ? error.detail.obj : undefined;
      if (isReference(gone)) this.lost(gone.value);
      // Anything else the poll meets as well, and recovers from.
      return;
    }
    for (const { reference, values } of found) {
      const outcome = outcomeOf(values);
      // This is all there is: a missing result is an empty one.
      for (const one of this.waiting.get(reference.value) ?? []) one.options.yields &&= outcome === undefined;
      if (outcome) this.settle(reference.value, outcome);
    }
  }

  private lost(id: string): void {
    for (const one of this.waiting.get(id) ?? []) {
      const text = `vSphere forgot the task ${id} (${one.options.what}) before its outcome was seen`;
      one.reject(new VSphereFault("ManagedObjectNotFound", text, { obj: one.task }));
    }
    this.waiting.delete(id);
  }

  private forget(id: string, waiting: Waiting): void {
    const others = (this.waiting.get(id) ?? []).filter((one) => one !== waiting);
    if (others.length > 0) this.waiting.set(id, others);
    else this.waiting.delete(id);
  }

  private failAll(error: unknown): void {
    for (const waiting of this.waiting.values()) for (const one of waiting) one.reject(error);
    this.waiting.clear();
  }
}

function outcomeOf(values: ReadonlyMap<string, AnyValue>): Outcome | undefined {
  const state = values.get("info.state");
  if (state === "success") return { result: values.get("info.result") };
  if (state === "error") return { error: values.get("info.error") as LocalizedMethodFault | undefined };
  return undefined;
}

/** The error of a task or of one VM in a batch, as an exception. */
export function taskFault(error: LocalizedMethodFault | undefined, what: string): VSphereFault {
  const fault = error?.fault;
  const message = error?.localizedMessage || `${what} failed: ${fault?._type ?? "vSphere gave no reason"}`;
  return new VSphereFault(fault?._type ?? "SystemError", message, { ...fault });
}
