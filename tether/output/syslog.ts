/**
 * Sends log entries to a syslog server. Over TCP, a server that is slow slows the process down, as by Docker's blocking mode. While a
 * server cannot be reached, entries go to the container's own log alone.
 */
import { Resolver } from "node:dns/promises";
import { connect, isIP } from "node:net";
import type { SyslogConfiguration } from "../../src/link/guest-configuration.ts";
import type { LogRecord } from "./log-record.ts";
import { syslogMessage } from "./syslog-message.ts";

/** Milliseconds for a name server, for a connection, and for a server to take what it was sent. */
const NAME_LIMIT = 3000;
const CONNECT_LIMIT = 5000;
const WRITE_LIMIT = 30_000;
/** Milliseconds from a failure to the next attempt. */
const RETRY_DELAY = 2000;

interface Connection {
  /** Resolves when the message is on its way. */
  send(message: Uint8Array): Promise<void>;
}

export class SyslogSender {
  readonly #configuration: SyslogConfiguration;
  readonly #nameServers: readonly string[];
  #connection: Connection | undefined;
  #nextAttempt = 0;
  #lost = 0;

  /** `nameServers` are asked when the host is a name. */
  constructor(configuration: SyslogConfiguration, nameServers: readonly string[]) {
    this.#configuration = configuration;
    this.#nameServers = nameServers;
  }

  /** Connects. Throws with Docker's words. */
  async open(): Promise<void> {
    const { transport, host, port } = this.#configuration;
    try {
      const address = await this.#address();
      this.#connection = await (transport === "udp" ? openUdp(address, port) : openTcp(address, port));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`failed to initialize logging driver: dial ${transport} ${host}:${port}: ${reason}`);
    }
  }

  /** Never rejects. */
  async send(records: readonly LogRecord[]): Promise<void> {
    for (const record of records) {
      if (this.#connection === undefined && performance.now() < this.#nextAttempt) {
        this.#lost++;
        continue;
      }
      try {
        await (await this.#connected()).send(syslogMessage(this.#configuration, record));
      } catch (error) {
        this.#connection = undefined;
        this.#nextAttempt = performance.now() + RETRY_DELAY;
        if (this.#lost++ === 0) console.error(`syslog: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  async #connected(): Promise<Connection> {
    if (this.#connection !== undefined) return this.#connection;
    await this.open();
    if (this.#connection === undefined) throw new Error("there is no connection");
    if (this.#lost > 0)
      console.error(`syslog: reached again; ${this.#lost} entries are in the container's own log alone`);
    this.#lost = 0;
    return this.#connection;
  }

  async #address(): Promise<string> {
    const { host } = this.#configuration;
    if (isIP(host) !== 0) return host;
    const resolver = new Resolver({ timeout: NAME_LIMIT, tries: 1 });
    resolver.setServers([...this.#nameServers]);
    const [address] = await resolver.resolve4(host).catch(() => []);
    if (address === undefined) throw new Error(`lookup ${host}: no such host`);
    return address;
  }
}

const openUdp = async (hostname: string, port: number): Promise<Connection> => {
  let drained: () => void = () => undefined;
  let failure: Error | undefined;
  const socket = await Bun.udpSocket({
    connect: { hostname, port },
    socket: {
      drain: () => drained(),
      // Nobody listens there: what ICMP says of an earlier message.
      error: (_socket, error) => {
        failure = error;
      },
    },
  });
  return {
    send: async (message) => {
      if (failure !== undefined) {
        socket.close();
        throw failure;
      }
      if (socket.send(message)) return;
      await within(
        new Promise<void>((resolve) => {
          drained = resolve;
        }),
        WRITE_LIMIT,
      );
    },
  };
};

const openTcp = async (host: string, port: number): Promise<Connection> => {
  const socket = connect({ host, port });
  const connected = new Promise<void>((resolve, reject) => {
    socket.once("connect", () => resolve());
    socket.once("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "ECONNREFUSED" ? new Error("connect: connection refused") : error),
    );
  });
  try {
    await within(connected, CONNECT_LIMIT);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  let failure: Error | undefined;
  let fail: (error: Error) => void = () => undefined;
  const broken = (error: Error): void => {
    failure ??= error;
    fail(failure);
  };
  socket.on("error", broken);
  socket.on("close", () => broken(new Error("the server closed the connection")));
  // A syslog server says nothing.
  socket.resume();
  return {
    send: async (message) => {
      if (failure !== undefined) throw failure;
      try {
        await within(
          new Promise<void>((resolve, reject) => {
            fail = reject;
            socket.write(message, (error) => (error ? reject(error) : resolve()));
          }),
          WRITE_LIMIT,
        );
      } catch (error) {
        socket.destroy();
        throw error;
      }
    },
  };
};

const within = async <T>(work: Promise<T>, limit: number): Promise<T> => {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("i/o timeout")), limit);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
};
