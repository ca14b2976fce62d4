import type { Channel } from "../../src/link/contract.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { Streams } from "../../src/link/operations.ts";
import type { Container } from "../container/container.ts";
import { type ChildProcess, startProcess } from "../process/child.ts";

/** Milliseconds that output may go on after an exec's process has ended: something in the background holds it open. */
const TRAILING_OUTPUT_LIMIT = 2_000;
/** Processes that may run by exec at a time. */
const EXEC_LIMIT = 200;

/** Passes a channel's input on until it ends or the channel is closed. Never rejects. */
const passInput = async (
  channel: Channel,
  write: (bytes: Uint8Array) => Promise<void>,
  end: () => Promise<void>,
): Promise<void> => {
  try {
    for await (const message of channel) {
      if (message.kind === "data" && message.stream === 0) await write(message.bytes);
      else if (message.kind === "end" && message.stream === 0) await end();
    }
  } catch {
    // The client is gone; whoever waits for the channel's end sees that too.
  }
};

/** Streams of the main process. */
export const attach = async (
  container: Container,
  request: Streams["attach"]["request"],
  channel: Channel,
): Promise<void> => {
  const exited = Promise.withResolvers<number | undefined>();
  const forgetExit = container.onExit((exitCode) => exited.resolve(exitCode));
  const { status, exitCode } = container.state.current;
  if (status === "exited" || status === "failed") exited.resolve(exitCode ?? 128);
  const unsubscribe = container.output.subscribe(
    {
      deliver: async (stream, bytes) => {
        if (stream === 1 ? request.stdout : request.stderr) await channel.send(stream, bytes);
      },
    },
    request.fromStart,
  );
  container.attachedOnce = true;
  const input = passInput(
    channel,
    async (bytes) => {
      if (request.stdin) await container.writeInput(bytes);
    },
    async () => {
      if (request.stdin) await container.endInput();
    },
  );
  try {
    void channel.closed.then(() => exited.resolve(undefined));
    const code = await exited.promise;
    if (code !== undefined) {
      await container.output.drained();
      await channel.control({ exited: code });
    } else if (request.stdin) {
      // A client that goes away ends its input.
      await container.endInput();
    }
  } finally {
    forgetExit();
    unsubscribe();
    channel.close();
    await input;
  }
};

/** The processes started by exec. */
export class Execs {
  readonly #container: Container;
  readonly #running = new Map<string, ChildProcess>();

  constructor(container: Container) {
    this.#container = container;
  }

  /** Throws LinkError when there is no such running exec. */
  get(id: string): ChildProcess {
    const child = this.#running.get(id);
    if (child?.running) return child;
    throw new LinkError("not-running", `exec ${id} is not running`);
  }

  async run(request: Streams["exec"]["request"], channel: Channel): Promise<void> {
    const { id, detach, process } = request;
    if (this.#running.has(id)) throw new LinkError("exists", `exec ${id} is already running`);
    if (this.#running.size >= EXEC_LIMIT) throw new LinkError("busy", `more than ${EXEC_LIMIT} exec processes`);
    const child = await startProcess({ process, ...this.#container.placement() });
    this.#running.set(id, child);
    try {
      await channel.control({ started: child.pid });
      const input = passInput(
        channel,
        (bytes) => child.writeInput(bytes),
        () => child.endInput(),
      );
      const pumped = child.pumpOutput(async (stream, bytes) => {
        if (detach) return;
        // A client that is gone does not stop the process: its output is dropped from then on.
        await channel.send(stream, bytes).catch(() => undefined);
      });
      void channel.closed.then(() => child.endInput());
      const exitCode = await child.exited;
      await Promise.race([pumped, Bun.sleep(TRAILING_OUTPUT_LIMIT)]);
      await child.stopOutput();
      await channel.control({ exited: exitCode }).catch(() => undefined);
      channel.close();
      await input;
    } finally {
      this.#running.delete(id);
      await child.release();
    }
  }
}
