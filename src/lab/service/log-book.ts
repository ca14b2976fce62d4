/** The last lines of the lab's log, for clients that may read them. Lines are numbered from 1 and keep their number. */
export class LogBook {
  readonly #lines: string[] = [];
  #dropped = 0;

  /** Most lines kept; older ones are forgotten. */
  static readonly LIMIT = 10_000;

  add(line: string): void {
    this.#lines.push(`${new Date().toISOString()} ${line}`);
    if (this.#lines.length > LogBook.LIMIT) {
      this.#lines.shift();
      this.#dropped++;
    }
  }

  /** Number of the last line. */
  get end(): number {
    return this.#dropped + this.#lines.length;
  }

  /** `count` lines from number `start` on, or to the end. Lines that are forgotten or never were are empty: clients count what they get. */
  read(start: number, count: number): string[] {
    const lines: string[] = [];
    for (let number = start; number <= this.end && lines.length < count; number++) {
      lines.push(this.#lines[number - this.#dropped - 1] ?? "");
    }
    return lines;
  }
}
