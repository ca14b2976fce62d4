import { LabFault } from "../fault.ts";
import type { Task } from "../task/task.ts";
import type { Host } from "./host.ts";

/** A `timeout` of zero or less is none. */
export async function enterMaintenanceMode(host: Host, task: Task, timeoutSeconds: number): Promise<void> {
  if (host.inMaintenanceMode) {
    throw new LabFault("InvalidState", `The host ${host.name} is in maintenance mode already.`);
  }
  const { events } = host.context;
  events.postOfHost("EnteringMaintenanceModeEvent", host, `Host ${host.name} has started to enter maintenance mode`);
  await withoutRunning(host, task, timeoutSeconds);
  await host.setMaintenanceMode(true);
  events.postOfHost("EnteredMaintenanceModeEvent", host, `Host ${host.name} has entered maintenance mode`);
}

export async function exitMaintenanceMode(host: Host): Promise<void> {
  if (!host.inMaintenanceMode) {
    throw new LabFault("InvalidState", `The host ${host.name} is not in maintenance mode.`);
  }
  await host.setMaintenanceMode(false);
  host.context.events.postOfHost("ExitMaintenanceModeEvent", host, `Host ${host.name} has exited maintenance mode`);
}

/**
 * Waits until no VM runs on the host. As on a cluster without DRS nobody moves them away: they are powered off, suspended or migrated by
 * who wants the host. Timedout when the time is over, RequestCanceled when the task is cancelled.
 */
async function withoutRunning(host: Host, task: Task, timeoutSeconds: number): Promise<void> {
  const free = (): boolean => host.virtualMachines.every(({ powerState }) => powerState !== "poweredOn");
  if (free()) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const stop = host.registry.onChange(() => {
    if (free()) resolve();
  });
  const timeUp = (): void => {
    const left = host.virtualMachines.filter(({ powerState }) => powerState === "poweredOn").map(({ name }) => name);
    reject(new LabFault("Timedout", `VMs still run on the host ${host.name}: ${left.join(", ")}.`));
  };
  const timer = timeoutSeconds > 0 ? setTimeout(timeUp, timeoutSeconds * 1000) : undefined;
  task.cancelWith(reject);
  try {
    await promise;
  } finally {
    stop();
    clearTimeout(timer);
    task.cancelWith(undefined);
  }
}
