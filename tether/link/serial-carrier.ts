import { LINK_SERIAL_PORT } from "../../src/link/guest-configuration.ts";
import type { LinePort } from "../../src/link/serial/line-connection.ts";
import { LineCaller } from "../../src/link/serial/line-ends.ts";
import { LineSocket, lineSocketHandler } from "../../src/link/serial/line-socket.ts";
import { PATHS } from "../paths.ts";
import { openSerialPort } from "../system/serial-port.ts";

/** Writes to the port in order; what does not fit its queue waits here, and the line holds back meanwhile. */
class SerialPort implements LinePort {
  readonly #sink: Bun.FileSink;
  #waiting: Uint8Array[] = [];
  #writing = false;

  constructor(fd: number) {
    this.#sink = Bun.file(fd).writer();
  }

  get isBusy(): boolean {
    return this.#writing;
  }

  write(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    if (!this.#writing) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#writing = true;
    try {
      while (this.#waiting.length > 0) {
        for (const bytes of this.#waiting.splice(0)) this.#sink.write(bytes);
        await this.#sink.flush();
      }
    } catch (error) {
      console.error(`control link: writing to ${LINK_SERIAL_PORT}: ${error}`);
      this.#waiting = [];
    } finally {
      this.#writing = false;
    }
  }
}

/**
 * Makes the serial port an address that the control link can dial: a Unix socket, each connection of which is a call over the serial
 * line. The socket is outside of what a container sees. Throws when the VM has no such port.
 */
export const openSerialCarrier = (): string => {
  const caller = new LineCaller(new SerialPort(openSerialPort(LINK_SERIAL_PORT)));
  void readPort(openSerialPort(LINK_SERIAL_PORT), caller);
  Bun.listen<LineSocket>({
    unix: PATHS.serialLinkSocket,
    socket: {
      ...lineSocketHandler,
      open: (socket) => {
        const user = new LineSocket();
        socket.data = user;
        user.useSocket(socket);
        const gone = new AbortController();
        caller.call(user, gone.signal).then(
          (connection) => user.useConnection(connection),
          () => socket.end(),
        );
        user.onClosed = () => gone.abort();
      },
    },
  });
  return `unix:${PATHS.serialLinkSocket}`;
};

const readPort = async (fd: number, caller: LineCaller): Promise<void> => {
  try {
    for await (const bytes of Bun.file(fd).stream()) caller.arrived(bytes);
    console.error(`control link: ${LINK_SERIAL_PORT} was hung up`);
  } catch (error) {
    console.error(`control link: reading ${LINK_SERIAL_PORT}: ${error}`);
  }
};
