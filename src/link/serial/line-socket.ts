import type { Socket } from "bun";
import type { LineConnection, LineUser } from "./line-connection.ts";

/** Joins a line connection to a socket: TLS speaks over sockets, and each side holds the other up. */
export class LineSocket implements LineUser {
  #connection: LineConnection | undefined;
  #socket: Socket<LineSocket> | undefined;
  #toSocket: Uint8Array | undefined;
  #toLine: Uint8Array[] = [];
  #over = false;
  /** Called when the socket was closed first. */
  onClosed: () => void = () => undefined;

  useConnection(connection: LineConnection): void {
    this.#connection = connection;
    if (this.#over) connection.close("the socket is closed");
    else this.drained();
  }

  useSocket(socket: Socket<LineSocket>): void {
    this.#socket = socket;
    if (this.#over) socket.end();
    else this.socketDrained();
  }

  received(bytes: Uint8Array): boolean {
    if (this.#over) return true;
    const taken = this.#socket === undefined ? 0 : Math.max(0, this.#socket.write(bytes));
    if (taken === bytes.length) return true;
    // One block: no more is taken from the line until it has gone.
    this.#toSocket = bytes.slice(taken);
    return false;
  }

  socketDrained(): void {
    const rest = this.#toSocket;
    if (rest === undefined || this.#socket === undefined) return;
    const taken = Math.max(0, this.#socket.write(rest));
    this.#toSocket = taken === rest.length ? undefined : rest.subarray(taken);
    if (this.#toSocket === undefined) this.#connection?.resume();
  }

  /** Bytes of the socket, which stands still until the line has taken them. */
  socketData(bytes: Uint8Array): void {
    this.#toLine.push(bytes.slice());
    this.drained();
  }

  drained(): void {
    for (;;) {
      const first = this.#toLine[0];
      if (first === undefined || this.#connection === undefined) break;
      const taken = this.#connection.send(first);
      if (taken < first.length) {
        this.#toLine[0] = first.subarray(taken);
        break;
      }
      this.#toLine.shift();
    }
    if (this.#toLine.length > 0) this.#socket?.pause();
    else this.#socket?.resume();
  }

  closed(_reason: string): void {
    this.#over = true;
    this.#socket?.resume();
    this.#socket?.end();
  }

  socketClosed(): void {
    if (this.#over) return;
    this.#over = true;
    this.#connection?.close("the socket is closed");
    this.onClosed();
  }
}

/** Handlers of Bun sockets whose data is a LineSocket. */
export const lineSocketHandler = {
  binaryType: "uint8array",
  data: (socket: Socket<LineSocket>, bytes: Uint8Array): void => socket.data.socketData(bytes),
  drain: (socket: Socket<LineSocket>): void => socket.data.socketDrained(),
  end: (socket: Socket<LineSocket>): void => void socket.end(),
  close: (socket: Socket<LineSocket>): void => socket.data?.socketClosed(),
  error: (socket: Socket<LineSocket>): void => socket.terminate(),
} as const;
