/** `docker attach`: may come before the start; the guest holds back its power-off until the output was delivered. */
import type { Channel } from "../../link/contract.ts";
import { STREAM } from "../../link/operations.ts";
import type { EngineContext } from "../context.ts";
import type { AttachOptions, StdioStream } from "../contract.ts";
import { conflict } from "../errors.ts";
import { aborted, deferred } from "../waiting.ts";
import type { Container } from "./container.ts";
import { publishContainer } from "./container-events.ts";
import { containerLogs } from "./logs.ts";

type Output = { stream: 1 | 2; bytes: Uint8Array };

export async function attachContainer(
  context: EngineContext,
  container: Container,
  options: AttachOptions,
): Promise<StdioStream> {
  if (container.status === "removing" || container.status === "dead")
    throw conflict(`Container ${container.id} is marked for removal and cannot be attached to`);
  if (container.status === "paused")
    throw conflict(`Container ${container.id} is paused, unpause the container before attach`);
  publishContainer(context.events, container, "attach");
  return new Attachment(context, container, options);
}

class Attachment implements StdioStream {
  readonly terminal: boolean;
  readonly output: AsyncIterable<Output>;
  readonly #context: EngineContext;
  readonly #container: Container;
  readonly #options: AttachOptions;
  readonly #left = new AbortController();
  /** Already running when the client came: it sees what comes from now on. */
  readonly #joins: boolean;
  readonly #channel = deferred<Channel>();
  #inputEnded = false;
  #counted = true;
  /** Opened again after the link broke: the client's input goes to the first channel only. */
  #reopened = false;

  constructor(context: EngineContext, container: Container, options: AttachOptions) {
    this.#context = context;
    this.#container = container;
    this.#options = options;
    this.#joins = container.isRunning;
    this.terminal = container.document.config.Tty === true;
    // From now on a start knows that somebody waits for the output.
    container.attach();
    this.#channel.promise.catch(() => undefined);
    this.output = this.#read();
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#options.stdin || this.#inputEnded) return;
    const channel = await this.#channel.promise;
    await channel.send(STREAM.stdin, bytes);
  }

  async endInput(): Promise<void> {
    if (!this.#options.stdin || this.#inputEnded) return;
    this.#inputEnded = true;
    const channel = await this.#channel.promise;
    await channel.end(STREAM.stdin);
  }

  detach(): void {
    this.#left.abort(new Error("detached"));
    this.#channel.promise.then(
      (channel) => channel.close(),
      () => undefined,
    );
    this.#uncount();
  }

  async *#read(): AsyncGenerator<Output> {
    try {
      if (this.#options.logs) yield* this.#history();
      if (this.#options.stream) yield* this.#follow();
    } finally {
      this.detach();
      this.#channel.reject(conflict(`container ${this.#container.name} has ended`));
    }
  }

  async *#history(): AsyncGenerator<Output> {
    const { stdout, stderr } = this.#options;
    const { entries } = await containerLogs(this.#context, this.#container, {
      stdout,
      stderr,
      follow: false,
      tail: -1,
      signal: this.#left.signal,
    });
    for await (const { stream, bytes } of entries) yield { stream, bytes };
  }

  async *#follow(): AsyncGenerator<Output> {
    let fromStart = !this.#joins;
    for (;;) {
      const session = await this.#nextSession();
      if (!session) return;
      const { stdin, stdout, stderr } = this.#options;
      const channel = session.open("attach", { stdin: stdin && !this.#reopened, stdout, stderr, fromStart });
      const stop = (): void => channel.close();
      this.#left.signal.addEventListener("abort", stop, { once: true });
      this.#channel.resolve(channel);
      try {
        for await (const message of channel) {
          if (message.kind === "data" && (message.stream === STREAM.stdout || message.stream === STREAM.stderr)) {
            yield { stream: message.stream === STREAM.stdout ? 1 : 2, bytes: message.bytes };
            this.#container.deliveries++;
          } else if (message.kind === "control" && "exited" in message.message) return;
        }
        return;
      } catch (error) {
        // The link broke: the process goes on, and the tether calls again.
        if (this.#left.signal.aborted || !this.#container.isRunning) return;
        this.#context.log(
          `container ${this.#container.name}: attach: ${error instanceof Error ? error.message : error}; waiting for the guest`,
        );
        await session.closed;
      } finally {
        this.#left.signal.removeEventListener("abort", stop);
        channel.close();
      }
      fromStart = false;
      this.#reopened = true;
    }
  }

  /** The session of this run, or of the next when none runs; undefined when the client left, or the run is over. */
  async #nextSession() {
    const container = this.#container;
    let seen = container.isRunning || container.starting !== undefined;
    const leaving = aborted(this.#left.signal);
    // A short process may end before its tether has called: the session still comes, until the VM is off.
    let ended = false;
    const end = container.nextExit
      .then(() => container.finishing)
      .then(() => {
        ended = true;
      });
    try {
      for (;;) {
        if (this.#left.signal.aborted || ended) return undefined;
        seen ||= container.isRunning || container.starting !== undefined;
        if (container.session && seen) return container.session;
        if (container.status === "removing" || container.status === "dead") return undefined;
        await Promise.race([container.turn, leaving.promise, end]);
      }
    } catch (error) {
      if (this.#left.signal.aborted) return undefined;
      throw error;
    } finally {
      leaving.stop();
    }
  }

  #uncount(): void {
    if (!this.#counted) return;
    this.#counted = false;
    this.#container.detach();
  }
}
