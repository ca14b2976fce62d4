/** `docker pause` and `unpause`: the guest's kernel freezes the container's processes. A VM that vSphere suspended is powered on again. */
import { LinkError } from "../../link/link-error.ts";
import type { EngineContext } from "../context.ts";
import { conflict, EngineError } from "../errors.ts";
import { LINK_TIMEOUT } from "../limits.ts";
import type { Container } from "./container.ts";
import { publishContainer } from "./container-events.ts";

export async function pauseContainer(context: EngineContext, container: Container): Promise<void> {
  await container.queue.run(async () => {
    if (container.status === "paused") throw conflict(`Container ${container.id} is already paused`);
    if (container.status === "restarting")
      throw conflict(`Container ${container.id} is restarting, wait until the container is running`);
    if (!container.isRunning) throw conflict(`Container ${container.id} is not running`);
    await callGuest(container, "pause");
    paused(context, container, true);
  });
}

export async function unpauseContainer(context: EngineContext, container: Container): Promise<void> {
  await container.queue.run(async () => {
    if (container.status !== "paused") throw conflict(`Container ${container.id} is not paused`);
    await resumeSuspended(context, container);
    // Also after a suspend, since it may have been paused before.
    await callGuest(container, "unpause");
    paused(context, container, false);
  });
}

/** What the guest does, or is known to have done; told once. */
export function paused(context: EngineContext, container: Container, isPaused: boolean): void {
  if (container.guest) container.guest = { ...container.guest, paused: isPaused ? true : undefined };
  if (isPaused && container.status === "running") {
    container.status = "paused";
    publishContainer(context.events, container, "pause");
  } else if (!isPaused && container.status === "paused") {
    container.status = "running";
    publishContainer(context.events, container, "unpause");
  }
}

async function resumeSuspended(context: EngineContext, container: Container): Promise<void> {
  const vm = container.virtualMachine;
  if (context.view.get(vm)?.powerState !== "suspended") return;
  await context.vsphere.powerOn(vm);
  await context.view.waitFor(vm, (record) => record.powerState === "poweredOn", LINK_TIMEOUT, "power-on");
}

async function callGuest(container: Container, op: "pause" | "unpause"): Promise<void> {
  const link = await container.link();
  try {
    await link.call(op, {});
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    if (error.code === "not-running") throw conflict(`Container ${container.id} is not running`);
    const verb = op === "pause" ? "pause" : "resume";
    throw new EngineError("internal", `Cannot ${verb} container ${container.id}: ${error.message}`, { cause: error });
  }
}
