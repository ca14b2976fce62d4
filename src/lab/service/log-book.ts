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

  /** At most `count` lines from number `start` on, or from the first that is still there. */
  read(start: number, count: number): { start: number; lines: string[] } {
    const first = Math.max(start, this.#dropped + 1);
    return { start: first, lines: this.#lines.slice(first - this.#dropped - 1, first - this.#dropped - 1 + count) };
  }
}
