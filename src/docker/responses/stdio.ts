/** Joins a hijacked connection and the stdio of a container or exec. */
import type { StdioStream } from "../../engine/contract.ts";
import type { ApiContext } from "../environment.ts";
import { ConnectionLost } from "../http/byte-reader.ts";
import type { RawStream } from "../http/exchange.ts";
import { WriteFailed } from "../http/transport.ts";
import { DetachScanner } from "../requests/detach-keys.ts";
import { webSocketStream } from "../websocket/stream.ts";
import { RAW_STREAM, stdioContentType, stdioFrame } from "./stdio-frame.ts";

export interface StdioSession {
  stream: StdioStream;
  /** The client may write to stdin. */
  input: boolean;
  detachKeys: Uint8Array;
}

/** Answers with the hijacked connection: `101 UPGRADED`, or `200` and raw bytes for clients that did not ask to upgrade. */
export function hijackStdio(c: ApiContext, session: StdioSession): Response {
  c.env.exchange.hijack((raw) => converse(raw, session, !session.stream.terminal));
  return hijackResponse(c, session.stream.terminal);
}

/**
 * Answers a handshake with a WebSocket that carries stdin and output, both streams of it in one, as Docker does. Messages are
 * binary: output is cut anywhere, also within a character.
 */
export function webSocketStdio(c: ApiContext, accept: string, session: StdioSession): Response {
  c.env.exchange.hijack(async (raw) => {
    const socket = webSocketStream(raw);
    await converse(socket, session, false);
    await socket.close();
  }, "websocket");
  return new Response(null, { headers: { "sec-websocket-accept": accept } });
}

/** The head that precedes raw stdio bytes. */
export function hijackResponse(c: ApiContext, terminal: boolean): Response {
  const { upgrade } = c.env.exchange;
  const type = upgrade ? stdioContentType(terminal, c.get("apiVersion")) : RAW_STREAM;
  return new Response(null, { headers: { "content-type": type } });
}

/** Runs until the output ends or the client is gone. Input that ends only closes stdin. `multiplexed` keeps the streams apart. */
async function converse(raw: RawStream, session: StdioSession, multiplexed: boolean): Promise<void> {
  const { stream } = session;
  const leave = (): void => stream.detach();
  raw.signal.addEventListener("abort", leave, { once: true });
  if (raw.signal.aborted) leave();
  void forwardInput(raw, session);
  try {
    for await (const { stream: number, bytes } of stream.output) {
      await raw.write(multiplexed ? stdioFrame(number, bytes) : bytes);
    }
  } catch (error) {
    stream.detach();
    if (!(error instanceof WriteFailed)) throw error;
  } finally {
    raw.signal.removeEventListener("abort", leave);
  }
}

/** Never rejects: a lost connection is seen by the output side, a process that takes no input any more is no error. */
async function forwardInput(raw: RawStream, { stream, input, detachKeys }: StdioSession): Promise<void> {
  const scanner = stream.terminal && detachKeys.length > 0 ? new DetachScanner(detachKeys) : undefined;
  let writable = input;
  try {
    for (let bytes = await raw.read(); bytes !== undefined; bytes = await raw.read()) {
      if (!writable) continue;
      const scanned = scanner?.scan(bytes) ?? { pass: bytes, detached: false };
      if (scanned.pass.length > 0) {
        writable = await stream.write(scanned.pass).then(
          () => true,
          () => false,
        );
      }
      if (scanned.detached) {
        stream.detach();
        return;
      }
    }
    if (input) await stream.endInput();
  } catch (error) {
    if (!(error instanceof ConnectionLost)) stream.detach();
  }
}
