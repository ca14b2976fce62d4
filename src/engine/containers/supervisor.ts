/**
 * Follows every container's run: reports of the guest arrive through guestinfo in the inventory view and as messages on the
 * control link (the first wins), power changes through the view. The end of a run is handled here, exactly once.
 */

import type { Channel, LinkSession } from "../../link/contract.ts";
import { type GuestState, STATE_KEY } from "../../link/guest-configuration.ts";
import { decodeState } from "../../link/guest-configuration-codec.ts";
import type { GuestEvent, HealthProbe } from "../../link/operations.ts";
import type { VirtualMachineChange, VirtualMachineRecord } from "../../vsphere/contract.ts";
import { serveShareChannel } from "../binds/file-server.ts";
import { serveSocketChannel } from "../binds/socket.ts";
import type { EngineContext } from "../context.ts";
import {
  ATTACHED_OUTPUT_GRACE,
  ATTACHED_OUTPUT_GRACE_SERIAL,
  ATTACHED_OUTPUT_LIMIT,
  HEALTH_LOG_LENGTH,
  HEALTH_OUTPUT_LENGTH,
  LAST_WORD_GRACE,
  LINK_TIMEOUT,
  POWER_OFF_GRACE,
} from "../limits.ts";
import { leasesDiffer } from "../networks/leased.ts";
import { bindingsOf } from "../networks/endpoints.ts";
import { liveNetwork } from "../networks/surroundings.ts";
import { formatTime, nowNanoseconds, parseTime } from "../time.ts";
import { within } from "../waiting.ts";
import type { Container } from "./container.ts";
import { publishContainer, publishNetworks, publishVolumes } from "./container-events.ts";
import { destroyContainer } from "./destroy.ts";
import { RUN_KEY, type RunRecord } from "./document.ts";
import { captureLogTail } from "./log-tail.ts";
import { paused } from "./pause.ts";
import { writeEntries } from "./stored-entries.ts";
import { describeTimeline } from "./timeline.ts";

/** Exit code of a run whose end nobody saw: as if killed. */
export const EXIT_KILLED = 137;
/** Docker's exit code of a container that could not be started for another reason than its command. */
const EXIT_UNKNOWN = 128;
const ERROR_TEXT_LIMIT = 2048;
/** How long inventory may take to show a power-on that has happened. */
const POWER_ON_NOTICE = 5_000;

/** Listen to a new session: the tether opens a channel for its events, and others for what its bind mounts need. */
export function followSession(context: EngineContext, container: Container, session: LinkSession): void {
  session.onChannel((channel) => {
    switch (channel.request.op) {
      case "event":
        void followEvents(context, container, channel);
        return;
      case "share":
        void serveShareChannel(context, container, channel);
        return;
      case "socket":
        void serveSocketChannel(context, container, channel);
        return;
      default:
        channel.close({ code: "unsupported", message: `the engine does not serve ${channel.request.op}` });
    }
  });
  // A guest that runs may have missed a change of its networks, when an engine was cut off in the midst of it.
  if (!container.starting) void bringNetworkUpToDate(context, container, session);
  context.peers.send(container);
}

async function bringNetworkUpToDate(context: EngineContext, container: Container, session: LinkSession): Promise<void> {
  try {
    await session.call("configureNetwork", liveNetwork(context, container));
  } catch (error) {
    context.log(`container ${container.name}: network: ${error instanceof Error ? error.message : error}`);
  }
}

async function followEvents(context: EngineContext, container: Container, channel: Channel): Promise<void> {
  try {
    for await (const message of channel)
      if (message.kind === "control") guestEvent(context, container, message.message as unknown as GuestEvent);
  } catch (error) {
    // Every run ends so.
    if (!container.isRunning) return;
    context.log(
      `container ${container.name}: events of the guest ended: ${error instanceof Error ? error.message : error}`,
    );
  }
}

function guestEvent(context: EngineContext, container: Container, event: GuestEvent): void {
  switch (event.type) {
    case "state": {
      const state = decodeState(JSON.stringify(event.state));
      if (state) report(context, container, state);
      return;
    }
    case "health": {
      if (!Array.isArray(event.log)) return;
      container.health = event.log.slice(-HEALTH_LOG_LENGTH).map(boundedProbe);
      setHealth(context, container, event.status, event.failingStreak);
      return;
    }
    case "oom":
      publishContainer(context.events, container, "oom");
      return;
  }
}

/** A probe as the guest tells it: guests are hostile. */
function boundedProbe(probe: Partial<HealthProbe> | null): HealthProbe {
  const now = formatTime(nowNanoseconds());
  const exitCode = probe?.exitCode;
  return {
    start: safeTime(probe?.start) ?? now,
    end: safeTime(probe?.end) ?? now,
    // A probe that exceeded its time, or could not be run, has -1 in Docker.
    exitCode: exitCode === -1 ? -1 : clampExit(exitCode),
    output: String(probe?.output ?? "").slice(0, HEALTH_OUTPUT_LENGTH),
  };
}

function setHealth(
  context: EngineContext,
  container: Container,
  status: "starting" | "healthy" | "unhealthy",
  streak: number,
): void {
  if (!["starting", "healthy", "unhealthy"].includes(status)) return;
  const before = container.guest?.health;
  if (!container.guest) return;
  const failingStreak = Number.isSafeInteger(streak) && streak >= 0 ? streak : 0;
  container.guest = { ...container.guest, health: { status, failingStreak } };
  if (before?.status !== status && (status !== "starting" || before))
    publishContainer(context.events, container, `health_status: ${status}`);
}

/** A VM appeared or changed in inventory. When it went off: resolves to true if its run was lost, see poweredOff. */
export function virtualMachineChanged(
  context: EngineContext,
  container: Container,
  change: VirtualMachineChange,
): Promise<boolean> | undefined {
  if (change.kind === "removed") {
    disappeared(context, container);
    return undefined;
  }
  const { record, previous } = change;
  if (record.powerState !== "poweredOff") {
    container.seenOn = true;
    container.timeline.mark("seenOn");
  }
  reportOf(context, container, record);
  if (record.powerState === "poweredOff" && previous !== undefined && previous.powerState !== "poweredOff")
    return poweredOff(context, container);
  if (record.powerState === "suspended") paused(context, container, true);
  else if (record.powerState === "poweredOn" && previous?.powerState === "suspended")
    paused(context, container, container.guest?.paused === true);
  else if (
    record.powerState === "poweredOn" &&
    previous?.powerState === "poweredOff" &&
    !container.isRunning &&
    !container.starting &&
    !container.finishing &&
    container.status !== "removing"
  ) {
    // Somebody else powered it on, an administrator or vSphere HA: its tether runs the container's process.
    container.run = { version: 1, status: "started" };
    container.guest = undefined;
    container.status = "running";
    publishContainer(context.events, container, "start");
  }
  return undefined;
}

/** Take the guest's report out of a VM's record. */
export function reportOf(context: EngineContext, container: Container, record: VirtualMachineRecord): void {
  const text = record.extraConfig.get(STATE_KEY);
  const state = text ? decodeState(text) : undefined;
  if (state) report(context, container, state);
}

/** A report of the guest, by whichever way it came. */
export function report(context: EngineContext, container: Container, state: GuestState): void {
  if (container.isStale(state.boot) || state.status === "booting" || state.status === "ready") return;
  if (!container.starting && !container.isRunning) return;
  if (container.guest && container.guest.boot !== state.boot && container.run?.boot === container.guest.boot) {
    // The VM was reset and boots again: the run before has ended without a word.
    container.bootFinished(container.guest.boot);
  }
  // The two carriers may deliver out of order: never go back from a later report.
  if (container.guest?.boot === state.boot && isOlder(state, container.guest)) return;
  const before = container.guest;
  container.guest = { ...state, health: state.health ?? before?.health };
  container.timeline.guestReported(state);
  if (leasesDiffer(before, state)) context.peers.changed();
  switch (state.status) {
    case "running":
      running(context, container, state, before);
      return;
    case "restarting":
      if (container.status === "running" || container.starting) {
        if (container.starting) running(context, container, state, before);
        container.status = "restarting";
        container.run = { ...container.run, ...runRecord(state, "started") };
        publishContainer(context.events, container, "die", dieAttributes(container, clampExit(state.exitCode)));
      }
      return;
    case "exited":
      if (container.starting) running(context, container, state, before);
      finish(context, container, runRecord(state, "exited"));
      return;
    case "failed":
      finish(context, container, runRecord(state, "failed"));
      return;
  }
}

const PROGRESS: Record<GuestState["status"], number> = {
  booting: 0,
  ready: 0,
  running: 1,
  restarting: 1,
  exited: 2,
  failed: 2,
};

function isOlder(state: GuestState, known: GuestState): boolean {
  if (PROGRESS[state.status] !== PROGRESS[known.status]) return PROGRESS[state.status] < PROGRESS[known.status];
  if ((state.restartCount ?? 0) !== (known.restartCount ?? 0))
    return (state.restartCount ?? 0) < (known.restartCount ?? 0);
  const [mine, theirs] = [parseTime(state.startedAt), parseTime(known.startedAt)];
  return mine !== undefined && theirs !== undefined && mine < theirs;
}

function running(
  context: EngineContext,
  container: Container,
  state: GuestState,
  before: GuestState | undefined,
): void {
  const { starting } = container;
  container.timeline.mark("running");
  const again = container.status === "restarting" && before?.status === "restarting";
  container.run = { ...runRecord(state, "started"), exitCode: 0 };
  if (container.status !== "paused") container.status = "running";
  container.starting = undefined;
  if (starting || again) {
    publishContainer(context.events, container, "start");
    if (state.health) publishContainer(context.events, container, `health_status: ${state.health.status}`);
  } else if (state.health && before?.health?.status !== state.health.status)
    publishContainer(context.events, container, `health_status: ${state.health.status}`);
  const suspended = container.vm && context.view.get(container.vm)?.powerState === "suspended";
  paused(context, container, state.paused === true || suspended === true);
  starting?.resolve(state);
  container.wake();
}

const clampExit = (code: unknown): number =>
  typeof code === "number" && Number.isInteger(code) && code >= 0 && code <= 255 ? code : EXIT_UNKNOWN;

const safeTime = (text: unknown): string | undefined =>
  typeof text === "string" && parseTime(text) !== undefined ? text : undefined;

/** What a guest reported, bounded: guests are hostile. */
export function runRecord(state: GuestState, status: RunRecord["status"]): RunRecord {
  const failed = status === "failed";
  return {
    version: 1,
    status,
    boot: state.boot.slice(0, 64),
    startedAt: failed ? undefined : safeTime(state.startedAt),
    finishedAt: safeTime(state.finishedAt),
    exitCode: failed ? failureExitCode(state) : clampExit(state.exitCode ?? 0),
    error: state.error?.slice(0, ERROR_TEXT_LIMIT),
    oomKilled: state.oomKilled === true,
    restartCount: Math.max(0, Math.trunc(state.restartCount ?? 0)),
    ...(state.stopped && status === "exited" ? { stopped: true } : {}),
  };
}

function failureExitCode(state: GuestState): number {
  if (state.failure === "not-found") return 127;
  if (state.failure === "not-executable" || state.failure === "bad-working-directory") return 126;
  return state.exitCode ? clampExit(state.exitCode) : EXIT_UNKNOWN;
}

function dieAttributes(container: Container, exitCode: number): Record<string, string> {
  const started = parseTime(container.run?.startedAt);
  const seconds = started === undefined ? 0n : (nowNanoseconds() - started) / 1_000_000_000n;
  return { exitCode: String(exitCode), execDuration: String(seconds < 0n ? 0n : seconds) };
}

/**
 * The VM went off. The guest's last word may still be on its way; without one the run counts as killed. True when it was
 * running and nobody had asked for its end.
 */
async function poweredOff(context: EngineContext, container: Container): Promise<boolean> {
  if (!container.isRunning && !container.starting) return false;
  const { endedRuns } = container;
  await within(container.turn, LAST_WORD_GRACE, () => undefined);
  if (container.endedRuns !== endedRuns || (!container.isRunning && !container.starting)) return false;
  const failed = container.starting !== undefined;
  const lost = !failed && !container.stopRequested;
  const end: RunRecord = {
    ...(failed ? {} : container.run),
    version: 1,
    status: failed ? "failed" : "exited",
    boot: container.guest?.boot,
    finishedAt: formatTime(nowNanoseconds()),
    exitCode: EXIT_KILLED,
    error: failed ? "the VM was powered off before its process started: see tether.debug in the VM's directory" : "",
  };
  // Of output, only what has arrived is still to come.
  finish(context, container, end, LAST_WORD_GRACE);
  return lost;
}

/**
 * The run has ended. Idempotent per run. Events and waiting clients are told once the attached clients have all of the output, as
 * by Docker: `compose up --abort-on-container-exit` stops reading at the event. `outputGrace` bounds that wait, in milliseconds, where
 * no more output is to come.
 */
export function finish(context: EngineContext, container: Container, end: RunRecord, outputGrace?: number): void {
  if (container.finishing || (!container.isRunning && !container.starting)) return;
  const { starting } = container;
  container.timeline.mark("exited");
  if (end.boot !== undefined) container.bootFinished(end.boot);
  container.endedRuns++;
  const exitCode = end.exitCode ?? EXIT_UNKNOWN;
  const record: RunRecord = {
    ...end,
    finishedAt: end.finishedAt ?? formatTime(nowNanoseconds()),
    ...(container.stopRequested ? { stopped: true } : {}),
  };
  container.run = record;
  container.starting = undefined;
  container.status = end.status === "failed" && end.startedAt === undefined ? "created" : "exited";
  const attributes = dieAttributes(container, exitCode);
  const tell = (): void => {
    publishContainer(context.events, container, "die", attributes);
    publishNetworks(context.events, container, "disconnect");
    publishVolumes(context.events, container, "unmount");
    container.exited(exitCode);
  };
  // A process that could not be started has written nothing.
  const delivering = end.status !== "failed" && container.attachments > 0;
  if (!delivering) tell();
  const delivered = (): Promise<void> =>
    outputGrace === undefined
      ? container.outputDelivered(patience(container), ATTACHED_OUTPUT_LIMIT)
      : within(container.noAttachments(), outputGrace, () => undefined);
  const told = delivering ? delivered().then(tell) : undefined;
  container.finishing = settleAfter(context, container, record, told)
    .catch((error: unknown) => {
      context.log(`container ${container.name}: after its end: ${error instanceof Error ? error.message : error}`);
    })
    .finally(() => {
      context.debug(`container ${container.name}: ${describeTimeline(container.timeline)}`);
      container.finishing = undefined;
      container.stopRequested = false;
    });
  container.wake();
  if (starting && end.status === "failed") starting.resolve(container.guest ?? failedState(record));
}

const patience = ({ document }: Container): number =>
  document.control === undefined ? ATTACHED_OUTPUT_GRACE_SERIAL : ATTACHED_OUTPUT_GRACE;

const failedState = (run: RunRecord): GuestState => ({
  version: 1,
  boot: run.boot ?? "",
  status: "failed",
  error: run.error,
});

async function settleAfter(
  context: EngineContext,
  container: Container,
  record: RunRecord,
  told: Promise<void> | undefined,
): Promise<void> {
  await told;
  await settle(context, container, record);
}

/** Let the VM go off, and keep how the run ended where the next engine finds it. */
async function settle(context: EngineContext, container: Container, record: RunRecord): Promise<void> {
  if (!container.autoRemove) await captureLogTail(container);
  await endVirtualMachine(context, container);
  await context.networks.withdraw(container.id);
  container.published = [];
  if (container.autoRemove) {
    container.status = "removing";
    await destroyContainer(context, container, { volumes: true, marked: false });
    return;
  }
  await writeEntries(context, container, { [RUN_KEY]: JSON.stringify(record) });
}

async function endVirtualMachine(context: EngineContext, container: Container): Promise<void> {
  const vm = container.virtualMachine;
  const isOff = (record: VirtualMachineRecord): boolean => record.powerState === "poweredOff";
  if (!container.seenOn)
    // The end was told before inventory showed the beginning: "off" would still be the time before the run.
    await context.view
      .waitFor(vm, (record) => !isOff(record), POWER_ON_NOTICE, `power-on of ${container.name}`)
      .catch(() => undefined);
  const record = context.view.get(vm);
  if (!record || !isOff(record)) {
    // A guest whose link is lost waits until it is back: its last writes are on the disk when it goes off by itself.
    const away = container.session !== undefined && container.session.carriedFor === undefined;
    const grace = away ? LINK_TIMEOUT + POWER_OFF_GRACE : POWER_OFF_GRACE;
    const off = context.view.waitFor(vm, isOff, grace, `power-off of ${container.name}`);
    off.catch(() => undefined);
    await acknowledge(context, container, off);
    try {
      await off;
    } catch (error) {
      context.log(`container ${container.name}: ${error instanceof Error ? error.message : error}; powering off`);
      await context.vsphere.powerOff(vm);
      await context.view.waitFor(vm, isOff, POWER_OFF_GRACE, `power-off of ${container.name}`);
    }
  }
  container.timeline.mark("off");
  container.disconnect();
}

/** Tell the guest that its exit is known. Its session may come after the report that came by guestinfo. */
async function acknowledge(context: EngineContext, container: Container, off: Promise<unknown>): Promise<void> {
  const asked = container
    .sessionWithin(POWER_OFF_GRACE)
    .then((session) => session?.call("acknowledgeExit", {}))
    .then(() => container.timeline.mark("acknowledged"))
    .catch((error: unknown) => {
      // A VM that is already going off does not answer any more.
      context.log(
        `container ${container.name}: exit not acknowledged: ${error instanceof Error ? error.message : error}`,
      );
    });
  await Promise.race([asked, off.catch(() => undefined)]);
}

async function releaseNetworks(context: EngineContext, container: Container): Promise<void> {
  await context.networks.withdraw(container.id);
  await context.networks.unbind(bindingsOf(context, container.document));
}

/** Its VM was deleted by somebody else, or moved out of our sight; should it come back, it is taken up again. */
function disappeared(context: EngineContext, container: Container): void {
  if (container.status === "removing") return;
  if (container.isRunning) container.exited(EXIT_KILLED);
  container.status = "dead";
  context.table.drop(container);
  void releaseNetworks(context, container).catch((error: unknown) => {
    context.log(`container ${container.name}: ${error instanceof Error ? error.message : error}`);
  });
  publishContainer(context.events, container, "destroy");
  container.removed.resolve();
  container.wake();
}
