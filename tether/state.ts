import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import {
  ADDRESS_KEY,
  DISK_LAYOUT,
  type GuestState,
  type InterfaceConfiguration,
  STATE_KEY,
} from "../src/link/guest-configuration.ts";
import { decodeState, encodeState } from "../src/link/guest-configuration-codec.ts";
import type { GuestInfo } from "./rpci/guest-info.ts";

/** Milliseconds since the kernel started. */
export const kernelMilliseconds = (): number =>
  Math.round(Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1000);

/** The current time as RFC 3339 with nanoseconds. */
export const timestamp = (): string => {
  const microseconds = Math.round((performance.timeOrigin + performance.now()) * 1000);
  const whole = new Date(Math.floor(microseconds / 1_000_000) * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(microseconds % 1_000_000).padStart(6, "0")}000Z`;
};

const bootId = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

/** What /init measured: `name=milliseconds,…`. */
const initPhases = (): [string, number][] =>
  (process.env.VCH_INIT_PHASES ?? "").split(",").flatMap((entry): [string, number][] => {
    const [name = "", at = ""] = entry.split("=");
    return /^[a-z]{1,16}$/.test(name) && /^\d{1,9}$/.test(at) ? [[`init.${name}`, Number(at)]] : [];
  });

/** The state that this VM reports: to guestinfo, to its RW disk, and to whoever listens. */
export class StateReport {
  #state: GuestState;
  readonly #guestInfo: GuestInfo;
  #file: string | undefined;
  readonly #listeners = new Set<(state: GuestState) => void>();
  /** Reports go out one after the other; only the newest waits. */
  #sending: Promise<void> = Promise.resolve();
  #queued = false;

  constructor(guestInfo: GuestInfo) {
    this.#guestInfo = guestInfo;
    this.#state = { version: 1, boot: bootId(), status: "booting", phases: {} };
    for (const [name, at] of initPhases()) this.phase(name, at);
    // /init became this program: what is older than its own clock was the kernel's and init's time.
    this.phase("tether", Math.max(0, kernelMilliseconds() - Math.round(performance.now())));
  }

  get current(): GuestState {
    return this.#state;
  }

  /** From now on the state is also kept on the RW disk. Returns the state that an earlier run left there. */
  keepIn(privateDirectory: string): GuestState | undefined {
    this.#file = `${privateDirectory}/${DISK_LAYOUT.state}`;
    const earlier = existsSync(this.#file) ? decodeState(readFileSync(this.#file, "utf8")) : undefined;
    this.#store();
    return earlier;
  }

  phase(name: string, at = kernelMilliseconds()): void {
    this.#state = { ...this.#state, phases: { ...this.#state.phases, [name]: at } };
  }

  onChange(listener: (state: GuestState) => void): void {
    this.#listeners.add(listener);
  }

  /** Changes the state and reports it; the promise resolves when guestinfo has it. Never rejects. */
  update(changes: Partial<GuestState>): Promise<void> {
    this.#state = { ...this.#state, ...changes };
    this.#store();
    for (const listener of this.#listeners) listener(this.#state);
    if (!this.#queued) {
      this.#queued = true;
      this.#sending = this.#sending.then(async () => {
        this.#queued = false;
        const failure = await this.#guestInfo.set(STATE_KEY, encodeState(this.#state));
        if (failure !== undefined) console.error(`reporting the state: ${failure}`);
      });
    }
    return this.#sending;
  }

  /** The guest's address as VMware Tools tell it: vSphere clients show it with the VM. After what else is to be told; never rejects. */
  tellAddress(interfaces: readonly InterfaceConfiguration[]): void {
    const first = interfaces.find(({ hidden }) => hidden !== true);
    const address = first?.addresses[0]?.address ?? this.#state.leases?.find(({ mac }) => mac === first?.mac)?.address;
    if (address === undefined) return;
    this.#sending = this.#sending.then(async () => {
      const failure = await this.#guestInfo.set(ADDRESS_KEY, address);
      if (failure !== undefined) console.error(`reporting the address: ${failure}`);
    });
  }

  #store(): void {
    if (this.#file === undefined) return;
    try {
      writeFileSync(`${this.#file}.new`, JSON.stringify(this.#state), { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch (error) {
      console.error(`keeping the state on disk: ${error}`);
    }
  }
}
