import type { ByteTransport } from "../../src/link/byte-transport.ts";
import type { Session } from "../../src/link/session.ts";

/** Bytes that wait for the pipe above which a session has to wait. */
const HIGH_WATER = 256 * 1024;

/** Runs a session over a pair of pipes. */
export const overPipes = (
  makeSession: (transport: ByteTransport) => Session,
  input: AsyncIterable<Uint8Array>,
  output: Bun.FileSink,
): Session => {
  let waiting = 0;
  let full = false;
  let over = false;
  const session = makeSession({
    write: (bytes) => {
      if (over) return bytes.length;
      if (waiting >= HIGH_WATER) {
        full = true;
        return 0;
      }
      waiting += bytes.length;
      output.write(bytes);
      Promise.resolve(output.flush()).then(
        () => {
          waiting -= bytes.length;
          if (!full || waiting >= HIGH_WATER) return;
          full = false;
          session.drained();
        },
        () => session.close("the other end is gone"),
      );
      return bytes.length;
    },
    end: () => {
      over = true;
      Promise.resolve(output.end()).catch(() => undefined);
    },
  });
  const receive = async (): Promise<void> => {
    try {
      for await (const bytes of input) session.received(bytes);
      session.close("the other end is gone");
    } catch (error) {
      session.close(String(error));
    }
  };
  void receive();
  return session;
};
