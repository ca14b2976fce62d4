/** Starts tasks and waits for them, and tries again where vSphere says that it was busy. */
import { VSphereFault } from "./contract.ts";
import type { Session } from "./session.ts";
import { TaskWaiter } from "./task-waiter.ts";
import { type ManagedObjectReference, type Methods, method as methodInfo, type Parameters } from "./vim25/index.ts";

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
  private readonly waiter: TaskWaiter;

  constructor(private readonly session: Session) {
    this.waiter = new TaskWaiter(session);
  }

  close(): Promise<void> {
    return this.waiter.close();
  }

  /** Calls the method and waits for its task. Faults of both are thrown as VSphereFault; transient ones after some attempts. */
  async run<M extends TaskMethod>(method: M, on: Methods[M]["on"], parameters: Parameters<M>): Promise<TaskResult<M>> {
    for (let attempt = 1; ; attempt++) {
      try {
        const task = await this.session.call(method, on, parameters);
        // The schema pairs the method with what its task yields.
        const yields = methodInfo(method)?.taskResult?.kind !== "void";
        return (await this.wait(task as ManagedObjectReference<"Task">, method, yields)) as TaskResult<M>;
      } catch (error) {
        if (!(error instanceof VSphereFault) || !TRANSIENT.has(error.fault) || attempt >= ATTEMPTS) throw error;
        await this.untilFree(error, attempt);
      }
    }
  }

  /** Waits for a task that was started; resolves with its result. */
  wait(task: ManagedObjectReference<"Task">, what: string, yields = false): Promise<unknown> {
    return this.waiter.wait(task, { what, yields, timeoutMilliseconds: TASK_TIMEOUT_MS });
  }

  /** A busy object names the task that keeps it busy: wait for that one. Else there is no event to wait for. */
  private async untilFree(fault: VSphereFault, attempt: number): Promise<void> {
    const pause = Math.min(FIRST_RETRY_MS * 2 ** (attempt - 1), LAST_RETRY_MS) * (0.5 + Math.random());
    const { task } = fault.detail;
    if (typeof task === "object" && task !== null && "value" in task && typeof task.value === "string") {
      // However it ends, the object is free then.
      const busy: ManagedObjectReference<"Task"> = { type: "Task", value: task.value };
      const options = { what: "The task in progress", yields: false, timeoutMilliseconds: LAST_RETRY_MS };
      await this.waiter.wait(busy, options).catch(() => undefined);
    } else {
      await Bun.sleep(pause);
    }
  }
}
