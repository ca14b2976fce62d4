/**
 * HTTPS to a vSphere: keep-alive connections whose certificate is checked before the first request byte, so that neither password
 * nor session cookie ever reaches another server. (`fetch` cannot pin: it does not call `checkServerIdentity` when verification of
 * the chain is off.)
 */

import type { ClientRequestArgs, IncomingHttpHeaders, IncomingMessage } from "node:http";
import * as https from "node:https";
import { isIP } from "node:net";
import { type Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as tls from "node:tls";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";

const HANDSHAKE_TIMEOUT_MS = 30_000;
/** A connection on which nothing moves for so long is dead. Longer than any call takes that is not a long poll. */
const SILENCE_TIMEOUT_MS = 120_000;
const RESPONSE_LIMIT_BYTES = 64 * 1024 * 1024;
const FINGERPRINT_HEX_DIGITS = 64;

export interface TransportOptions {
  url: string;
  fingerprint?: string | undefined;
  certificateAuthority?: string | undefined;
}

/** The server could not be reached or is not the one we were told to trust. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  constructor(
    message: string,
    /** The request was not answered, or not to the end: the server may or may not have acted on it. */
    readonly interrupted: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface TextResponse {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

function normalFingerprint(fingerprint: string): string {
  const hex = fingerprint
    .replace(/^sha256:/i, "")
    .replaceAll(":", "")
    .toLowerCase();
  if (!/^[0-9a-f]+$/.test(hex) || hex.length !== FINGERPRINT_HEX_DIGITS) {
    throw new ConnectionError(
      `"${fingerprint}" is no SHA-256 fingerprint: it needs 64 hexadecimal digits, colons allowed (SHA-1 thumbprints are not accepted)`,
      false,
    );
  }
  return hex;
}

/** Opens verified TLS connections for the agent. */
class VerifyingAgent extends https.Agent {
  private readonly pinned: string | undefined;

  constructor(private readonly target: TransportOptions) {
    super({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
    this.pinned = target.fingerprint === undefined ? undefined : normalFingerprint(target.fingerprint);
  }

  override createConnection(
    options: ClientRequestArgs,
    callback: (error: Error | null, socket: Duplex) => void = () => undefined,
  ): undefined {
    const host = options.host ?? "localhost";
    const socket = tls.connect({
      host,
      port: Number(options.port ?? 443),
      ...(isIP(host) ? {} : { servername: host }),
      ...(this.target.certificateAuthority === undefined ? {} : { ca: this.target.certificateAuthority }),
      // Verified below, by pin or by chain, where the message can name the fingerprint that was seen.
      rejectUnauthorized: false,
      ALPNProtocols: ["http/1.1"],
    });
    const patience = setTimeout(() => {
      socket.destroy(new Error(`No TLS handshake within ${HANDSHAKE_TIMEOUT_MS / 1000} s`));
    }, HANDSHAKE_TIMEOUT_MS);
    const failed = (error: Error) => {
      clearTimeout(patience);
      callback(error, socket);
    };
    socket.once("error", failed);
    socket.once("secureConnect", () => {
      clearTimeout(patience);
      socket.removeListener("error", failed);
      const refusal = this.refusal(host, socket);
      if (refusal === undefined) {
        callback(null, socket);
        return;
      }
      socket.on("error", () => undefined);
      socket.destroy();
      callback(refusal, socket);
    });
    return undefined;
  }

  private refusal(host: string, socket: tls.TLSSocket): ConnectionError | undefined {
    const certificate = socket.getPeerCertificate();
    const raw: Uint8Array | undefined = certificate.raw;
    const seen = raw ? new Bun.CryptoHasher("sha256").update(raw).digest("hex") : "none";
    if (this.pinned !== undefined) {
      if (seen === this.pinned) return undefined;
      return new ConnectionError(
        `The certificate of ${host} has the fingerprint ${colons(seen)}, not the expected ${colons(this.pinned)}: it was replaced, or this is another server`,
        false,
      );
    }
    const mismatch = socket.authorized ? tls.checkServerIdentity(host, certificate) : socket.authorizationError;
    if (!mismatch) return undefined;
    const reason = mismatch instanceof Error ? mismatch.message : String(mismatch);
    return new ConnectionError(
      `The certificate of ${host} is not trusted (${reason}). If its SHA-256 fingerprint is right, give it as the one to trust: ${colons(seen)}`,
      false,
    );
  }
}

function colons(hex: string): string {
  return hex.toUpperCase().replace(/..(?=.)/g, "$&:");
}

const inflate = promisify<Buffer, { maxOutputLength: number }, Buffer>(gunzip);

export class Transport {
  readonly url: URL;
  private readonly agent: VerifyingAgent;

  constructor(
    options: TransportOptions,
    private readonly silence = SILENCE_TIMEOUT_MS,
  ) {
    this.url = new URL(options.url);
    if (this.url.protocol !== "https:") throw new ConnectionError(`${options.url} must be an https:// address`, false);
    this.agent = new VerifyingAgent(options);
  }

  close(): void {
    this.agent.destroy();
  }

  /** POSTs a small body and reads the whole answer, inflated. */
  async post(path: string, headers: Record<string, string>, body: string, signal?: AbortSignal): Promise<TextResponse> {
    const bytes = Buffer.from(body);
    const response = await this.send(
      "POST",
      path,
      { ...headers, "Accept-Encoding": "gzip", "Content-Length": String(bytes.length) },
      bytes,
      signal,
    );
    try {
      return { status: response.statusCode ?? 0, headers: response.headers, text: await readAll(response) };
    } catch (error) {
      if (error instanceof ConnectionError || !(error instanceof Error)) throw error;
      const text = `The answer was cut off by ${this.url.host} or on the way: ${error.message}`;
      throw new ConnectionError(text, true, { cause: error });
    }
  }

  /** Sends a request and hands out the answer with its body still to be read. `null` length means no body. */
  async stream(
    method: "GET" | "HEAD" | "PUT",
    path: string,
    headers: Record<string, string>,
    body?: { stream: ReadableStream<Uint8Array>; length: number } | Uint8Array,
  ): Promise<{ status: number; headers: IncomingHttpHeaders; body: Readable }> {
    const length: Record<string, string> = body === undefined ? {} : { "Content-Length": String(body.length) };
    const response = await this.send(
      method,
      path,
      { ...headers, ...length },
      body instanceof Uint8Array ? body : body?.stream,
    );
    return { status: response.statusCode ?? 0, headers: response.headers, body: response };
  }

  private send(
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: Uint8Array | ReadableStream<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    return new Promise<IncomingMessage>((resolve, reject) => {
      const request = https.request(
        {
          agent: this.agent,
          method,
          host: this.url.hostname.replace(/^\[|\]$/g, ""),
          port: this.url.port === "" ? 443 : Number(this.url.port),
          path,
          headers,
          ...(signal ? { signal } : {}),
        },
        resolve,
      );
      request.on("error", (error) => reject(this.explain(error)));
      request.setTimeout(this.silence, () => request.destroy(new Error(`nothing heard for ${this.silence / 1000} s`)));
      if (body instanceof ReadableStream)
        pipeline(Readable.fromWeb(body), request).catch((error: Error) => reject(this.explain(error)));
      else request.end(body);
    });
  }

  private explain(error: Error): Error {
    if (error instanceof ConnectionError) return error;
    const interrupted = "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
    return new ConnectionError(`Cannot reach ${this.url.host}: ${error.message}`, interrupted, { cause: error });
  }
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > RESPONSE_LIMIT_BYTES) {
      response.destroy();
      throw new ConnectionError(`The server's answer is longer than ${RESPONSE_LIMIT_BYTES} bytes`, false);
    }
  }
  const bytes = Buffer.concat(chunks);
  if (response.headers["content-encoding"] !== "gzip") return bytes.toString("utf8");
  return (await inflate(bytes, { maxOutputLength: RESPONSE_LIMIT_BYTES })).toString("utf8");
}
