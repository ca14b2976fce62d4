/** The server's side of a WebSocket's opening handshake (RFC 6455, 4.2). */
import { createHash } from "node:crypto";
import { EngineError, invalid } from "../../engine/errors.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION = "13";
const KEY_BYTES = 16;

/**
 * The value of `Sec-WebSocket-Accept`. Throws EngineError for a request that is no handshake, and for one that a page of another
 * site made: browsers let every page open WebSockets, and send the user's client certificate along.
 */
export function acceptWebSocket(headers: Headers): string {
  if (headers.get("upgrade")?.toLowerCase() !== "websocket")
    throw invalid("this operation is a WebSocket: ask with `Upgrade: websocket`, or use POST /containers/{id}/attach");
  const key = headers.get("sec-websocket-key") ?? "";
  if (Buffer.from(key, "base64").length !== KEY_BYTES) throw invalid("Sec-WebSocket-Key is not 16 bytes of base64");
  const version = headers.get("sec-websocket-version");
  if (version !== VERSION) throw invalid(`Sec-WebSocket-Version ${version} is not supported: use ${VERSION}`);
  const origin = headers.get("origin");
  if (origin !== null && hostOf(origin) !== headers.get("host"))
    throw new EngineError("forbidden", `a page of ${origin} may not open a WebSocket here`);
  return createHash("sha1").update(`${key}${GUID}`).digest("base64");
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
