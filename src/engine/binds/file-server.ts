/** Joins a container's share channel with a file server: a process of its own for each container. */
import type { Channel } from "../../link/contract.ts";
import { LinkError } from "../../link/link-error.ts";
import { STREAM } from "../../link/operations.ts";
import type { ShareSource } from "../../share/root.ts";
import type { Container } from "../containers/container.ts";
import type { EngineContext } from "../context.ts";
import { sharesOf } from "./prepare.ts";
import { findBindSource } from "./source.ts";

/** Milliseconds between two starts of a container's file server: a guest may ask for one as often as it likes. */
const START_INTERVAL = 500;

/** The file server of a container; a new channel of its guest ends the one before. */
const running = new WeakMap<Container, { stop(): void; started: number }>();

export async function serveShareChannel(context: EngineContext, container: Container, channel: Channel): Promise<void> {
  const mounts = sharesOf(container.document.mounts);
  if (mounts.length === 0) {
    channel.close({ code: "unsupported", message: "this container has no bind mounts" });
    return;
  }
  const before = running.get(container);
  before?.stop();
  let over = false;
  const present = { stop: () => channel.close(), started: Date.now() };
  running.set(container, present);
  void channel.closed.then(() => {
    over = true;
  });
  const pause = (before?.started ?? 0) + START_INTERVAL - Date.now();
  if (pause > 0) await Bun.sleep(pause);
  const sources = await Promise.all(mounts.map((mount) => sourceOf(context, mount)));
  if (over || running.get(container) !== present) return;
  try {
    await relay(context.binds.fileServer, sources, channel);
    channel.close();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    // The link goes with every run, and comes back when only the link was lost.
    if (error instanceof LinkError && error.code === "disconnected") return;
    context.log(`container ${container.name}: bind mounts: ${reason}`);
    channel.close({ code: "internal", message: reason });
  }
}

/** What may not be mounted any more is told to the file server, which refuses it: the others go on. */
async function sourceOf(context: EngineContext, mount: ReturnType<typeof sharesOf>[number]): Promise<ShareSource> {
  const source = { path: mount.source, readOnly: mount.readOnly, oneFileSystem: mount.nonRecursive };
  try {
    const found = await findBindSource(context.binds, mount.source, { create: false });
    return { ...source, ...(found?.below === undefined ? {} : { below: found.below }) };
  } catch (error) {
    context.log(`bind mount of ${mount.source}: ${error instanceof Error ? error.message : error}`);
    return { ...source, refused: true };
  }
}

/** Resolves when the guest has closed the channel; rejects when the file server ends by itself. */
async function relay(command: readonly string[], sources: ShareSource[], channel: Channel): Promise<void> {
  const child = Bun.spawn([...command], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { PATH: process.env.PATH },
    cwd: "/",
  });
  const replies = async (): Promise<void> => {
    for await (const bytes of child.stdout) await channel.send(STREAM.stdout, bytes);
    throw new Error(`the file server ended with exit code ${await child.exited}`);
  };
  const requests = async (): Promise<void> => {
    for await (const message of channel) {
      if (message.kind !== "data") continue;
      child.stdin.write(message.bytes);
      await child.stdin.flush();
    }
  };
  try {
    const configuration = Buffer.from(JSON.stringify({ sources }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(configuration.length);
    child.stdin.write(Buffer.concat([length, configuration]));
    await child.stdin.flush();
    await channel.control({ serving: true });
    await Promise.race([requests(), replies().catch((error: unknown) => closedOr(channel, error))]);
  } finally {
    child.kill("SIGKILL");
  }
}

/** Once the guest has gone it does not matter how the file server ends. */
async function closedOr(channel: Channel, error: unknown): Promise<void> {
  let closed = false;
  void channel.closed.then(() => {
    closed = true;
  });
  await Promise.resolve();
  if (!closed) throw error;
}
