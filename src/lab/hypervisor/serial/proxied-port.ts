/**
 * The host's side of a VM's serial port that goes through a concentrator: dials it while the port is connected, again and again when it
 * is lost, and carries bytes between it and QEMU. What a guest writes while nobody is connected is lost, as on a cable
 * without a peer; a peer that does not read holds the guest's UART up.
 */
import { connect, type Socket } from "node:net";
import { SUBOPTION } from "../../../format/telnet/index.ts";
import { type ProxiedService, ProxyConnection } from "./proxy-connection.ts";

/** Milliseconds between two attempts, at first and at most. */
const FIRST_RETRY = 250;
const LONGEST_RETRY = 5_000;
/** Milliseconds that a proxy has to answer the begin of a move; vSphere's default of `serialN.vmotionLimit`. */
const MOVE_ANSWER_LIMIT = 5_000;

export class ProxiedPort {
  #service: ProxiedService;
  readonly #log: (message: string) => void;
  readonly #qemu: Socket;
  #wanted: boolean;
  #connection: ProxyConnection | undefined;
  /** Whose bytes the guest gets: only of a proxy that has accepted the port. */
  #carrier: ProxyConnection | undefined;
  #retry = FIRST_RETRY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  #lastFailure = "";

  private constructor(qemu: Socket, service: ProxiedService, connected: boolean, log: (message: string) => void) {
    this.#qemu = qemu;
    this.#service = service;
    this.#wanted = connected;
    this.#log = log;
    qemu.on("data", (bytes: Buffer) => {
      if (this.#carrier?.write(bytes) === false) qemu.pause();
    });
    qemu.on("drain", () => this.#connection?.resume());
    // The socket ends with its QEMU, which is noticed elsewhere.
    qemu.on("error", () => this.close());
    if (connected) this.#dial();
  }

  /** Rejects when QEMU does not listen. */
  static async open(
    path: string,
    service: ProxiedService,
    connected: boolean,
    log: (message: string) => void,
  ): Promise<ProxiedPort> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new ProxiedPort(socket, service, connected, log);
  }

  /** Plugs the cable in or out, or into another proxy. */
  use(service: ProxiedService, connected: boolean): void {
    this.#service = service;
    this.#wanted = connected;
    this.#retry = FIRST_RETRY;
    this.#hangUp();
    if (connected) this.#dial();
  }

  /**
   * The VM goes on at another host: the new host's connection takes the place of the old one without a byte lost, or the move of the
   * connection is given up and it stays. Never rejects.
   */
  async move(): Promise<void> {
    const old = this.#carrier;
    if (old === undefined) return;
    const sequence = crypto.getRandomValues(new Uint8Array(4));
    let next: ProxyConnection | undefined;
    // From the begin on the old host sends nothing that the guest writes; it is sent by the new one.
    this.#qemu.pause();
    try {
      const go = await old.ask(
        SUBOPTION.vmotionBegin,
        sequence,
        [SUBOPTION.vmotionGoAhead, SUBOPTION.vmotionNotNow],
        MOVE_ANSWER_LIMIT,
      );
      if (go.suboption === SUBOPTION.vmotionNotNow) throw new Error("not now");
      next = this.#connect();
      await next.accepted;
      await next.ask(SUBOPTION.vmotionPeer, go.payload, [SUBOPTION.vmotionPeerOk], MOVE_ANSWER_LIMIT);
      next.say(SUBOPTION.vmotionComplete, sequence);
      this.#connection = next;
      this.#carrier = next;
      old.close();
    } catch (error) {
      this.#log(`serial port: the connection stays with its host: ${error instanceof Error ? error.message : error}`);
      next?.close();
      if (this.#carrier === old) old.say(SUBOPTION.vmotionAbort);
    } finally {
      this.#qemu.resume();
    }
  }

  close(): void {
    this.#closed = true;
    this.#hangUp();
    this.#qemu.destroy();
  }

  #hangUp(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    this.#carrier = undefined;
    connection?.close();
    this.#qemu.resume();
  }

  #connect(): ProxyConnection {
    const connection: ProxyConnection = new ProxyConnection(this.#service, {
      data: (bytes) => {
        if (!this.#qemu.write(bytes)) connection.pause();
      },
      drained: () => this.#qemu.resume(),
      closed: (reason) => this.#lost(connection, reason),
    });
    return connection;
  }

  #dial(): void {
    const connection = this.#connect();
    this.#connection = connection;
    connection.accepted.then(
      () => {
        if (this.#connection !== connection) return;
        this.#carrier = connection;
        this.#retry = FIRST_RETRY;
        this.#lastFailure = "";
      },
      () => undefined,
    );
  }

  #lost(connection: ProxyConnection, reason: string): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#carrier = undefined;
    this.#qemu.resume();
    if (this.#closed || !this.#wanted) return;
    if (reason !== this.#lastFailure) this.#log(`serial port: ${this.#service.proxyUri}: ${reason}`);
    this.#lastFailure = reason;
    this.#timer = setTimeout(() => this.#dial(), this.#retry);
    this.#retry = Math.min(LONGEST_RETRY, this.#retry * 2);
  }
}
