/** Serialises Responses onto a connection. */
import { STATUS_CODES } from "node:http";
import type { UpgradeProtocol } from "./exchange.ts";
import { COALESCE_BYTES } from "./limits.ts";
import type { Transport } from "./transport.ts";

const encoder = new TextEncoder();
const LAST_CHUNK = encoder.encode("0\r\n\r\n");
const CRLF = encoder.encode("\r\n");

export interface ResponseContext {
  method: string;
  minorVersion: 0 | 1;
  /** What the request allows; the result says what holds. */
  keepAlive: boolean;
}

/** A handler marks a response whose body is produced bit by bit with this header; the front decides on the framing. */
export function isStreamed(response: Response): boolean {
  return response.headers.get("transfer-encoding") === "chunked";
}

/**
 * Writes the response with a length, or chunked when it is streamed (until close for HTTP/1.0). Returns whether the
 * connection can carry another request. Throws what the body stream throws: the client then sees a cut-off response.
 */
export async function writeResponse(
  transport: Transport,
  response: Response,
  context: ResponseContext,
): Promise<boolean> {
  const bodyless = context.method === "HEAD" || response.status === 204 || response.status === 304;
  if (!bodyless && isStreamed(response) && response.body !== null) {
    const chunked = context.minorVersion === 1;
    const keepAlive = context.keepAlive && chunked;
    await transport.write(
      encoder.encode(head(response, [chunked ? "Transfer-Encoding: chunked" : undefined, connection(keepAlive)])),
    );
    await writeStream(transport, response.body, chunked);
    return keepAlive;
  }
  const body = bodyless || response.body === null ? undefined : await response.bytes();
  const length =
    response.status === 204 || response.status === 304
      ? undefined
      : (response.headers.get("content-length") ?? String(body?.length ?? 0));
  const headBytes = encoder.encode(
    head(response, [length === undefined ? undefined : `Content-Length: ${length}`, connection(context.keepAlive)]),
  );
  if (body === undefined || body.length === 0) await transport.write(headBytes);
  else if (body.length <= COALESCE_BYTES) await transport.write(Buffer.concat([headBytes, body]));
  else {
    await transport.write(headBytes);
    await transport.write(body);
  }
  return context.keepAlive;
}

/** The head of a hijacked connection: raw bytes follow in both directions. */
export function hijackHead(response: Response, upgradeTo: UpgradeProtocol | undefined): Uint8Array {
  if (upgradeTo === undefined) return encoder.encode(head(response, []));
  const status = upgradeTo === "tcp" ? "101 UPGRADED" : "101 Switching Protocols";
  return encoder.encode(head(response, ["Connection: Upgrade", `Upgrade: ${upgradeTo}`], status));
}

/** A complete answer for a request that never reached the application. */
export function refusal(status: number, message: string): Uint8Array {
  const body = `${JSON.stringify({ message })}\n`;
  return encoder.encode(
    `HTTP/1.1 ${statusLine(status)}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

/** A 200 answer that is always the same. */
export interface ReadyAnswer {
  headers: readonly (readonly [name: string, value: string])[];
  body: string;
}

/** The whole of it in one piece. Headers other than the server's own are written as they are given. */
export function readyResponse(answer: ReadyAnswer, method: string, keepAlive: boolean): Uint8Array {
  let text = "HTTP/1.1 200 OK\r\n";
  for (const [name, value] of answer.headers) text += `${name}: ${value}\r\n`;
  text += `Date: ${new Date().toUTCString()}\r\nContent-Length: ${Buffer.byteLength(answer.body)}\r\n`;
  if (!keepAlive) text += "Connection: close\r\n";
  return encoder.encode(`${text}\r\n${method === "HEAD" ? "" : answer.body}`);
}

export const CONTINUE = encoder.encode("HTTP/1.1 100 Continue\r\n\r\n");

async function writeStream(transport: Transport, body: ReadableStream<Uint8Array>, chunked: boolean): Promise<void> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (value.length === 0) continue;
      if (chunked) await writeChunk(transport, value);
      else await transport.write(value);
    }
  } catch (error) {
    await reader.cancel(error).catch(() => undefined);
    throw error;
  }
  if (chunked) await transport.write(LAST_CHUNK);
}

async function writeChunk(transport: Transport, bytes: Uint8Array): Promise<void> {
  const size = encoder.encode(`${bytes.length.toString(16)}\r\n`);
  if (bytes.length <= COALESCE_BYTES) {
    await transport.write(Buffer.concat([size, bytes, CRLF]));
    return;
  }
  await transport.write(size);
  await transport.write(bytes);
  await transport.write(CRLF);
}

function head(response: Response, extra: (string | undefined)[], status = statusLine(response.status)): string {
  let text = `HTTP/1.1 ${status}\r\n`;
  response.headers.forEach((value, name) => {
    if (name === "transfer-encoding" || name === "content-length" || name === "connection") return;
    text += `${canonical(name)}: ${value}\r\n`;
  });
  text += `Date: ${new Date().toUTCString()}\r\n`;
  for (const line of extra) if (line !== undefined) text += `${line}\r\n`;
  return `${text}\r\n`;
}

function connection(keepAlive: boolean): string | undefined {
  return keepAlive ? undefined : "Connection: close";
}

function statusLine(status: number): string {
  return `${status} ${STATUS_CODES[status] ?? "Unknown"}`;
}

/** `api-version` → `Api-Version`: field names are case-insensitive, but this is how Docker's clients print them. */
function canonical(name: string): string {
  return name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase());
}
