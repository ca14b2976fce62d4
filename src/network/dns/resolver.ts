/**
 * The resolver on a bridge network's gateway: answers container names (when given a lookup) and forwards everything else to
 * the machine's own name servers. A guest sees SERVFAIL when none of them answers.
 */
import dgram from "node:dgram";
import net from "node:net";
import { addressResponse, emptyResponse, parseQuery, RESPONSE_CODE } from "../../format/dns-message.ts";
import { type NameLookup, NetworkError } from "../contract.ts";
import { askTcp, askUdp, frame } from "./exchange.ts";
import { followResolvConf, registerOwnAddress, type Upstreams } from "./upstreams.ts";

export interface ResolverOptions {
  /** IPv4 address to listen on. */
  address: string;
  /** 53 unless a test says otherwise. */
  port?: number;
  names?: NameLookup;
  /** The machine's name servers; /etc/resolv.conf is followed when left out. */
  upstreams?: Upstreams;
  /** Port of the name servers; 53 unless a test says otherwise. */
  upstreamPort?: number;
  log: (message: string) => void;
}

export interface Resolver {
  close(): Promise<void>;
}

/** Questions being forwarded at once; more are answered with SERVFAIL. */
const IN_FLIGHT_LIMIT = 512;
/** The same for one guest, so that a noisy one leaves room for the others. */
const IN_FLIGHT_LIMIT_PER_GUEST = 64;
const CONNECTION_LIMIT = 128;
const CONNECTION_LIMIT_PER_GUEST = 8;
const CONNECTION_IDLE_MILLISECONDS = 10_000;
/** Time for one server to answer, in the first and in the second round over all servers. Guests themselves give up at 5 s. */
const ROUND_TIME_LIMITS = [1500, 3000];
const TOTAL_TIME_LIMIT_MILLISECONDS = 10_000;
/** Names of containers change when these are started and stopped. */
const OWN_TTL_SECONDS = 5;

/** Counts by guest with a limit for one and for all. */
class Quota {
  private readonly byGuest = new Map<string, number>();
  private total = 0;
  constructor(
    private readonly limit: number,
    private readonly limitPerGuest: number,
  ) {}
  enter(guest: string): boolean {
    const count = this.byGuest.get(guest) ?? 0;
    if (this.total >= this.limit || count >= this.limitPerGuest) return false;
    this.byGuest.set(guest, count + 1);
    this.total += 1;
    return true;
  }
  leave(guest: string): void {
    const count = (this.byGuest.get(guest) ?? 1) - 1;
    if (count === 0) this.byGuest.delete(guest);
    else this.byGuest.set(guest, count);
    this.total -= 1;
  }
}

export async function openResolver(options: ResolverOptions): Promise<Resolver> {
  const upstreams = options.upstreams ?? followResolvConf("/etc/resolv.conf");
  const port = options.port ?? 53;
  const questions = new Quota(IN_FLIGHT_LIMIT, IN_FLIGHT_LIMIT_PER_GUEST);
  const connections = new Quota(CONNECTION_LIMIT, CONNECTION_LIMIT_PER_GUEST);

  /** The answer to one message; undefined when it deserves none. */
  async function answer(query: Uint8Array, from: string, transport: "udp" | "tcp"): Promise<Uint8Array | undefined> {
    const question = parseQuery(query);
    if (question === undefined) {
      const isResponse = query.length < 12 || ((query[2] ?? 0) & 0x80) !== 0;
      return isResponse ? undefined : emptyResponse(query, RESPONSE_CODE.notImplemented);
    }
    const own = options.names?.(question.name, from);
    if (own !== undefined) return addressResponse(query, question, own, OWN_TTL_SECONDS);
    const failure = emptyResponse(query, RESPONSE_CODE.serverFailure, question);
    if (!questions.enter(from)) return failure;
    try {
      const ask = transport === "udp" ? askUdp : askTcp;
      const deadline = performance.now() + TOTAL_TIME_LIMIT_MILLISECONDS;
      for (const timeLimit of ROUND_TIME_LIMITS) {
        for (const server of upstreams.list()) {
          const left = Math.min(timeLimit, deadline - performance.now());
          if (left <= 0) return failure;
          // A server that fails is passed over: the next one may know.
          const reply = await ask(server, query, question, left, options.upstreamPort).catch(() => undefined);
          if (reply !== undefined) return reply;
        }
      }
      return failure;
    } finally {
      questions.leave(from);
    }
  }

  const udp = dgram.createSocket("udp4");
  udp.on("message", (message, sender) => {
    answer(message, sender.address, "udp")
      .then((reply) => {
        if (reply !== undefined && open) udp.send(reply, sender.port, sender.address);
      })
      .catch((error: unknown) => options.log(`resolver: ${String(error)}`));
  });

  const sockets = new Set<net.Socket>();
  const tcp = net.createServer({ pauseOnConnect: false }, (socket) => {
    const guest = socket.remoteAddress ?? "";
    if (!connections.enter(guest)) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.setTimeout(CONNECTION_IDLE_MILLISECONDS, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      connections.leave(guest);
    });
    serveConnection(socket, (query) => answer(query, guest, "tcp")).catch(() => socket.destroy());
  });

  let open = true;
  try {
    await new Promise<void>((resolve, reject) => {
      udp.once("error", reject);
      udp.bind({ address: options.address, port }, () => {
        udp.removeListener("error", reject);
        udp.on("error", (error) => options.log(`resolver: ${error.message}`));
        resolve();
      });
    });
    await new Promise<void>((resolve, reject) => {
      tcp.once("error", reject);
      tcp.listen({ host: options.address, port }, () => resolve());
    });
  } catch (cause) {
    open = false;
    udp.close();
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new NetworkError(
      "system",
      `cannot answer DNS on ${options.address}:${port}: ${reason}; stop what listens there (or make it leave ${options.address} alone)`,
      { cause },
    );
  }
  const forgetAddress = registerOwnAddress(options.address);

  return {
    async close() {
      if (!open) return;
      open = false;
      forgetAddress();
      udp.close();
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => tcp.close(() => resolve()));
    },
  };
}

/** Answers the messages of one TCP connection one after the other. */
async function serveConnection(
  socket: net.Socket,
  answer: (query: Uint8Array) => Promise<Uint8Array | undefined>,
): Promise<void> {
  let pending = Buffer.alloc(0);
  for await (const chunk of socket) {
    pending = Buffer.concat([pending, chunk as Uint8Array]);
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      const end = 2 + pending.readUInt16BE(0);
      const query = new Uint8Array(pending.subarray(2, end));
      pending = pending.subarray(end);
      const reply = await answer(query);
      if (reply === undefined) {
        socket.destroy();
        return;
      }
      socket.write(frame(reply));
    }
  }
}
