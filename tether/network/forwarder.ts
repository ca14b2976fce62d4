/** Asks name servers outside of the guest, and remembers answers for as long as they say. */
import { answers, type Question, responseLifetime, withId } from "../../src/format/dns-message.ts";
import { randomBelow } from "./random.ts";

const DNS_PORT = 53;
/** Milliseconds for one server to answer, in the first and in the second round. Programs themselves give up at 5 s. */
const ROUND_LIMITS = [1500, 2500];
const IN_FLIGHT_LIMIT = 128;
const CACHE_LIMIT = 512;
/** Seconds; a name server's longer wish is cut to it. */
const LONGEST_LIFETIME = 600;

interface Remembered {
  message: Uint8Array;
  until: number;
}

export class Forwarder {
  #inFlight = 0;
  /** In the order of use: the first is the one to forget. */
  readonly #cache = new Map<string, Remembered>();

  constructor(readonly port = DNS_PORT) {}

  /** The answer of the first server that has one; undefined when none answers or too much is asked at once. */
  async ask(
    servers: readonly string[],
    query: Uint8Array,
    question: Question,
    transport: "udp" | "tcp",
  ): Promise<Uint8Array | undefined> {
    const key = `${transport} ${question.type} ${question.class} ${question.name} ${servers.join(" ")}`;
    const remembered = this.#recall(key);
    if (remembered) return withId(remembered, question.id);
    if (this.#inFlight >= IN_FLIGHT_LIMIT) return undefined;
    this.#inFlight++;
    try {
      for (const limit of ROUND_LIMITS)
        for (const server of servers) {
          const exchange = transport === "udp" ? askUdp : askTcp;
          const answer = await exchange(server, this.port, query, question, limit).catch(() => undefined);
          if (answer === undefined) continue;
          this.#remember(key, answer);
          return withId(answer, question.id);
        }
      return undefined;
    } finally {
      this.#inFlight--;
    }
  }

  #recall(key: string): Uint8Array | undefined {
    const found = this.#cache.get(key);
    if (!found) return undefined;
    this.#cache.delete(key);
    if (found.until <= performance.now()) return undefined;
    this.#cache.set(key, found);
    return found.message;
  }

  #remember(key: string, message: Uint8Array): void {
    const seconds = Math.min(responseLifetime(message), LONGEST_LIFETIME);
    if (seconds === 0) return;
    this.#cache.set(key, { message, until: performance.now() + seconds * 1000 });
    const [oldest] = this.#cache.keys();
    if (this.#cache.size > CACHE_LIMIT && oldest !== undefined) this.#cache.delete(oldest);
  }
}

/** From a fresh random port with a fresh random id: an answer that does not match both is not heard. */
async function askUdp(
  server: string,
  port: number,
  query: Uint8Array,
  question: Question,
  limit: number,
): Promise<Uint8Array> {
  const id = randomBelow(0x10000);
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const socket = await Bun.udpSocket({
    connect: { hostname: server, port },
    binaryType: "uint8array",
    socket: {
      data: (_socket, message) => {
        if (answers(message, id, question)) resolve(message);
      },
      error: (_socket, error) => reject(error),
    },
  });
  const timer = setTimeout(() => reject(new Error(`${server} did not answer`)), limit);
  try {
    socket.send(withId(query, id));
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.close();
  }
}

async function askTcp(
  server: string,
  port: number,
  query: Uint8Array,
  question: Question,
  limit: number,
): Promise<Uint8Array> {
  const id = randomBelow(0x10000);
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const timer = setTimeout(() => reject(new Error(`${server} did not answer`)), limit);
  const reader = new FrameReader();
  const connecting = Bun.connect({
    hostname: server,
    port,
    socket: {
      binaryType: "uint8array",
      open: (socket) => void socket.write(frame(withId(query, id))),
      data: (_socket, bytes) => {
        const [message] = reader.push(bytes);
        if (message === undefined) return;
        if (answers(message, id, question)) resolve(message);
        else reject(new Error(`${server} sent something that is no answer`));
      },
      close: () => reject(new Error(`${server} closed the connection`)),
      error: (_socket, error) => reject(error),
    },
  });
  connecting.catch(reject);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    connecting.then(
      (socket) => socket.end(),
      () => undefined,
    );
  }
}

/** A message with its length in front, as TCP carries it. */
export function frame(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(message.length + 2);
  new DataView(framed.buffer).setUint16(0, message.length);
  framed.set(message, 2);
  return framed;
}

/** Takes messages out of a TCP stream. Holds at most one message of 64 KB and what came with it. */
export class FrameReader {
  #pending = new Uint8Array(0);

  push(bytes: Uint8Array): Uint8Array[] {
    const joined = new Uint8Array(this.#pending.length + bytes.length);
    joined.set(this.#pending);
    joined.set(bytes, this.#pending.length);
    const messages: Uint8Array[] = [];
    let offset = 0;
    while (joined.length >= offset + 2) {
      const end = offset + 2 + new DataView(joined.buffer).getUint16(offset);
      if (joined.length < end) break;
      messages.push(joined.slice(offset + 2, end));
      offset = end;
    }
    this.#pending = joined.slice(offset);
    return messages;
  }
}
