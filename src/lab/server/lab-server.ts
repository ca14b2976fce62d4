import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { asFault, LabFault } from "../fault.ts";
import type { Call } from "../model/managed-object.ts";
import { type ServiceTickets, TICKET_COOKIE_NAME } from "../session/service-tickets.ts";
import { COOKIE_NAME, cookieValue, type Session, type Sessions } from "../session/sessions.ts";
import type { User, Users } from "../session/users.ts";
import type { ServerCertificate } from "./certificate.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { type FolderService, statusOfFault } from "./folder-service.ts";
import { HttpError } from "./http-error.ts";
import type { NfcService } from "./nfc-service.ts";
import { serviceVersionsXml } from "./service-versions.ts";

/** Bytes of one SOAP request. A VM with many large guestinfo values stays far below. */
const REQUEST_LIMIT = 16 * 1024 * 1024;
const HEADER_TIMEOUT_MILLISECONDS = 60_000;
/** Idle connections are closed after this. */
const KEEP_ALIVE_MILLISECONDS = 5 * 60_000;
/** Replies from this size on are compressed for clients that are not on this machine. */
const COMPRESS_FROM = 4096;

export interface ServerParts {
  certificate: ServerCertificate;
  dispatcher: Dispatcher;
  folder: FolderService;
  /** Disks of leases; a server without them has none. */
  nfc?: NfcService;
  sessions: Sessions;
  users: Users;
  tickets: ServiceTickets;
  log: (line: string) => void;
}

/** The HTTPS endpoint: `/sdk`, `/folder` and `/nfc`. */
export class LabServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(private readonly parts: ServerParts) {
    const { certificate } = parts;
    this.#server = createServer(
      { cert: certificate.certificatePem, key: certificate.keyPem, minVersion: "TLSv1.2" },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.requestTimeout = 0;
    this.#server.headersTimeout = HEADER_TIMEOUT_MILLISECONDS;
    this.#server.keepAliveTimeout = KEEP_ALIVE_MILLISECONDS;
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("tlsClientError", (error) => parts.log(`TLS: ${error.message}`));
  }

  static async listen(parts: ServerParts, listen: { host: string; port: number }): Promise<LabServer> {
    const server = new LabServer(parts);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.#server.once("error", reject);
    server.#server.listen(listen.port, listen.host, () => resolve());
    await promise;
    server.#server.off("error", reject);
    server.#server.on("error", (error) => parts.log(`HTTPS: ${error.message}`));
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    await promise;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = new URL(request.url ?? "/", "https://localhost");
      if (url.pathname === "/sdk" || url.pathname === "/sdk/") await this.#soap(request, response);
      else if (url.pathname === "/sdk/vimServiceVersions.xml") this.#versions(request, response);
      else if (url.pathname === "/folder" || url.pathname.startsWith("/folder/"))
        await this.#folder(request, response, url);
      else if (this.parts.nfc && url.pathname.startsWith("/nfc/"))
        await this.parts.nfc.handle(request, response, url.pathname);
      else throw new HttpError(404, `There is nothing at ${url.pathname}`);
    } catch (error) {
      this.#fail(response, error);
    }
  }

  #versions(request: IncomingMessage, response: ServerResponse): void {
    if (request.method !== "GET" && request.method !== "HEAD") throw new HttpError(405, "GET only");
    const xml = serviceVersionsXml();
    response.writeHead(200, { "Content-Type": "text/xml", "Content-Length": Buffer.byteLength(xml) });
    response.end(request.method === "HEAD" ? undefined : xml);
  }

  async #soap(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== "POST") throw new HttpError(405, "/sdk takes SOAP requests by POST");
    const text = await readBody(request);
    const ended = new AbortController();
    response.on("close", () => {
      if (!response.writableFinished) ended.abort();
    });
    const call: Omit<Call, "method"> = {
      session: this.#session(request),
      signal: ended.signal,
      client: clientOf(request),
    };
    const action = request.headers.soapaction;
    const reply = await this.parts.dispatcher.handle(text, Array.isArray(action) ? action[0] : action, call);
    if (response.destroyed) return;
    if (call.newCookie !== undefined) {
      response.setHeader("Set-Cookie", `${COOKIE_NAME}="${call.newCookie}"; Path=/; HttpOnly; Secure; `);
    }
    response.setHeader("Content-Type", "text/xml; charset=utf-8");
    response.setHeader("Cache-Control", "no-cache");
    const compress =
      reply.body.length >= COMPRESS_FROM &&
      /\bgzip\b/.test(String(request.headers["accept-encoding"] ?? "")) &&
      !isLoopback(request.socket.remoteAddress);
    const body = compress ? gzipSync(reply.body, { level: 1 }) : Buffer.from(reply.body);
    if (compress) response.setHeader("Content-Encoding", "gzip");
    response.writeHead(reply.status, { "Content-Length": body.length }).end(body);
  }

  async #folder(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const user = this.#authenticate(request);
    if (!user) {
      response.setHeader("WWW-Authenticate", 'Basic realm="VMware HTTP server"');
      throw new HttpError(401, "Log in, or send a user name and a password");
    }
    const session = this.#session(request);
    const end = session?.beginCall();
    try {
      await this.parts.folder.handle(request, response, url, user);
    } finally {
      end?.();
    }
  }

  #session(request: IncomingMessage): Session | undefined {
    return this.parts.sessions.find(cookieValue(request.headers.cookie, COOKIE_NAME));
  }

  /** By session cookie, service ticket or HTTP Basic. */
  #authenticate(request: IncomingMessage): User | undefined {
    const session = this.#session(request);
    if (session) return session.user;
    const ticket = cookieValue(request.headers.cookie, TICKET_COOKIE_NAME);
    const byTicket = this.parts.tickets.redeem(ticket, request.method ?? "GET", request.url ?? "/");
    if (byTicket) return byTicket;
    const basic = /^Basic (\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
    if (basic === undefined) return undefined;
    const [name = "", ...password] = Buffer.from(basic, "base64").toString("utf8").split(":");
    return this.parts.users.verify(name, password.join(":"));
  }

  #fail(response: ServerResponse, error: unknown): void {
    const fault = error instanceof HttpError ? undefined : asFault(error);
    const status =
      error instanceof HttpError
        ? error.status
        : statusOfFault(fault ?? new LabFault("SystemError", "", { reason: "" }));
    if (status === 500)
      this.parts.log(`HTTP request failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    const message = `${error instanceof HttpError ? error.message : fault?.message}\n`;
    // What is left of a refused upload is not read.
    response.writeHead(status, {
      "Content-Type": "text/plain; charset=utf-8",
      "Content-Length": Buffer.byteLength(message),
      Connection: "close",
    });
    response.end(message);
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > REQUEST_LIMIT) throw new HttpError(413, `A SOAP request can have ${REQUEST_LIMIT} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

const clientOf = (request: IncomingMessage) => ({
  address: request.socket.remoteAddress ?? "",
  userAgent: request.headers["user-agent"] ?? "",
});

const isLoopback = (address: string | undefined): boolean =>
  address === "::1" || /^(::ffff:)?127\./.test(address ?? "");
