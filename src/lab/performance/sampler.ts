import type { LabContext } from "../inventory/context.ts";
import type { VirtualMachine } from "../vm/virtual-machine.ts";
import type { Reading } from "./counters.ts";

/** Seconds between two samples: vSphere's real-time interval. */
export const INTERVAL_SECONDS = 20;
/** Samples kept: one hour, as on vSphere. */
const HISTORY = 180;
/** A VM is measured for this long after somebody has asked for its counters. */
const INTEREST_MILLISECONDS = 60 * 60 * 1000;

interface History {
  readings: Reading[];
  asked: number;
  /** When the machine that was measured was started. */
  boot: number;
}

/** Reads the counters of running machines, as long as somebody wants to know them. */
export class Sampler {
  readonly #histories = new Map<VirtualMachine, History>();
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly context: LabContext) {}

  /** Readings of the VM's present run, oldest first; the first one is its start. */
  async readings(vm: VirtualMachine): Promise<readonly Reading[]> {
    const history = this.#history(vm);
    if (!history) return [];
    history.asked = Date.now();
    this.#timer ??= this.#start();
    const age = Date.now() - (history.readings.at(-1)?.time ?? 0);
    if (history.readings.length < 2 || age >= INTERVAL_SECONDS * 1000) await this.#read(vm, history);
    return history.readings;
  }

  #history(vm: VirtualMachine): History | undefined {
    if (!vm.machine || !vm.bootTime) {
      this.#histories.delete(vm);
      return undefined;
    }
    const boot = vm.bootTime.getTime();
    const known = this.#histories.get(vm);
    if (known?.boot === boot) return known;
    // A machine that has just been started has used nothing.
    const counters = { cpuNanoseconds: 0, residentBytes: 0, disks: [], networkAdapters: [] };
    const history: History = { readings: [{ time: boot, counters }], asked: Date.now(), boot };
    this.#histories.set(vm, history);
    return history;
  }

  #start(): NodeJS.Timeout {
    const timer = setInterval(() => void this.#sampleAll(), INTERVAL_SECONDS * 1000);
    timer.unref();
    return timer;
  }

  async #sampleAll(): Promise<void> {
    const limit = Date.now() - INTEREST_MILLISECONDS;
    for (const [vm, { asked }] of this.#histories) {
      const history = asked < limit ? undefined : this.#history(vm);
      if (history) await this.#read(vm, history);
      else this.#histories.delete(vm);
    }
    if (this.#histories.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #read(vm: VirtualMachine, history: History): Promise<void> {
    try {
      const counters = await vm.machine?.counters();
      if (counters) history.readings.push({ time: Date.now(), counters });
    } catch (error) {
      // The machine may end while it is asked.
      this.context.log(`${vm.name} cannot be measured: ${error instanceof Error ? error.message : error}`);
    }
    if (history.readings.length > HISTORY + 1) history.readings.shift();
  }
}
