/** `docker exec`: another process in the guest, over a channel of its own. */
import type { Channel, ChannelMessage } from "../../link/contract.ts";
import type { ProcessConfiguration } from "../../link/guest-configuration.ts";
import { LinkError } from "../../link/link-error.ts";
import { STREAM } from "../../link/operations.ts";
import type { EngineContext } from "../context.ts";
import type { ExecConfig, Execs, StdioStream } from "../contract.ts";
import { conflict, EngineError, invalid, notFound } from "../errors.ts";
import { newId } from "../identifiers.ts";
import { EXEC_HISTORY } from "../limits.ts";
import { networkSurroundings } from "../networks/surroundings.ts";
import { capabilitySet } from "./capabilities.ts";
import type { Container } from "./container.ts";
import { publishContainer } from "./container-events.ts";
import { guestConfiguration } from "./guest-document.ts";
import { mergeEnvironment } from "./image-merge.ts";

const CANNOT_EXECUTE = 126;
const NOT_FOUND = 127;
const EXIT_KILLED = 137;

export interface Exec {
  id: string;
  container: Container;
  config: ExecConfig;
  process: ProcessConfiguration;
  status: "created" | "running" | "exited";
  exitCode?: number;
  pid: number;
}

export class ContainerExecs implements Execs {
  readonly #context: EngineContext;
  readonly #execs = new Map<string, Exec>();

  constructor(context: EngineContext) {
    this.#context = context;
  }

  async create(reference: string, config: ExecConfig): Promise<{ Id: string }> {
    const container = this.#context.table.get(reference);
    if (container.status === "paused")
      throw conflict(`container ${container.id} is paused, unpause the container before exec`);
    if (container.status === "restarting")
      throw conflict(`Container ${container.id} is restarting, wait until the container is running`);
    if (!container.isRunning) throw conflict(`container ${container.id} is not running`);
    if (!config.Cmd?.length) throw invalid("No exec command specified");
    const exec: Exec = {
      id: newId(),
      container,
      config,
      process: this.#process(container, config),
      status: "created",
      pid: 0,
    };
    this.#execs.set(exec.id, exec);
    container.execs.set(exec.id, exec);
    this.#forgetOld(container);
    publishContainer(this.#context.events, container, `exec_create: ${config.Cmd.join(" ")}`, { execID: exec.id });
    return { Id: exec.id };
  }

  async start(
    id: string,
    options: { detach: boolean; terminal: boolean; consoleSize?: { rows: number; columns: number } },
  ): Promise<StdioStream | undefined> {
    const exec = this.#get(id);
    if (exec.status !== "created")
      throw conflict(exec.status === "running" ? `exec ${id} is already running` : `exec command has already run`);
    const { container, config } = exec;
    const link = await container.link();
    exec.status = "running";
    publishContainer(this.#context.events, container, `exec_start: ${(config.Cmd ?? []).join(" ")}`, { execID: id });
    const channel = link.open("exec", {
      id,
      process: options.consoleSize ? { ...exec.process, consoleSize: options.consoleSize } : exec.process,
      detach: options.detach,
    });
    const stream = new ExecStream(exec, channel, () => this.#ended(exec));
    await stream.started;
    if (!options.detach) return stream;
    void stream.drain();
    return undefined;
  }

  async resize(id: string, rows: number, columns: number): Promise<void> {
    const exec = this.#get(id);
    if (exec.status !== "running") throw conflict(`exec ${id} is not running`);
    const link = await exec.container.link();
    await link.call("resize", { process: { exec: id }, rows, columns });
  }

  async inspect(id: string): Promise<Record<string, unknown>> {
    const exec = this.#get(id);
    const [entrypoint = "", ...args] = exec.config.Cmd ?? [];
    return {
      ID: exec.id,
      Running: exec.status === "running",
      ExitCode: exec.exitCode ?? null,
      ProcessConfig: {
        tty: exec.config.Tty === true,
        entrypoint,
        arguments: args,
        privileged: exec.config.Privileged === true,
        user: exec.config.User ?? "",
      },
      OpenStdin: exec.config.AttachStdin === true,
      OpenStderr: exec.config.AttachStderr === true,
      OpenStdout: exec.config.AttachStdout === true,
      CanRemove: exec.status === "exited",
      ContainerID: exec.container.id,
      DetachKeys: exec.config.DetachKeys ?? "",
      Pid: exec.status === "running" ? exec.pid : 0,
    };
  }

  #get(id: string): Exec {
    const exec = this.#execs.get(id);
    if (!exec) throw notFound(`No such exec instance: ${id}`);
    return exec;
  }

  #ended(exec: Exec): void {
    publishContainer(this.#context.events, exec.container, "exec_die", {
      execID: exec.id,
      exitCode: String(exec.exitCode ?? EXIT_KILLED),
    });
  }

  #forgetOld(container: Container): void {
    const ended = [...container.execs.values()].filter((exec) => exec.status === "exited");
    for (const exec of ended.slice(0, Math.max(0, ended.length - EXEC_HISTORY))) {
      container.execs.delete(exec.id);
      this.#execs.delete(exec.id);
    }
  }

  /** The container's own surroundings, changed by what the exec asks for. */
  #process(container: Container, config: ExecConfig): ProcessConfiguration {
    const { links } = this.#context;
    const main = guestConfiguration(container.document, {
      link: links.configuration,
      awaitAttach: false,
      vch: this.#context.name,
      networks: networkSurroundings(this.#context, container.document),
    }).process;
    const size = config.ConsoleSize;
    const terminal = config.Tty === true;
    const { consoleSize: _mainSize, ...inherited } = main;
    const environment = main.environment.filter((entry) => terminal || !entry.startsWith("TERM="));
    return {
      ...inherited,
      arguments: config.Cmd ?? [],
      environment: mergeEnvironment([...(terminal ? ["TERM=xterm"] : []), ...environment], config.Env ?? []),
      workingDirectory: config.WorkingDir || main.workingDirectory,
      user: config.User || main.user,
      terminal,
      ...(terminal && size?.[0] && size[1] ? { consoleSize: { rows: size[0], columns: size[1] } } : {}),
      openStdin: config.AttachStdin === true,
      stdinOnce: true,
      privileged: config.Privileged === true || main.privileged,
      capabilities: config.Privileged ? capabilitySet([], [], true) : main.capabilities,
    };
  }
}

class ExecStream implements StdioStream {
  readonly terminal: boolean;
  readonly output: AsyncIterable<{ stream: 1 | 2; bytes: Uint8Array }>;
  /** Rejects with Docker's error when the program could not be started. */
  readonly started: Promise<void>;
  readonly #exec: Exec;
  readonly #channel: Channel;
  readonly #ended: () => void;
  readonly #iterator: AsyncIterator<ChannelMessage>;
  #over = false;

  constructor(exec: Exec, channel: Channel, ended: () => void) {
    this.#exec = exec;
    this.#channel = channel;
    this.#ended = ended;
    this.terminal = exec.config.Tty === true;
    this.#iterator = channel[Symbol.asyncIterator]();
    this.started = this.#waitForStart();
    this.started.catch(() => undefined);
    this.output = this.#read();
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#over) await this.#channel.send(STREAM.stdin, bytes);
  }

  async endInput(): Promise<void> {
    if (!this.#over) await this.#channel.end(STREAM.stdin);
  }

  /** The process goes on; its output is read and thrown away so that it does not stand still. */
  detach(): void {
    void this.drain();
  }

  async drain(): Promise<void> {
    const output = this.#read();
    while (!(await output.next()).done);
  }

  async #waitForStart(): Promise<void> {
    try {
      const first = await this.#iterator.next();
      if (first.done) throw new LinkError("disconnected", "the guest ended the exec before it began");
      const message = first.value;
      if (message.kind === "control" && typeof message.message.started === "number")
        this.#exec.pid = message.message.started;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  async *#read(): AsyncGenerator<{ stream: 1 | 2; bytes: Uint8Array }> {
    await this.started;
    try {
      for (;;) {
        const next = await this.#iterator.next();
        if (next.done) return;
        const message = next.value;
        if (message.kind === "data" && (message.stream === STREAM.stdout || message.stream === STREAM.stderr))
          yield { stream: message.stream === STREAM.stdout ? 1 : 2, bytes: message.bytes };
        else if (message.kind === "control" && typeof message.message.exited === "number") {
          this.#exec.exitCode = message.message.exited & 0xff;
          return;
        }
      }
    } finally {
      // A consumer that stops early leaves the process running; the channel then only waits for its end.
      if (this.#exec.exitCode === undefined && this.#exec.container.isRunning) void this.#awaitExit();
      else this.#finish();
    }
  }

  async #awaitExit(): Promise<void> {
    try {
      for (;;) {
        const next = await this.#iterator.next();
        if (next.done) break;
        const message = next.value;
        if (message.kind === "control" && typeof message.message.exited === "number") {
          this.#exec.exitCode = message.message.exited & 0xff;
          break;
        }
      }
    } catch (error) {
      if (!(error instanceof LinkError)) throw error;
    } finally {
      this.#finish();
    }
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#exec.status = "exited";
    this.#exec.exitCode ??= EXIT_KILLED;
    this.#channel.close();
    this.#ended();
  }

  #failed(error: unknown): unknown {
    const code = error instanceof LinkError ? error.code : "internal";
    this.#exec.exitCode = code === "not-found" ? NOT_FOUND : CANNOT_EXECUTE;
    this.#finish();
    const message = `OCI runtime exec failed: ${error instanceof Error ? error.message : error}`;
    return code === "internal" || code === "disconnected"
      ? new EngineError("internal", message, { cause: error })
      : new EngineError("invalid", message, { cause: error });
  }
}
