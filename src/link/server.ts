import { randomBytes } from "node:crypto";
import type { Socket, SocketHandler, TCPSocketListener, UnixSocketListener } from "bun";
import type { ByteTransport } from "./byte-transport.ts";
import {
  canResume,
  encodeRefusal,
  encodeWelcome,
  HelloReader,
  helloToken,
  type ResumePoint,
  resumePoint,
} from "./hello.ts";
import { SESSION_LIMITS, Session, type SessionLimits } from "./session.ts";

export interface TetherListenerLimits {
  /** Milliseconds from the TCP connection to the accepted hello. A guest under emulation needs about one second. */
  handshake: number;
  /** Connections per address that have not said hello yet. */
  unauthenticatedPerPeer: number;
  /** Connections at all, sessions included. */
  connections: number;
  session: SessionLimits;
}

export const TETHER_LISTENER_LIMITS: TetherListenerLimits = {
  handshake: 20_000,
  unauthenticatedPerPeer: 64,
  connections: 16_384,
  session: SESSION_LIMITS,
};

export interface TetherListenerOptions {
  host: string;
  /** 0 for any free port. */
  port: number;
  certificatePem: string;
  keyPem: string;
  /** The VM that a token belongs to, or undefined. Must compare in constant time or look up by a hash. */
  authenticate(token: string): { id: string } | undefined;
  /** A tether has connected. An older session of the same id is closed just before. */
  onSession(id: string, session: Session): void;
  limits?: Partial<TetherListenerLimits>;
}

export interface TetherListener {
  readonly port: number;
  /** Listens on one more address with the same certificate and sessions. Rejects when the address cannot be bound. */
  addListener(address: { host: string; port: number }): Promise<{ port: number; close(): void }>;
  /** Listens on a Unix socket, too, for who passes on connections of its own. */
  addSocket(path: string): void;
  /** Stops listening and closes all sessions. */
  close(): Promise<void>;
}

interface Connection {
  address: string | undefined;
  /** undefined once the hello is accepted. */
  hello: HelloReader | undefined;
  session: Session | undefined;
  timer: ReturnType<typeof setTimeout>;
}

const TLS_1_3 = 0x0304;

const transportOf = (socket: Socket<Connection>): ByteTransport => ({
  write: (bytes) => Math.max(0, socket.write(bytes)),
  end: () => void socket.end(),
});

/** Waits for tethers. Rejects when the address cannot be bound. */
export const listenForTethers = async (options: TetherListenerOptions): Promise<TetherListener> => {
  const server = new TetherServer(options);
  const { port } = server.listen(options.host, options.port);
  return {
    port,
    addListener: async ({ host, port }) => {
      const listener = server.listen(host, port);
      return { port: listener.port, close: () => server.unlisten(listener) };
    },
    addSocket: (path) => server.listenOnSocket(path),
    close: () => server.close(),
  };
};

class TetherServer {
  readonly #options: TetherListenerOptions;
  readonly #limits: TetherListenerLimits;
  readonly #listeners = new Set<TCPSocketListener<Connection> | UnixSocketListener<Connection>>();
  /** By id of the VM, with the connection that carries the session now, or carried it last. */
  readonly #sessions = new Map<string, { session: Session; socket: Socket<Connection> }>();
  readonly #unauthenticated = new Map<string, number>();
  #connections = 0;

  constructor(options: TetherListenerOptions) {
    this.#options = options;
    this.#limits = { ...TETHER_LISTENER_LIMITS, ...options.limits };
  }

  listen(host: string, port: number): TCPSocketListener<Connection> {
    const listener = Bun.listen<Connection>({ hostname: host, port, ...this.#handling() });
    this.#listeners.add(listener);
    return listener;
  }

  listenOnSocket(path: string): void {
    this.#listeners.add(Bun.listen<Connection>({ unix: path, ...this.#handling() }));
  }

  #handling(): { tls: Bun.TLSOptions; socket: SocketHandler<Connection> } {
    // `minVersion` is honoured (as a number) but missing in Bun's types.
    const tls = { cert: this.#options.certificatePem, key: this.#options.keyPem, minVersion: TLS_1_3 };
    return {
      tls,
      socket: {
        binaryType: "uint8array",
        open: (socket) => this.#opened(socket),
        handshake: (socket, authorized, error) => {
          // Clients have no certificate: `authorized` is of no use here, only a broken handshake is.
          if (!authorized && socket.getTLSVersion() !== "TLSv1.3") {
            socket.data.session?.ended(`TLS handshake failed: ${error?.message ?? "unknown"}`);
            socket.terminate();
          }
        },
        data: (socket, bytes) => this.#received(socket, bytes),
        drain: (socket) => socket.data.session?.drained(),
        end: (socket) => {
          socket.data.session?.ended("closed by the tether");
          socket.end();
        },
        close: (socket) => this.#closed(socket),
        error: (socket, error) => {
          socket.data?.session?.ended(error.message);
          socket.terminate();
        },
      },
    };
  }

  unlisten(listener: TCPSocketListener<Connection> | UnixSocketListener<Connection>): void {
    this.#listeners.delete(listener);
    listener.stop();
  }

  async close(): Promise<void> {
    for (const listener of [...this.#listeners]) this.unlisten(listener);
    for (const { session } of [...this.#sessions.values()]) session.close("the endpoint stops");
    this.#sessions.clear();
  }

  #opened(socket: Socket<Connection>): void {
    // Whoever passes connections on to the Unix socket has limits of its own.
    const address: string | undefined = socket.remoteAddress;
    const timer = setTimeout(() => this.#refuse(socket, "hello took too long"), this.#limits.handshake);
    socket.data = { address, hello: new HelloReader(), session: undefined, timer };
    this.#connections++;
    const waiting = address === undefined ? 0 : (this.#unauthenticated.get(address) ?? 0) + 1;
    if (address !== undefined) this.#unauthenticated.set(address, waiting);
    if (waiting > this.#limits.unauthenticatedPerPeer || this.#connections > this.#limits.connections) {
      socket.terminate();
    }
  }

  #received(socket: Socket<Connection>, bytes: Uint8Array): void {
    const { session, hello } = socket.data;
    if (session !== undefined) {
      session.received(bytes);
      return;
    }
    if (hello === undefined) return;
    try {
      const parsed = hello.push(bytes);
      if (parsed === undefined) return;
      const peer = this.#options.authenticate(helloToken(parsed.hello));
      if (peer === undefined) throw new Error("unknown token");
      const wanted = resumePoint(parsed.hello);
      if (wanted === undefined || !this.#resume(socket, peer.id, wanted))
        this.#begin(socket, peer.id, canResume(parsed.hello));
      if (parsed.rest.length > 0) socket.data.session?.received(parsed.rest);
    } catch (error) {
      this.#refuse(socket, error instanceof Error ? error.message : String(error));
    }
  }

  /** The connection carries a session that lost its own. False when there is none to go on with. */
  #resume(socket: Socket<Connection>, id: string, wanted: ResumePoint): boolean {
    const known = this.#sessions.get(id);
    if (known === undefined || known.session.id !== wanted.session || known.session.isOver) return false;
    const { session, socket: before } = known;
    // Nothing that the earlier connection still does concerns the session from here on.
    before.data.session = undefined;
    this.#authenticationOver(socket.data);
    socket.write(encodeWelcome({ session: wanted.session, received: session.receivedFrames }));
    socket.data.session = session;
    known.socket = socket;
    try {
      session.resume(transportOf(socket), wanted.received);
    } catch (error) {
      session.close(error instanceof Error ? error.message : String(error));
      socket.end();
    }
    before.terminate();
    return true;
  }

  #begin(socket: Socket<Connection>, id: string, resumable: boolean): void {
    this.#authenticationOver(socket.data);
    const sessionId = resumable ? randomBytes(16).toString("hex") : undefined;
    socket.write(encodeWelcome(sessionId === undefined ? undefined : { session: sessionId, received: 0 }));
    const session = new Session(transportOf(socket), "engine", this.#limits.session, sessionId);
    socket.data.session = session;
    this.#sessions.get(id)?.session.close("replaced by a newer session");
    this.#sessions.set(id, { session, socket });
    void session.closed.then(() => {
      if (this.#sessions.get(id)?.session === session) this.#sessions.delete(id);
    });
    this.#options.onSession(id, session);
  }

  #refuse(socket: Socket<Connection>, reason: string): void {
    this.#authenticationOver(socket.data);
    socket.write(encodeRefusal(reason));
    socket.end();
  }

  /** Frees the connection's place among those that have not said hello. */
  #authenticationOver(connection: Connection): void {
    clearTimeout(connection.timer);
    if (connection.hello === undefined) return;
    connection.hello = undefined;
    if (connection.address === undefined) return;
    const waiting = (this.#unauthenticated.get(connection.address) ?? 1) - 1;
    if (waiting === 0) this.#unauthenticated.delete(connection.address);
    else this.#unauthenticated.set(connection.address, waiting);
  }

  #closed(socket: Socket<Connection>): void {
    this.#connections--;
    this.#authenticationOver(socket.data);
    socket.data.session?.ended("connection closed");
  }
}
