/**
 * Strict parser of HTTP/1.x request heads (RFC 9112). Whatever two parsers could understand differently is refused:
 * bare LF, obsolete line folding, space before a colon, a length together with a transfer coding, repeated lengths.
 */
import { MAX_HEADER_COUNT, MAX_LINE_BYTES } from "./limits.ts";
import { ProtocolError } from "./protocol-error.ts";

/** How the end of the request body is found. */
export type BodyFraming = { kind: "none" } | { kind: "length"; bytes: number } | { kind: "chunked" };

export interface RequestHead {
  method: string;
  /** Origin form: path and query. */
  target: string;
  minorVersion: 0 | 1;
  headers: Headers;
  framing: BodyFraming;
  keepAlive: boolean;
  /** The client asked to switch protocols (Docker's hijack). */
  upgrade: boolean;
  /** The client waits for "100 Continue" before it sends the body. */
  expectsContinue: boolean;
}

const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]+) HTTP\/(\d)\.(\d)$/;
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)$/;
const ABSOLUTE_FORM = /^https?:\/\/[^/?#]*/i;

const bad = (message: string): ProtocolError => new ProtocolError(400, message);

/** Parses a head without its terminating empty line. Throws ProtocolError. */
export function parseRequestHead(head: Uint8Array): RequestHead {
  const lines = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString("latin1").split("\r\n");
  const first = lines[0] ?? "";
  if (first.length > MAX_LINE_BYTES) throw new ProtocolError(414, "the request line is too long");
  const requestLine = REQUEST_LINE.exec(first);
  if (requestLine === null) throw bad("malformed HTTP request line");
  const [, method = "", rawTarget = "", major, minor] = requestLine;
  if (major !== "1" || (minor !== "0" && minor !== "1")) {
    throw new ProtocolError(505, `HTTP/${major}.${minor} is not supported: use HTTP/1.1`);
  }
  if (lines.length - 1 > MAX_HEADER_COUNT) throw new ProtocolError(431, `more than ${MAX_HEADER_COUNT} header fields`);

  const headers = new Headers();
  const seen = { host: 0, "content-length": 0, "transfer-encoding": 0 };
  for (let index = 1; index < lines.length; index++) {
    const line = lines[index] ?? "";
    if (line.length > MAX_LINE_BYTES) throw new ProtocolError(431, "a header field is too long");
    const field = FIELD.exec(line);
    if (field === null) throw bad("malformed HTTP header field");
    const name = (field[1] ?? "").toLowerCase();
    if (name === "host" || name === "content-length" || name === "transfer-encoding") seen[name]++;
    headers.append(name, (field[2] ?? "").trimEnd());
  }

  const minorVersion = minor === "1" ? 1 : 0;
  if (seen.host > 1 || (minorVersion === 1 && seen.host === 0)) {
    throw bad("an HTTP/1.1 request needs exactly one Host header");
  }
  const connection = tokens(headers.get("connection"));
  return {
    method,
    target: originForm(rawTarget),
    minorVersion,
    headers,
    framing: bodyFraming(headers, seen, minorVersion),
    keepAlive: minorVersion === 1 && !connection.includes("close"),
    upgrade: minorVersion === 1 && connection.includes("upgrade") && headers.has("upgrade"),
    expectsContinue: expectsContinue(headers, minorVersion),
  };
}

function originForm(target: string): string {
  if (target.startsWith("/")) return target;
  const authority = ABSOLUTE_FORM.exec(target);
  if (authority === null) throw bad("the request target must be a path");
  const rest = target.slice(authority[0].length);
  return rest.startsWith("/") ? rest : `/${rest}`;
}

function bodyFraming(
  headers: Headers,
  seen: { "content-length": number; "transfer-encoding": number },
  minorVersion: 0 | 1,
): BodyFraming {
  if (seen["transfer-encoding"] > 0) {
    if (seen["content-length"] > 0) throw bad("Content-Length and Transfer-Encoding exclude each other");
    if (minorVersion === 0) throw bad("Transfer-Encoding needs HTTP/1.1");
    const coding = (headers.get("transfer-encoding") ?? "").toLowerCase();
    if (coding !== "chunked") throw new ProtocolError(501, "the only supported Transfer-Encoding is chunked");
    return { kind: "chunked" };
  }
  if (seen["content-length"] > 1) throw bad("repeated Content-Length");
  const length = headers.get("content-length");
  if (length === null) return { kind: "none" };
  if (!/^\d{1,15}$/.test(length)) throw bad("malformed Content-Length");
  const bytes = Number(length);
  return bytes === 0 ? { kind: "none" } : { kind: "length", bytes };
}

function expectsContinue(headers: Headers, minorVersion: 0 | 1): boolean {
  const expect = headers.get("expect");
  if (expect === null || minorVersion === 0) return false;
  if (expect.toLowerCase() !== "100-continue")
    throw new ProtocolError(417, "the only supported Expect is 100-continue");
  return true;
}

function tokens(value: string | null): string[] {
  return value === null ? [] : value.split(",").map((token) => token.trim().toLowerCase());
}
