/** A hijacked connection that speaks WebSocket, as the plain stream of bytes that is in its messages. */
import { ConnectionLost } from "../http/byte-reader.ts";
import type { RawStream } from "../http/exchange.ts";
import { CLOSE, closeFrame, FrameError, FrameReader, frame, OPCODE } from "./frames.ts";

export interface WebSocketStream extends RawStream {
  /** Says goodbye, unless that was said already. */
  close(): Promise<void>;
}

/** A WebSocket cannot end one direction only: when the client closes it, the connection counts as gone. */
export function webSocketStream(raw: RawStream): WebSocketStream {
  const frames = new FrameReader(() => raw.read());
  const gone = new AbortController();
  let closed = false;
  const close = async (answer: Uint8Array): Promise<void> => {
    if (closed) return;
    closed = true;
    await raw.write(answer);
  };
  const read = async (): Promise<Uint8Array> => {
    try {
      for (let received = await frames.read(); received !== undefined; received = await frames.read()) {
        if (received.kind === "data") return received.bytes;
        if (received.kind === "close") {
          await close(frame(OPCODE.close, received.bytes.subarray(0, 2)));
          break;
        }
        await raw.write(frame(OPCODE.pong, received.bytes));
      }
    } catch (error) {
      gone.abort();
      if (!(error instanceof FrameError)) throw error;
      await close(closeFrame(CLOSE.protocolError));
    }
    gone.abort();
    throw new ConnectionLost();
  };
  return {
    read,
    write: async (bytes) => {
      if (!closed) await raw.write(frame(OPCODE.binary, bytes));
    },
    end: () => raw.end(),
    close: () => close(closeFrame(CLOSE.normal)),
    signal: AbortSignal.any([raw.signal, gone.signal]),
  };
}
