/** A connection of a container to a socket of the endpoint's machine, such as the endpoint's own Docker socket. */
import type { Channel } from "../../link/contract.ts";
import { STREAM } from "../../link/operations.ts";
import { SocketBridge } from "../../link/socket-bridge.ts";
import type { Container } from "../containers/container.ts";
import type { EngineContext } from "../context.ts";
import { socketsOf } from "./prepare.ts";
import { findBindSource } from "./source.ts";

/** Connections of one container at a time. */
const CONNECTION_LIMIT = 128;

const open = new WeakMap<Container, number>();

export async function serveSocketChannel(
  context: EngineContext,
  container: Container,
  channel: Channel,
): Promise<void> {
  const count = open.get(container) ?? 0;
  if (count >= CONNECTION_LIMIT) {
    channel.close({ code: "busy", message: `more than ${CONNECTION_LIMIT} connections` });
    return;
  }
  open.set(container, count + 1);
  try {
    const mount = socketsOf(container.document.mounts)[Number(channel.request.index)];
    const found = mount && (await findBindSource(context.binds, mount.source, { create: false }));
    if (found?.socket === undefined) {
      channel.close({ code: "not-found", message: "no such socket" });
      return;
    }
    await join(channel, found.socket.path);
    channel.close();
  } catch (error) {
    channel.close({ code: "internal", message: error instanceof Error ? error.message : String(error) });
  } finally {
    open.set(container, (open.get(container) ?? 1) - 1);
  }
}

/** Passes bytes in both directions until both have ended or one side is gone. Rejects when there is no connection. */
async function join(channel: Channel, path: string): Promise<void> {
  const bridge = Promise.withResolvers<SocketBridge>();
  const socket = await Bun.connect<SocketBridge | undefined>({
    unix: path,
    allowHalfOpen: true,
    socket: {
      open: (opened) => {
        opened.data = new SocketBridge(opened, channel, STREAM.stdout);
        bridge.resolve(opened.data);
      },
      data: ({ data }, bytes) => data?.data(bytes),
      drain: ({ data }) => data?.drained(),
      end: ({ data }) => data?.ended(),
      close: ({ data }) => data?.gone(),
      error: ({ data }) => data?.gone(),
    },
    data: undefined,
  });
  await channel.control({ connected: true }).catch(() => socket.terminate());
  await (await bridge.promise).closed;
}
