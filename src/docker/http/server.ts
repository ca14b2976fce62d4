/** Listens on unix sockets and on TCP with mutual TLS, and gives every connection to the application. */
import { chmodSync, lstatSync, readFileSync, unlinkSync } from "node:fs";
import type { Socket, TCPSocketListener, UnixSocketListener } from "bun";
import { Connection, type ReadyAnswers, type RequestHandler } from "./connection.ts";
import type { Peer } from "./exchange.ts";
import { CLOSE_GRACE_MS, DEADLINE_CHECK_INTERVAL_MS, MAX_CONNECTIONS } from "./limits.ts";
import { Transport } from "./transport.ts";

export type ListenerOptions =
  | { kind: "unix"; path: string; mode: number }
  | {
      kind: "tls";
      host: string;
      /** 0 lets the kernel choose. */
      port: number;
      certificatePem: string;
      keyPem: string;
      /** Only clients with a certificate of this authority are served. */
      clientAuthorityPem: string;
    };

export interface HttpServerOptions {
  listeners: readonly ListenerOptions[];
  handler: RequestHandler;
  ready?: ReadyAnswers;
  onError(error: unknown): void;
  maxConnections?: number;
}

/** Address of a listener as Docker writes it: `unix:///path` or `tcp://host:port`. */
export type ListenerAddress = string;

export interface HttpServer {
  readonly addresses: ListenerAddress[];
  /** Open connections. */
  readonly connections: number;
  /** Stops accepting, lets running requests end for a moment, then closes what is left. */
  close(): Promise<void>;
}

type Accepted = { connection: Connection; authorised: boolean };

/** Throws when a listener's address cannot be had. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const server = new Server(options);
  try {
    for (const listener of options.listeners) await server.listen(listener);
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

class Server implements HttpServer {
  readonly addresses: ListenerAddress[] = [];
  readonly #listeners: (UnixSocketListener<Accepted> | TCPSocketListener<Accepted>)[] = [];
  readonly #socketPaths: { path: string; inode: number }[] = [];
  readonly #open = new Set<Connection>();
  readonly #deadlines: Timer;
  readonly #limit: number;
  #onEmpty: (() => void) | undefined;

  constructor(readonly options: HttpServerOptions) {
    this.#limit = options.maxConnections ?? connectionLimit();
    this.#deadlines = setInterval(() => {
      const now = performance.now();
      for (const connection of this.#open) connection.checkDeadline(now);
    }, DEADLINE_CHECK_INTERVAL_MS);
    this.#deadlines.unref();
  }

  get connections(): number {
    return this.#open.size;
  }

  async listen(listener: ListenerOptions): Promise<void> {
    if (listener.kind === "unix") await this.#listenUnix(listener);
    else this.#listenTls(listener);
  }

  async close(): Promise<void> {
    clearInterval(this.#deadlines);
    for (const listener of this.#listeners) listener.stop(false);
    for (const { path, inode } of this.#socketPaths) removeOwnSocket(path, inode);
    for (const connection of this.#open) connection.close();
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, CLOSE_GRACE_MS);
      this.#onEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    for (const connection of this.#open) connection.options.transport.destroy();
  }

  async #listenUnix(options: { path: string; mode: number }): Promise<void> {
    await removeStaleSocket(options.path);
    // The socket must never exist with wider rights than asked for, not even between bind and chmod.
    const mask = process.umask(0o777 & ~options.mode);
    try {
      this.#listeners.push(
        Bun.listen<Accepted>({ unix: options.path, allowHalfOpen: true, socket: this.#handlers("unix") }),
      );
    } finally {
      process.umask(mask);
    }
    chmodSync(options.path, options.mode);
    this.#socketPaths.push({ path: options.path, inode: lstatSync(options.path).ino });
    this.addresses.push(`unix://${options.path}`);
  }

  #listenTls(options: Extract<ListenerOptions, { kind: "tls" }>): void {
    const listener = Bun.listen<Accepted>({
      hostname: options.host,
      port: options.port,
      allowHalfOpen: true,
      tls: {
        cert: options.certificatePem,
        key: options.keyPem,
        ca: options.clientAuthorityPem,
        requestCert: true,
        // A refused handshake reaches Docker's client as a bare EOF. So the handshake completes, the verdict is read in
        // `handshake` below, and the only thing such a client ever gets is a sentence that says what is wrong.
        rejectUnauthorized: false,
      },
      socket: this.#handlers("tls"),
    });
    this.#listeners.push(listener);
    const host = options.host.includes(":") ? `[${options.host}]` : options.host;
    this.addresses.push(`tcp://${host}:${listener.port}`);
  }

  #handlers(kind: "unix" | "tls"): Bun.SocketHandler<Accepted> {
    return {
      open: (socket) => this.#accept(socket, kind),
      handshake: (socket, success, verdict) => this.#authorise(socket, success, verdict),
      data: (socket, bytes) => {
        // Bytes of a client that was not admitted are dropped, never parsed.
        if (socket.data.authorised) socket.data.connection.reader.push(bytes);
      },
      drain: (socket) => socket.data.connection.options.transport.onDrain(),
      end: (socket) => socket.data.connection.ended(),
      close: (socket) => this.#forget(socket.data.connection),
      error: (socket, error) => {
        this.options.onError(error);
        socket.data.connection.options.transport.destroy();
      },
    };
  }

  #accept(socket: Socket<Accepted>, kind: "unix" | "tls"): void {
    const peer: Peer = { address: kind === "unix" ? "unix" : socket.remoteAddress };
    const connection = new Connection({
      transport: new Transport(socket),
      peer,
      handler: this.options.handler,
      ready: this.options.ready,
      onError: this.options.onError,
    });
    socket.data = { connection, authorised: false };
    if (this.#open.size >= this.#limit) this.#makeRoom();
    this.#open.add(connection);
    if (this.#open.size > this.#limit) {
      if (kind === "tls") connection.options.transport.destroy();
      else void connection.refuse(503, "too many connections to this endpoint: close some and try again");
      return;
    }
    if (kind === "unix") {
      socket.data.authorised = true;
      void connection.serve();
    }
  }

  #authorise(socket: Socket<Accepted>, success: boolean, verdict: Error | null): void {
    const { connection } = socket.data;
    if (connection.options.transport.closed || socket.data.authorised) return;
    const certificate = clientCertificate(socket);
    if (!success || verdict !== null || !socket.authorized || certificate === undefined) {
      const reason =
        certificate === undefined
          ? "tls: client certificate required: set DOCKER_CERT_PATH to a directory with ca.pem, cert.pem and key.pem of this endpoint"
          : `tls: bad client certificate (${verdict?.message ?? "handshake failed"}): it must be issued by this endpoint's certificate authority`;
      void connection.refuse(403, reason);
      return;
    }
    if (certificate.commonName !== undefined) connection.options.peer.commonName = certificate.commonName;
    socket.data.authorised = true;
    void connection.serve();
  }

  /** Closes the connection that has waited longest for a request, so that nobody can keep others out with silent ones. */
  #makeRoom(): void {
    for (const connection of this.#open) {
      if (!connection.waiting) continue;
      connection.options.transport.destroy();
      this.#open.delete(connection);
      return;
    }
  }

  #forget(connection: Connection): void {
    connection.closed();
    this.#open.delete(connection);
    if (this.#open.size === 0) this.#onEmpty?.();
  }
}

/** Half of the files that this process may have open, if that is less than the server's own limit. */
function connectionLimit(): number {
  const files = Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]);
  return Number.isInteger(files) ? Math.min(MAX_CONNECTIONS, Math.floor(files / 2)) : MAX_CONNECTIONS;
}

function clientCertificate(socket: Socket<Accepted>): { commonName?: string } | undefined {
  // The types promise a certificate; at run time there is none when the client sent none.
  const certificate: { subject?: { CN?: unknown } } | null = socket.getPeerCertificate();
  if (!certificate?.subject) return undefined;
  const { CN } = certificate.subject;
  return typeof CN === "string" ? { commonName: CN } : {};
}

/** Removes a socket file that nobody listens on; throws when somebody does or when it is not a socket. */
async function removeStaleSocket(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
    throw error;
  }
  if (!isSocket) throw new Error(`cannot listen on ${path}: it exists and is not a socket`);
  if (await answers(path)) throw new Error(`cannot listen on ${path}: another process already listens there`);
  unlinkSync(path);
}

async function answers(path: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => undefined } });
    socket.end();
    return true;
  } catch {
    return false;
  }
}

function removeOwnSocket(path: string, inode: number): void {
  try {
    if (lstatSync(path).ino === inode) unlinkSync(path);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}
