/** When the steps of a container's run happened, for whoever asks where the time goes. Kept in memory only. */
import type { GuestState } from "../../link/guest-configuration.ts";
import type { RunTimes } from "../contract.ts";
import { RUN_TIMES_KEPT } from "../limits.ts";

/**
 * Steps in their usual order: the API's `create` began, the VM was made (`created`); `start` began, its configuration was
 * brought up to date (`configured`), vSphere answered the power-on (`poweredOn`), inventory showed it (`seenOn`), the guest
 * called (`linked`), reported the process (`running`) and its end (`exited`); the end was acknowledged to the guest
 * (`acknowledged`), the VM was seen off (`off`), and destroyed (`destroyed`).
 */
export type Step =
  | "create"
  | "created"
  | "start"
  | "configured"
  | "poweredOn"
  | "seenOn"
  | "linked"
  | "running"
  | "exited"
  | "acknowledged"
  | "off"
  | "destroyed";

/** Phases of one guest report that are kept; a guest is hostile. */
const GUEST_PHASES = 32;
const PHASE_NAME = /^[a-z][a-zA-Z.]{0,31}$/;

/** Milliseconds since the epoch, with a fraction. */
export const epochMilliseconds = (): number => performance.timeOrigin + performance.now();

export class Timeline {
  readonly #steps = new Map<Step, number>();
  #guest: Record<string, number> = {};

  /** The first time counts. */
  mark(step: Step, at = epochMilliseconds()): void {
    if (!this.#steps.has(step)) this.#steps.set(step, at);
  }

  has(step: Step): boolean {
    return this.#steps.has(step);
  }

  guestReported(state: GuestState): void {
    const phases = Object.entries(state.phases ?? {}).filter(
      ([name, at]) => PHASE_NAME.test(name) && typeof at === "number" && at >= 0,
    );
    if (phases.length > 0) this.#guest = Object.fromEntries(phases.slice(0, GUEST_PHASES));
  }

  get steps(): Record<string, number> {
    return Object.fromEntries(this.#steps);
  }

  get guest(): Record<string, number> {
    return this.#guest;
  }
}

/** The last runs, oldest first. */
export class RecentRuns {
  readonly #runs: { container: string; name: string; timeline: Timeline }[] = [];

  add(container: { id: string; name: string; timeline: Timeline }): void {
    this.#runs.push({ container: container.id, name: container.name, timeline: container.timeline });
    if (this.#runs.length > RUN_TIMES_KEPT) this.#runs.shift();
  }

  list(): RunTimes[] {
    return this.#runs.map(({ container, name, timeline }) => ({
      container,
      name,
      steps: timeline.steps,
      guest: timeline.guest,
    }));
  }
}

/** One line for the log: milliseconds from step to step, and the guest's own count. */
export function describeTimeline({ steps, guest }: Pick<Timeline, "steps" | "guest">): string {
  const ordered = Object.entries(steps).sort(([, a], [, b]) => a - b);
  const first = ordered[0]?.[1] ?? 0;
  const text = (entries: [string, number][], origin: number): string =>
    entries.map(([name, at]) => `${name} ${Math.round(at - origin)}`).join(", ");
  return `ms: ${text(ordered, first)}; guest ms: ${text(Object.entries(guest), 0) || "none"}`;
}
