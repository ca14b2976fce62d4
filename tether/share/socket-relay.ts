import { chmodSync, chownSync, rmSync } from "node:fs";
import type { UnixSocketListener } from "bun";
import type { LinkSession } from "../../src/link/contract.ts";
import type { SocketConfiguration } from "../../src/link/guest-configuration.ts";
import { STREAM } from "../../src/link/operations.ts";
import { SocketBridge } from "../../src/link/socket-bridge.ts";

/** Connections of one socket at a time; more are closed at once. */
const CONNECTION_LIMIT = 128;

/** Listens on a unix socket of the guest, and lets each connection go on at the endpoint. */
export class SocketRelay {
  readonly #listener: UnixSocketListener<SocketBridge | undefined>;
  readonly #path: string;
  #connections = 0;

  constructor(path: string, { index, mode, uid, gid }: SocketConfiguration, session: () => LinkSession | undefined) {
    this.#path = path;
    rmSync(path, { force: true });
    this.#listener = Bun.listen<SocketBridge | undefined>({
      unix: path,
      // An end of input of one side leaves the other direction open.
      allowHalfOpen: true,
      socket: {
        open: (socket) => {
          const link = session();
          if (link === undefined || this.#connections >= CONNECTION_LIMIT) {
            socket.end();
            return;
          }
          this.#connections++;
          socket.data = new SocketBridge(socket, link.open("socket", { index }), STREAM.stdin);
        },
        data: ({ data }, bytes) => data?.data(bytes),
        drain: ({ data }) => data?.drained(),
        end: ({ data }) => data?.ended(),
        close: ({ data }) => {
          if (data === undefined) return;
          this.#connections--;
          data.gone();
        },
        error: ({ data }) => data?.gone(),
      },
    });
    chownSync(path, uid, gid);
    chmodSync(path, mode);
  }

  close(): void {
    this.#listener.stop(true);
    rmSync(this.#path, { force: true });
  }
}
