/**
 * A second process of this program that reads and writes the container's files for us, and speaks the control link's protocol
 * over its stdin and stdout. It may have to wait for a share, which we serve, and it can be killed when nobody waits for it any more.
 */
import type { Channel } from "../../src/link/contract.ts";
import type { Calls, Streams } from "../../src/link/operations.ts";
import { Session } from "../../src/link/session.ts";
import { spawned } from "../process/reaper.ts";
import { overPipes } from "./pipe-transport.ts";

/** See main.ts. */
const HELPER_ARGUMENT = "serve-tree";

interface Helper {
  session: Session;
  end(): void;
}

const start = (): Helper => {
  const child = spawned(
    Bun.spawn([process.execPath, HELPER_ARGUMENT], { stdio: ["pipe", "pipe", "inherit"], env: {}, cwd: "/" }),
  );
  const session = overPipes((transport) => new Session(transport, "engine"), child.stdout, child.stdin);
  return {
    session,
    end: () => {
      session.close();
      child.kill("SIGKILL");
    },
  };
};

export const callHelper = async <K extends keyof Calls>(
  operation: K,
  request: Calls[K]["request"],
): Promise<Calls[K]["response"]> => {
  const helper = start();
  try {
    return await helper.session.call(operation, request);
  } finally {
    helper.end();
  }
};

/** Passes everything of the channel on to the helper, and back. */
export const streamThroughHelper = async <K extends keyof Streams>(
  operation: K,
  request: Streams[K]["request"],
  channel: Channel,
): Promise<void> => {
  const helper = start();
  try {
    const inner = helper.session.open(operation, request);
    void channel.closed.then(() => helper.end());
    void pass(channel, inner).catch(() => undefined);
    await pass(inner, channel);
  } finally {
    helper.end();
  }
};

const pass = async (from: Channel, to: Channel): Promise<void> => {
  for await (const message of from) {
    if (message.kind === "data") await to.send(message.stream, message.bytes);
    else if (message.kind === "control") await to.control(message.message);
    else await to.end(message.stream);
  }
};
