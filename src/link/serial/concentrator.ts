/**
 * The endpoint's virtual serial port concentrator (vSPC): hosts dial it for the serial ports of VMs and tell which VM is behind the
 * connection. The guest's calls over the port are passed on to the control link's listener; who is calling is proved there, by
 * TLS and token, so that a host, or whoever pretends to be one, can cut a line but neither read it nor speak for a guest.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import type { Socket, TCPSocketListener } from "bun";
import { HostConnection, type HostEvents } from "./host-connection.ts";
import { LineAnswerer } from "./line-ends.ts";
import { LineSocket, lineSocketHandler } from "./line-socket.ts";

export interface ConcentratorLimits {
  /** Milliseconds from the connection until the host has told whose port it is. */
  identification: number;
  /** Connections per address whose VM is not known yet. */
  unidentifiedPerPeer: number;
  connections: number;
  /** Milliseconds that a guest's connection waits for its host to come back, as over a restart of the host's agent. */
  linger: number;
  /** Milliseconds from the begin of a move to its end. */
  move: number;
}

export const CONCENTRATOR_LIMITS: ConcentratorLimits = {
  identification: 10_000,
  unidentifiedPerPeer: 256,
  connections: 16_384,
  linger: 30_000,
  move: 300_000,
};

export interface ConcentratorOptions {
  host: string;
  /** 0 for any free port. */
  port: number;
  /** The service URI that the ports are made with; a host that asks for another one is turned away. */
  serviceUri: string;
  /** Unix socket on which the control link listens. */
  linkSocket: string;
  log(message: string): void;
  limits?: Partial<ConcentratorLimits>;
}

export interface Concentrator {
  readonly port: number;
  close(): void;
}

interface Peer {
  connection: HostConnection;
  address: string;
  unidentified: boolean;
  timer: ReturnType<typeof setTimeout>;
}

/** Throws when the address cannot be bound. */
export const openConcentrator = (options: ConcentratorOptions): Concentrator => {
  const concentrator = new SerialPortConcentrator(options);
  return { port: concentrator.port, close: () => concentrator.close() };
};

const SECRET_LENGTH = 16;

/** The serial line of one VM. */
class Line {
  readonly answerer: LineAnswerer;
  /** Carries it now. */
  carrier: HostConnection | undefined;
  /** A move that was granted: what the new host has to show, and who showed it. */
  move: { cookie: Uint8Array; peer: HostConnection | undefined; timer: ReturnType<typeof setTimeout> } | undefined;
  lingering: ReturnType<typeof setTimeout> | undefined;

  constructor(linkSocket: string) {
    this.answerer = new LineAnswerer((begin) => {
      const user = new LineSocket();
      user.useConnection(begin(user));
      Bun.connect<LineSocket>({
        unix: linkSocket,
        data: user,
        socket: { ...lineSocketHandler, open: (socket) => user.useSocket(socket) },
      }).catch(() => user.socketClosed());
    });
  }

  carriedBy(connection: HostConnection | undefined): void {
    clearTimeout(this.lingering);
    this.carrier = connection;
    this.answerer.usePort(connection);
  }

  endMove(): HostConnection | undefined {
    const peer = this.move?.peer;
    clearTimeout(this.move?.timer);
    this.move = undefined;
    return peer;
  }
}

class SerialPortConcentrator implements HostEvents {
  readonly #options: ConcentratorOptions;
  readonly #limits: ConcentratorLimits;
  readonly #listener: TCPSocketListener<Peer>;
  readonly #lines = new Map<string, Line>();
  readonly #peers = new Map<HostConnection, Peer>();
  readonly #unidentified = new Map<string, number>();

  constructor(options: ConcentratorOptions) {
    this.#options = options;
    this.#limits = { ...CONCENTRATOR_LIMITS, ...options.limits };
    this.#listener = Bun.listen<Peer>({
      hostname: options.host,
      port: options.port,
      socket: {
        binaryType: "uint8array",
        open: (socket) => this.#opened(socket),
        data: (socket, bytes) => this.#received(socket, bytes),
        drain: (socket) => socket.data.connection.drained(),
        end: (socket) => void socket.end(),
        close: (socket) => this.#closed(socket.data),
        error: (socket) => socket.terminate(),
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  close(): void {
    this.#listener.stop(true);
    for (const line of this.#lines.values()) {
      line.endMove();
      clearTimeout(line.lingering);
      line.answerer.close("the endpoint stops");
    }
    this.#lines.clear();
  }

  identified(connection: HostConnection): void {
    const { uuid } = connection;
    const peer = this.#peers.get(connection);
    if (uuid === undefined || peer === undefined) return;
    this.#identificationOver(peer);
    const known = this.#lines.get(uuid);
    // The new host of a moving VM waits for the end of the move, as long as the old one is there.
    if (known?.move !== undefined && known.carrier !== undefined) return;
    const line = known ?? new Line(this.#options.linkSocket);
    this.#lines.set(uuid, line);
    const before = line.carrier;
    line.carriedBy(connection);
    // The host has lost the earlier connection, whether that was noticed here or not.
    before?.close();
  }

  data(connection: HostConnection, bytes: Uint8Array): void {
    const line = this.#lineOf(connection);
    if (line?.carrier === connection) line.answerer.arrived(bytes);
  }

  moveBegins(connection: HostConnection, sequence: Uint8Array): Uint8Array | undefined {
    const line = this.#lineOf(connection);
    if (line?.carrier !== connection || line.move !== undefined) return undefined;
    const secret = randomBytes(SECRET_LENGTH);
    const timer = setTimeout(() => this.#abort(line), this.#limits.move);
    line.move = { cookie: Uint8Array.of(...sequence, ...secret), peer: undefined, timer };
    return secret;
  }

  movePeer(connection: HostConnection, cookie: Uint8Array): boolean {
    const line = this.#lineOf(connection);
    const move = line?.move;
    const shown = move !== undefined && cookie.length === move.cookie.length && timingSafeEqual(cookie, move.cookie);
    if (shown) move.peer = connection;
    return shown;
  }

  moveComplete(connection: HostConnection): void {
    const line = this.#lineOf(connection);
    if (line?.move?.peer !== connection) return;
    line.endMove();
    const before = line.carrier;
    line.carriedBy(connection);
    if (before !== connection) before?.close();
  }

  moveAborted(connection: HostConnection): void {
    const line = this.#lineOf(connection);
    if (line !== undefined && (line.carrier === connection || line.move?.peer === connection)) this.#abort(line);
  }

  #abort(line: Line): void {
    const peer = line.endMove();
    if (peer !== line.carrier) peer?.close();
  }

  #lineOf({ uuid }: HostConnection): Line | undefined {
    return uuid === undefined ? undefined : this.#lines.get(uuid);
  }

  #opened(socket: Socket<Peer>): void {
    const address = socket.remoteAddress;
    const connection = new HostConnection(
      { write: (bytes) => Math.max(0, socket.write(bytes)), close: () => void socket.end() },
      this.#options.serviceUri,
      this,
    );
    const timer = setTimeout(() => {
      this.#options.log(`serial ports: ${address} did not tell which VM it serves`);
      socket.terminate();
    }, this.#limits.identification);
    socket.data = { connection, address, unidentified: true, timer };
    this.#peers.set(connection, socket.data);
    const waiting = (this.#unidentified.get(address) ?? 0) + 1;
    this.#unidentified.set(address, waiting);
    if (waiting > this.#limits.unidentifiedPerPeer || this.#peers.size > this.#limits.connections) socket.terminate();
  }

  #received(socket: Socket<Peer>, bytes: Uint8Array): void {
    try {
      socket.data.connection.received(bytes);
    } catch (error) {
      this.#options.log(
        `serial ports: ${socket.data.address}: ${error instanceof Error ? error.message : String(error)}`,
      );
      socket.terminate();
    }
  }

  #identificationOver(peer: Peer): void {
    clearTimeout(peer.timer);
    if (!peer.unidentified) return;
    peer.unidentified = false;
    const waiting = (this.#unidentified.get(peer.address) ?? 1) - 1;
    if (waiting === 0) this.#unidentified.delete(peer.address);
    else this.#unidentified.set(peer.address, waiting);
  }

  #closed(peer: Peer): void {
    const { connection } = peer;
    this.#identificationOver(peer);
    this.#peers.delete(connection);
    connection.close();
    const { uuid } = connection;
    const line = this.#lineOf(connection);
    if (line === undefined || uuid === undefined) return;
    if (line.move?.peer === connection && line.carrier !== connection) line.move.peer = undefined;
    if (line.carrier !== connection) return;
    line.carriedBy(undefined);
    // The new host may have shown its secret already: the old one is done.
    const successor = line.endMove();
    if (successor !== undefined && !successor.isClosed) {
      line.carriedBy(successor);
      return;
    }
    line.lingering = setTimeout(() => {
      line.answerer.close("its host has not come back");
      if (this.#lines.get(uuid) === line) this.#lines.delete(uuid);
    }, this.#limits.linger);
    line.lingering.unref();
  }
}
