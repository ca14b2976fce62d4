import { closeSync } from "node:fs";
import type { ProcessConfiguration } from "../../src/link/guest-configuration.ts";
import { PATHS } from "../paths.ts";
import { makePipe, memoryFile, OPEN, open } from "../system/libc.ts";
import { spawned } from "./reaper.ts";
import { completeEnvironment, encodeSpecification, type Placement } from "./specification.ts";
import { ProcessStartError, startErrorFromReport } from "./start-error.ts";
import { openTerminal, resizeTerminal } from "./terminal.ts";
import { resolveUser } from "./users.ts";

export interface StartOptions {
  process: ProcessConfiguration;
  placement: Placement;
  /** Open directory: the container's root. */
  root: number;
  hostname: string;
  /** Path of cgroup.procs of the process's cgroup. */
  cgroup: string | undefined;
  launcher?: string;
}

/** Milliseconds that output may be read without a look at anything else. */
const TURN_LENGTH = 20;
/** Longest report of the launcher. */
const REPORT_LIMIT = 256;

/** A started process with its stdio. Owns the descriptors; `release` closes them. */
export class ChildProcess {
  readonly pid: number;
  /** Exit code, 128 + n after signal n. Never rejects. */
  readonly exited: Promise<number>;
  readonly #stdin: number | undefined;
  readonly #outputs: { stream: number; fd: number }[];
  readonly #terminal: number | undefined;
  #sink: Bun.FileSink | undefined;
  #stdinOpen: boolean;
  #running = true;

  constructor(
    pid: number,
    exited: Promise<number>,
    descriptors: { stdin: number | undefined; outputs: { stream: number; fd: number }[]; terminal: number | undefined },
  ) {
    this.pid = pid;
    this.#stdin = descriptors.stdin;
    this.#outputs = descriptors.outputs;
    this.#terminal = descriptors.terminal;
    this.#stdinOpen = descriptors.stdin !== undefined;
    this.exited = exited.then((code) => {
      this.#running = false;
      return code;
    });
  }

  /** False once the process was reaped. */
  get running(): boolean {
    return this.#running;
  }

  signal(signal: number): void {
    if (!this.#running) throw new ProcessStartError("not-running", "the process has ended");
    process.kill(this.pid, signal);
  }

  resize(rows: number, columns: number): void {
    if (this.#terminal !== undefined && this.#running) resizeTerminal(this.#terminal, rows, columns);
  }

  /** Resolves when the process has room for more input. Input after the process closed its stdin is dropped. */
  async writeInput(bytes: Uint8Array): Promise<void> {
    if (!this.#stdinOpen || this.#stdin === undefined) return;
    try {
      this.#sink ??= Bun.file(this.#stdin).writer();
      this.#sink.write(bytes);
      await this.#sink.flush();
    } catch {
      // EPIPE, or EIO of a terminal: nobody reads any more. As with Docker, the writer is not told.
      this.#stdinOpen = false;
    }
  }

  /** End of input: a pipe is closed; a terminal has no half-close, so that nothing happens there. */
  async endInput(): Promise<void> {
    if (!this.#stdinOpen || this.#stdin === undefined || this.#terminal !== undefined) return;
    this.#stdinOpen = false;
    await this.#endSink();
    closeSync(this.#stdin);
  }

  /** Streams the outputs to `deliver`, whose promise is the back-pressure, and resolves at their end. */
  async pumpOutput(deliver: (stream: number, bytes: Uint8Array) => Promise<void>): Promise<void> {
    await Promise.all(
      this.#outputs.map(async ({ stream, fd }) => {
        const reader = Bun.file(fd).stream().getReader();
        this.#readers.push(reader);
        let turn = performance.now();
        try {
          for (;;) {
            const { value, done } = await reader.read();
            if (done) return;
            await deliver(stream, value);
            // A program that writes without end keeps the pipe full, and nothing else would get its turn: no link, no signal.
            if (performance.now() - turn > TURN_LENGTH) {
              await new Promise((resolve) => setImmediate(resolve));
              turn = performance.now();
            }
          }
        } catch {
          // EIO: the last process on a terminal has closed it. That is its end of file.
        }
      }),
    );
  }
  readonly #readers: { cancel(): Promise<void> }[] = [];

  /** Stops reading outputs that something in the background still holds open. */
  async stopOutput(): Promise<void> {
    for (const reader of this.#readers) await reader.cancel().catch(() => undefined);
  }

  /** Closes all descriptors, after the end of output. */
  async release(): Promise<void> {
    const inputIsOwn = this.#stdinOpen && this.#stdin !== undefined && this.#terminal === undefined;
    if (inputIsOwn) await this.endInput();
    else if (this.#terminal !== undefined) await this.#endSink();
    this.#stdinOpen = false;
    for (const { fd } of this.#outputs) closeSync(fd);
  }

  async #endSink(): Promise<void> {
    try {
      await this.#sink?.end();
    } catch {
      // What was not taken before the reader went away is lost, as in any pipe.
    }
  }
}

/** Starts a process through the launcher. Throws ProcessStartError when it did not come to run. */
export const startProcess = async (options: StartOptions): Promise<ChildProcess> => {
  const { process } = options;
  const name = process.arguments[0];
  if (name === undefined || name === "") throw new ProcessStartError("not-found", "no command specified");
  const user = await resolveUser(options.root, process.user, process.additionalGroups);
  const environment = completeEnvironment(process, user, options.hostname);
  const specification = encodeSpecification(process, user, environment, options.placement, options.cgroup);

  const stdio = process.terminal ? terminalStdio(options.root, process) : pipeStdio(process);
  const report = makePipe("read");
  const specificationFile = memoryFile("specification", specification);
  const theirs = [...new Set(stdio.child), specificationFile, report.write];
  let launcher: Bun.Subprocess;
  try {
    launcher = spawned(
      Bun.spawn([options.launcher ?? PATHS.launcher], {
        stdio: [...stdio.child, specificationFile, report.write],
        env: {},
        cwd: "/",
      }),
    );
  } catch (error) {
    closeAll([...theirs, report.read, ...new Set(stdio.own)]);
    throw error;
  }
  closeAll(theirs);
  // Bun's promise resolves to 128 + n too when the launcher itself is killed.
  const exited = launcher.exited.then((code) => code);
  try {
    const pid = parseReport(await readReport(report.read), name, process.workingDirectory);
    return new ChildProcess(pid, exited, stdio);
  } catch (error) {
    closeAll([...new Set(stdio.own)]);
    throw error;
  } finally {
    closeSync(report.read);
  }
};

interface Stdio {
  child: [number, number, number];
  own: number[];
  stdin: number | undefined;
  outputs: { stream: number; fd: number }[];
  terminal: number | undefined;
}

const terminalStdio = (root: number, process: ProcessConfiguration): Stdio => {
  const { master, slave } = openTerminal(root, process.consoleSize);
  return {
    child: [slave, slave, slave],
    own: [master],
    stdin: master,
    outputs: [{ stream: 1, fd: master }],
    terminal: master,
  };
};

/** Real pipes: with the socket pairs that Bun would make, `echo > /dev/stdout` fails in the container. */
const pipeStdio = (process: ProcessConfiguration): Stdio => {
  const input = process.openStdin ? makePipe("write") : undefined;
  const output = makePipe("read");
  const error = makePipe("read");
  return {
    child: [input?.read ?? open("/dev/null", OPEN.readOnly), output.write, error.write],
    own: [output.read, error.read, ...(input ? [input.write] : [])],
    stdin: input?.write,
    outputs: [
      { stream: 1, fd: output.read },
      { stream: 2, fd: error.read },
    ],
    terminal: undefined,
  };
};

const closeAll = (descriptors: number[]): void => {
  for (const fd of descriptors) closeSync(fd);
};

const readReport = async (fd: number): Promise<Buffer> => {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of Bun.file(fd).stream()) {
    parts.push(part);
    length += part.length;
    if (length > REPORT_LIMIT) break;
  }
  return Buffer.concat(parts);
};

/** Pid from `P` + u32, in either order with `E` + class + u32 + step, both by launcher.c. */
const parseReport = (report: Buffer, name: string, directory: string): number => {
  let pid: number | undefined;
  for (let at = 0; at < report.length; ) {
    if (report[at] === 0x50 && at + 5 <= report.length) {
      pid = report.readUInt32LE(at + 1);
      at += 5;
    } else if (report[at] === 0x45 && at + 6 <= report.length) {
      // The step's name is all that follows, up to a pid report behind it.
      const rest = report.subarray(at + 6);
      const end =
        pid === undefined && rest.length >= 5 && rest[rest.length - 5] === 0x50 ? rest.length - 5 : rest.length;
      const kind = String.fromCharCode(report[at + 1] ?? 0);
      throw startErrorFromReport(kind, report.readUInt32LE(at + 2), rest.toString("utf8", 0, end), name, directory);
    } else {
      break;
    }
  }
  if (pid === undefined) throw new ProcessStartError("other", "the launcher ended without a report");
  return pid;
};
