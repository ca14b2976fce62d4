/** Tasks: started, waited for through one shared property collector, and tried again where vSphere says it was busy. */
import { VSphereFault } from "./contract.ts";
import { PropertyWatcher } from "./property-watcher.ts";
import type { Session } from "./session.ts";
import type { LocalizedMethodFault, ManagedObjectReference, Methods, Parameters, TaskInfo } from "./vim25/index.ts";

export type TaskMethod = {
  [M in keyof Methods]: Methods[M] extends { taskResult: unknown } ? M : never;
}[keyof Methods];
export type TaskResult<M extends TaskMethod> = Methods[M] extends { taskResult: infer R } ? R : never;

const TASK_TIMEOUT_MS = 20 * 60_000;
const ATTEMPTS = 8;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 3_200;

/** vSphere was busy with something else, or a host was out of reach for a moment: nothing was done. */
const TRANSIENT: ReadonlySet<string> = new Set([
  "TaskInProgress",
  "VAppTaskInProgress",
  "NetworkDisruptedAndConfigRolledBack",
  "FailToLockFaultToleranceVMs",
  "HostCommunication",
]);

export class Tasks {
  private readonly watcher: PropertyWatcher;

  constructor(private readonly session: Session) {
    this.watcher = new PropertyWatcher(session);
  }

  close(): Promise<void> {
    return this.watcher.close();
  }

  /** Calls the method and waits for its task. Faults of both are thrown as VSphereFault; transient ones after some attempts. */
  async run<M extends TaskMethod>(method: M, on: Methods[M]["on"], parameters: Parameters<M>): Promise<TaskResult<M>> {
    for (let attempt = 1; ; attempt++) {
      try {
        const task = await this.session.call(method, on, parameters);
        // The schema pairs the method with what its task yields.
        return (await this.wait(task as ManagedObjectReference<"Task">, method)) as TaskResult<M>;
      } catch (error) {
        if (!(error instanceof VSphereFault) || !TRANSIENT.has(error.fault) || attempt >= ATTEMPTS) throw error;
        await this.untilFree(error, attempt);
      }
    }
  }

  /** Waits for a task that was started; resolves with its result. */
  wait(task: ManagedObjectReference<"Task">, what: string, timeoutMilliseconds = TASK_TIMEOUT_MS): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        stop();
        settle();
      };
      const timer = setTimeout(() => {
        const text = `${what} did not finish within ${timeoutMilliseconds / 1000} s; look at the task ${task.value} in vSphere`;
        finish(() => reject(new VSphereFault("Timedout", text, { task })));
      }, timeoutMilliseconds);
      const stop = this.watcher.watch({
        filter: () =>
          Promise.resolve({
            propSet: [{ type: "Task", pathSet: ["info"] }],
            objectSet: [{ obj: task }],
          }),
        onUpdates: (updates) => {
          for (const { changeSet } of updates) {
            const info = changeSet?.find((change) => change.name === "info")?.val as TaskInfo | undefined;
            if (info?.state === "success") finish(() => resolve(info.result));
            else if (info?.state === "error") finish(() => reject(taskFault(info.error, what)));
          }
        },
        onRefused: (error) => finish(() => reject(error)),
      });
    });
  }

  /** A busy object names the task that keeps it busy: wait for that one. Else there is no event to wait for. */
  private async untilFree(fault: VSphereFault, attempt: number): Promise<void> {
    const pause = Math.min(FIRST_RETRY_MS * 2 ** (attempt - 1), LAST_RETRY_MS) * (0.5 + Math.random());
    const { task } = fault.detail;
    if (typeof task === "object" && task !== null && "value" in task && typeof task.value === "string") {
      // However it ends, the object is free then.
      await this.wait({ type: "Task", value: task.value }, "The task in progress", LAST_RETRY_MS).catch(
        () => undefined,
      );
    } else {
      await Bun.sleep(pause);
    }
  }
}

/** The error of a task or of one VM in a batch, as an exception. */
export function taskFault(error: LocalizedMethodFault | undefined, what: string): VSphereFault {
  const fault = error?.fault;
  return new VSphereFault(
    fault?._type ?? "SystemError",
    error?.localizedMessage || `${what} failed: ${fault?._type ?? "vSphere gave no reason"}`,
    { ...fault },
  );
}
