/**
 * Waits for any number of tasks with one filter: a list view holds the tasks that somebody waits for, and one long poll tells of
 * all of them. Waiting for a task costs one call, which joins those of others that start at the same time.
 */
import { VSphereFault } from "./contract.ts";
import { retrieve } from "./properties.ts";
import { PropertyWatcher } from "./property-watcher.ts";
import type { Session } from "./session.ts";
import {
  isReference,
  type LocalizedMethodFault,
  type ManagedObjectReference,
  type ObjectUpdate,
  type PropertyFilterSpec,
  type TaskInfo,
} from "./vim25/index.ts";

const JOIN_ATTEMPTS = 5;
const JOIN_RETRY_MS = 200;
/** A server that loses an update must not hang us: what is still waited for is read again, ever more rarely. */
const FIRST_REREAD_MS = 1_000;
const LAST_REREAD_MS = 30_000;

type TaskReference = ManagedObjectReference<"Task">;

interface Waiting {
  task: TaskReference;
  what: string;
  settle(outcome: { result: unknown } | { error: unknown }): void;
}

export class TaskWaiter {
  private readonly waiting = new Map<string, Waiting>();
  private readonly watcher: PropertyWatcher;
  private view: ManagedObjectReference<"ListView"> | undefined;
  /** Tasks to put into the list view, and finished ones to take out with the same call. */
  private joining: TaskReference[] = [];
  private leaving: TaskReference[] = [];
  private updating = false;
  private reread: Timer | undefined;
  private rereadPause = FIRST_REREAD_MS;

  constructor(private readonly session: Session) {
    this.watcher = new PropertyWatcher(session, {
      filter: () => this.filter(),
      onUpdates: (updates) => this.apply(updates),
      onRefused: (error) => this.failAll(error),
    });
  }

  /** Resolves with the task's result; rejects with its error, or when it does not finish in time. */
  wait(task: TaskReference, what: string, timeoutMilliseconds: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const text = `${what} did not finish within ${timeoutMilliseconds / 1000} s; look at the task ${task.value} in vSphere`;
        this.finish(task.value, { error: new VSphereFault("Timedout", text, { task }) });
      }, timeoutMilliseconds);
      const previous = this.waiting.get(task.value);
      this.waiting.set(task.value, {
        task,
        what,
        settle(outcome) {
          clearTimeout(timer);
          previous?.settle(outcome);
          if ("error" in outcome) reject(outcome.error);
          else resolve(outcome.result);
        },
      });
      this.joining.push(task);
      this.rereadPause = FIRST_REREAD_MS;
      this.scheduleReread();
      if (!this.updating) void this.updateView();
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.reread);
    await this.watcher.close();
    // It ends with the session at the latest.
    if (this.view && !this.session.isClosed)
      await this.session.call("DestroyView", this.view, {}).catch(() => undefined);
    this.failAll(new VSphereFault("RequestCanceled", "The connection to vSphere was closed while a task was running"));
  }

  private async filter(): Promise<PropertyFilterSpec> {
    const { viewManager } = this.session.content;
    if (!viewManager) throw new VSphereFault("NotSupported", "The server offers no view manager");
    this.joining = [];
    this.leaving = [];
    const view = await this.session.call("CreateListView", viewManager, {
      obj: [...this.waiting.values()].map(({ task }) => task),
    });
    this.view = view;
    if (this.joining.length > 0 && !this.updating) void this.updateView();
    return {
      propSet: [{ type: "Task", pathSet: ["info"] }],
      objectSet: [
        { obj: view, skip: true, selectSet: [{ _type: "TraversalSpec", type: "ListView", path: "view", skip: false }] },
      ],
    };
  }

  private async updateView(): Promise<void> {
    this.updating = true;
    let failures = 0;
    // Without a view there is nothing to do: the one to come starts with all tasks.
    while (this.joining.length > 0 && this.view && !this.session.isClosed) {
      const { view } = this;
      const [add, remove] = [this.joining, this.leaving];
      this.joining = [];
      this.leaving = [];
      try {
        const unresolved = await this.session.call("ModifyListView", view, { add, remove });
        for (const { value } of unresolved) this.lost(value);
        failures = 0;
      } catch (error) {
        if (this.view !== view) continue;
        this.joining.unshift(...add);
        this.leaving.unshift(...remove);
        if (++failures === JOIN_ATTEMPTS) {
          for (const { value } of add) this.finish(value, { error });
          break;
        }
        // The poll meets the same trouble; a new view comes with its recovery.
        await Bun.sleep(JOIN_RETRY_MS);
      }
    }
    this.updating = false;
  }

  private apply(updates: readonly ObjectUpdate[]): void {
    for (const { obj, kind, changeSet } of updates) {
      const info = changeSet?.find((change) => change.name === "info")?.val as TaskInfo | undefined;
      this.see(obj.value, info);
      if (kind === "leave") this.lost(obj.value);
    }
  }

  private see(id: string, info: TaskInfo | undefined): void {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    if (info?.state === "success") this.finish(id, { result: info.result });
    else if (info?.state === "error") this.finish(id, { error: taskFault(info.error, waiting.what) });
  }

  private scheduleReread(): void {
    clearTimeout(this.reread);
    this.reread = setTimeout(() => void this.readAll(), this.rereadPause);
    this.reread.unref();
    this.rereadPause = Math.min(this.rereadPause * 2, LAST_REREAD_MS);
  }

  private async readAll(): Promise<void> {
    if (this.waiting.size === 0 || this.session.isClosed) return;
    try {
      const found = await retrieve(this.session, {
        propSet: [{ type: "Task", pathSet: ["info"] }],
        objectSet: [...this.waiting.values()].map(({ task: obj }) => ({ obj })),
      });
      for (const { reference, values } of found) this.see(reference.value, values.get("info") as TaskInfo | undefined);
    } catch (error) {
      const gone =
        error instanceof VSphereFault && error.fault === "ManagedObjectNotFound" ? error.detail.obj : undefined;
      if (isReference(gone)) this.lost(gone.value);
      // Anything else the poll meets as well, and recovers from.
    }
    this.scheduleReread();
  }

  private lost(id: string): void {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    const text = `vSphere forgot the task ${id} (${waiting.what}) before its outcome was seen`;
    this.finish(id, { error: new VSphereFault("ManagedObjectNotFound", text, { obj: waiting.task }) });
  }

  private finish(id: string, outcome: { result: unknown } | { error: unknown }): void {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    this.waiting.delete(id);
    this.leaving.push(waiting.task);
    waiting.settle(outcome);
  }

  private failAll(error: unknown): void {
    for (const id of [...this.waiting.keys()]) this.finish(id, { error });
  }
}

/** The error of a task or of one VM in a batch, as an exception. */
export function taskFault(error: LocalizedMethodFault | undefined, what: string): VSphereFault {
  const fault = error?.fault;
  const message = error?.localizedMessage || `${what} failed: ${fault?._type ?? "vSphere gave no reason"}`;
  return new VSphereFault(fault?._type ?? "SystemError", message, { ...fault });
}
