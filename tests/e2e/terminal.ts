/** The docker CLI on a terminal of its own, as a person has it: what it shows, what is typed, and the size of the window. */
import { expect } from "bun:test";

/** How long a text may take to appear. A VM boots meanwhile. */
const TEXT_LIMIT_MILLISECONDS = 120_000;

export class TerminalSession {
  /** Everything shown so far, without the carriage returns of terminals. */
  shown = "";
  readonly exited: Promise<number>;
  readonly #terminal: Bun.Terminal;
  readonly #decoder = new TextDecoder();
  #read = 0;
  #arrived: () => void = () => undefined;

  constructor(command: string[], size: { rows: number; cols: number }) {
    const child = Bun.spawn(command, {
      env: { ...process.env, TERM: "xterm" },
      terminal: {
        ...size,
        data: (_terminal, bytes) => {
          this.shown += this.#decoder.decode(bytes, { stream: true }).replaceAll("\r", "");
          this.#arrived();
        },
      },
    });
    if (child.terminal === undefined) throw new Error("no terminal");
    this.#terminal = child.terminal;
    this.exited = child.exited;
  }

  type(text: string): void {
    this.#terminal.write(text);
  }

  resize(rows: number, cols: number): void {
    this.#terminal.resize(cols, rows);
  }

  /** Resolves when the text appears after what earlier calls have found. Fails after a while, and when the command ends before. */
  async find(text: string): Promise<void> {
    const deadline = Date.now() + TEXT_LIMIT_MILLISECONDS;
    let over = false;
    void this.exited.then(() => {
      over = true;
      this.#arrived();
    });
    for (;;) {
      const at = this.shown.indexOf(text, this.#read);
      if (at >= 0) {
        this.#read = at + text.length;
        return;
      }
      const left = deadline - Date.now();
      if (over || left <= 0) expect(this.shown.slice(this.#read)).toContain(text);
      const arrived = Promise.withResolvers<void>();
      this.#arrived = arrived.resolve;
      const timer = setTimeout(arrived.resolve, left);
      await arrived.promise;
      clearTimeout(timer);
    }
  }
}

/** `docker ARGUMENTS` on a terminal of this size. */
export const dockerOnTerminal = (size: { rows: number; cols: number }, ...words: string[]): TerminalSession =>
  new TerminalSession(["docker", ...words], size);
