/** The lab's HTTPS door: `/sdk` to the dispatcher, `/folder` to the datastores. */
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { COOKIE_NAME, cookieValue, type Sessions } from "../session/sessions.ts";
import type { ServerCertificate } from "./certificate.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { completeBody, IncompleteBody } from "./file-transfer.ts";
import { FOLDER_ROOT, type FolderService } from "./folder-service.ts";
import { serviceVersionsXml } from "./service-versions.ts";

/** Longest SOAP request in bytes; the largest real ones carry a VM's configuration. */
const SOAP_REQUEST_LIMIT = 16 * 1024 * 1024;
/** A connection on which nothing moves for this long is closed. Calls that wait for changes are exempt. */
const IDLE_SECONDS = 180;
/** Smaller answers are not worth compressing. */
const GZIP_THRESHOLD_BYTES = 2048;
/** Bun's limit would cut uploads off; `/sdk` has its own, and a datastore ends where its file system does. */
const UPLOAD_LIMIT = Number.MAX_SAFE_INTEGER;

const compress = promisify(gzip);

export interface HttpsServerOptions {
  /** Address to listen on. */
  host: string;
  /** 0: any free port. */
  port: number;
  certificate: ServerCertificate;
  dispatcher: Pick<Dispatcher, "handle">;
  sessions: Sessions;
  folders: Pick<FolderService, "handle">;
  log: (line: string) => void;
  /** Seconds; for tests. */
  idleSeconds?: number;
}

export interface HttpsServer {
  readonly port: number;
  /** Ends the listener and every connection; calls in progress see their signal abort. */
  stop(): Promise<void>;
}

/** Starts to listen. Throws when the port is taken. */
export function startHttpsServer(options: HttpsServerOptions): HttpsServer {
  const { certificate, log } = options;
  const server = Bun.serve({
    hostname: options.host,
    port: options.port,
    tls: { key: certificate.keyPem, cert: certificate.certificatePem },
    idleTimeout: options.idleSeconds ?? IDLE_SECONDS,
    maxRequestBodySize: UPLOAD_LIMIT,
    fetch: (request, server) => route(options, request, server),
    error: (error) => {
      log(`A request failed: ${error.stack ?? error.message}`);
      return plain(500, "The request failed; see the log of the lab.");
    },
  });
  const { port } = server;
  if (port === undefined) throw new Error("The listener has no port");
  return { port, stop: () => server.stop(true) };
}

async function route(options: HttpsServerOptions, request: Request, server: Bun.Server<undefined>): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname === FOLDER_ROOT || pathname.startsWith(`${FOLDER_ROOT}/`)) return options.folders.handle(request);
  if (pathname === "/sdk" || pathname === "/sdk/") return answerSoap(options, request, server);
  if (pathname === "/sdk/vimServiceVersions.xml") {
    if (request.method !== "GET" && request.method !== "HEAD") return plain(405, "Use GET.", { Allow: "GET, HEAD" });
    return new Response(serviceVersionsXml(), { headers: { "Content-Type": "text/xml" } });
  }
  return plain(404, `There is nothing at ${pathname}.`);
}

async function answerSoap(
  options: HttpsServerOptions,
  request: Request,
  server: Bun.Server<undefined>,
): Promise<Response> {
  if (request.method !== "POST") return plain(405, "Send SOAP requests with POST.", { Allow: "POST" });
  const text = await readSoapRequest(request);
  if (text instanceof Response) return text;
  // A call may wait for changes as long as it likes; the client's hanging up ends it.
  server.timeout(request, 0);
  const session = options.sessions.find(cookieValue(request.headers.get("cookie") ?? undefined, COOKIE_NAME));
  const address = server.requestIP(request)?.address ?? "";
  const userAgent = request.headers.get("user-agent") ?? "";
  const call: Parameters<Dispatcher["handle"]>[2] = {
    session,
    signal: request.signal,
    client: { address, userAgent },
  };
  const reply = await options.dispatcher.handle(text, request.headers.get("soapaction") ?? undefined, call);
  const headers = new Headers({ "Content-Type": "text/xml; charset=utf-8", "Cache-Control": "no-cache" });
  if (call.newCookie !== undefined) {
    // In quotes, as vSphere does it; clients that parse the header depend on it.
    headers.set("Set-Cookie", `${COOKIE_NAME}="${call.newCookie}"; Path=/; HttpOnly; Secure`);
  }
  const body = Buffer.from(reply.body);
  const accepted = acceptsGzip(request.headers.get("accept-encoding"));
  if (!accepted || body.length < GZIP_THRESHOLD_BYTES) return new Response(body, { status: reply.status, headers });
  headers.set("Content-Encoding", "gzip");
  headers.set("Vary", "Accept-Encoding");
  return new Response(await compress(body, { level: 1 }), { status: reply.status, headers });
}

/** The request's text, or the answer that refuses it. */
async function readSoapRequest(request: Request): Promise<string | Response> {
  const refuse = (): Response => plain(413, `A request can have ${SOAP_REQUEST_LIMIT} bytes.`, { Connection: "close" });
  if (Number(request.headers.get("content-length") ?? 0) > SOAP_REQUEST_LIMIT) return refuse();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of completeBody(request)) {
      length += chunk.length;
      if (length > SOAP_REQUEST_LIMIT) return refuse();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof IncompleteBody) return plain(400, error.message);
    throw error;
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Is gzip among the codings, without a weight of zero? */
const acceptsGzip = (header: string | null): boolean =>
  (header ?? "").split(",").some((coding) => /^\s*gzip\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/i.test(coding));

const plain = (status: number, message: string, headers: Record<string, string> = {}): Response =>
  new Response(`${message}\n`, { status, headers: { "Content-Type": "text/plain; charset=utf-8", ...headers } });
