/**
 * How many VMs boot at a time; the others wait their turn. A boot keeps a processor busy, and a guest that gets too little of
 * one measures its clock wrong and runs into its own time-outs: all starting at once is slower for everybody and fails for some.
 */
import { BOOT_TURN, BOOTS_AT_ONCE_MINIMUM, BOOTS_PER_CPU } from "./limits.ts";

export class BootAdmission {
  #free: number;
  readonly #turnMilliseconds: number;
  readonly #waiting: (() => void)[] = [];

  /** `cpus` of the hosts. */
  constructor(cpus: number, turnMilliseconds = BOOT_TURN) {
    this.#free = Math.max(BOOTS_AT_ONCE_MINIMUM, Math.floor(cpus * BOOTS_PER_CPU));
    this.#turnMilliseconds = turnMilliseconds;
  }

  /**
   * Resolves when a VM may be powered on, first come first served, with the function to call when it has booted or failed
   * to. A guest that never reports gives its turn back after BOOT_TURN: it shall not hold up the others.
   */
  async enter(): Promise<() => void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let left = false;
    const leave = (): void => {
      if (left) return;
      left = true;
      clearTimeout(timer);
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    };
    const timer = setTimeout(leave, this.#turnMilliseconds);
    return leave;
  }
}
