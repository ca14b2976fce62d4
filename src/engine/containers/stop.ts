/** Stop, kill and restart. */
import { LinkError } from "../../link/link-error.ts";
import type { EngineContext } from "../context.ts";
import { conflict, EngineError } from "../errors.ts";
import { DEFAULT_STOP_TIMEOUT_SECONDS, KILL_GRACE, LINK_TIMEOUT } from "../limits.ts";
import { SIGKILL, SIGTERM, signalNumber } from "../signals.ts";
import { within } from "../waiting.ts";
import type { Container } from "./container.ts";
import { publishContainer } from "./container-events.ts";
import { startContainer } from "./start.ts";

/** On top of the stop time-out: for the answer of the guest. */
const ANSWER_GRACE = 5_000;

export interface StopOptions {
  timeoutSeconds?: number;
  signal?: string;
}

export async function stopContainer(context: EngineContext, container: Container, options: StopOptions): Promise<void> {
  const signal = options.signal ? signalNumber(options.signal) : undefined;
  await container.queue.run(async () => {
    if (!container.isRunning) throw new EngineError("not-modified", `container ${container.name} is not running`);
    await stopRunning(context, container, { ...options, signalNumber: signal });
    publishContainer(context.events, container, "stop");
  });
}

export async function restartContainer(
  context: EngineContext,
  container: Container,
  options: StopOptions,
): Promise<void> {
  const signal = options.signal ? signalNumber(options.signal) : undefined;
  await container.queue.run(async () => {
    if (container.isRunning) {
      await stopRunning(context, container, { ...options, signalNumber: signal });
      publishContainer(context.events, container, "stop");
    }
    await startContainer(context, container);
    publishContainer(context.events, container, "restart");
  });
}

async function stopRunning(
  context: EngineContext,
  container: Container,
  options: StopOptions & { signalNumber: number | undefined },
): Promise<void> {
  const seconds = options.timeoutSeconds ?? container.document.config.StopTimeout ?? DEFAULT_STOP_TIMEOUT_SECONDS;
  const configured = container.document.config.StopSignal;
  const signal = options.signalNumber ?? (configured ? signalNumber(configured) : SIGTERM);
  const ended = container.nextExit;
  container.stopRequested = true;
  publishContainer(context.events, container, "kill", { signal: String(signal) });
  const patience = seconds < 0 ? undefined : seconds * 1000 + KILL_GRACE + ANSWER_GRACE;
  // The answer is awaited by the exit itself, which may come first by the other way.
  const asked = askToStop(context, container, signal, seconds);
  const gone = Promise.race([ended, asked.then(() => ended)]);
  if (patience === undefined) {
    await gone;
    return;
  }
  const outcome = await within(gone, patience, () => undefined);
  if (outcome === undefined && container.isRunning) await powerOffNow(context, container, ended);
}

/** Fails never: a guest that cannot be asked is powered off. */
async function askToStop(context: EngineContext, container: Container, signal: number, seconds: number): Promise<void> {
  const ended = container.nextExit;
  try {
    const link = await container.link();
    await link.call("stop", { signal, timeoutSeconds: seconds });
  } catch (error) {
    if (!container.isRunning) return;
    context.log(
      `container ${container.name}: cannot be asked to stop (${error instanceof Error ? error.message : error}); powering off`,
    );
    await powerOffNow(context, container, ended);
  }
}

async function powerOffNow(context: EngineContext, container: Container, ended: Promise<number>): Promise<void> {
  await context.vsphere.powerOff(container.virtualMachine);
  await within(ended, LINK_TIMEOUT, () => {
    throw new EngineError(
      "internal",
      `cannot stop container: ${container.name}: vSphere says its VM is off, but it does not show in inventory`,
    );
  });
}

/** SIGKILL to the process, and no restart; the VM is powered off when the guest does not do it in time. */
export async function killContainer(context: EngineContext, container: Container): Promise<void> {
  const ended = container.nextExit;
  container.stopRequested = true;
  publishContainer(context.events, container, "kill", { signal: String(SIGKILL) });
  const session = container.session;
  if (session) {
    const asked = session.call("stop", { signal: SIGKILL, timeoutSeconds: 0 }).catch((error: unknown) => {
      context.log(`container ${container.name}: kill: ${error instanceof Error ? error.message : error}`);
    });
    const outcome = await within(Promise.race([ended, asked.then(() => ended)]), KILL_GRACE, () => undefined);
    if (outcome !== undefined || !container.isRunning) return;
  }
  if (container.isRunning) await powerOffNow(context, container, ended);
}

export async function signalContainer(
  context: EngineContext,
  container: Container,
  text: string | undefined,
): Promise<void> {
  const signal = text ? signalNumber(text) : SIGKILL;
  if (!container.isRunning)
    throw conflict(`cannot kill container: ${container.name}: container ${container.id} is not running`);
  if (signal === SIGKILL) {
    await killContainer(context, container);
    return;
  }
  const link = await container.link();
  try {
    await link.call("signal", { process: "main", signal });
  } catch (error) {
    if (error instanceof LinkError && error.code === "not-running")
      throw conflict(`cannot kill container: ${container.name}: container ${container.id} is not running`);
    throw error;
  }
  publishContainer(context.events, container, "kill", { signal: String(signal) });
}
