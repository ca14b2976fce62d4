/**
 * The name server in the guest, at 127.0.0.11 as in Docker: knows the container's peers, and forwards everything else. It
 * needs nobody outside for peers, so names hold while the endpoint is away.
 */
import {
  addressResponse,
  emptyResponse,
  parseQuery,
  pointerResponse,
  RECORD_TYPE,
  RESPONSE_CODE,
} from "../../src/format/dns-message.ts";
import type { ResolverConfiguration } from "../../src/link/guest-configuration.ts";
import { Forwarder, FrameReader, frame } from "./forwarder.ts";
import type { PeerNames } from "./peer-names.ts";

const DNS_PORT = 53;
/** Docker's. Programs that keep answers longer than a peer lives find it gone. */
const PEER_LIFETIME_SECONDS = 600;
const CONNECTION_LIMIT = 64;
const CONNECTION_IDLE_SECONDS = 10;

export interface Resolver {
  /** Name servers have changed. */
  configure(configuration: ResolverConfiguration): void;
  close(): void;
}

/** Listens on UDP and TCP. Rejects when the address cannot be bound. */
export async function openResolver(
  first: ResolverConfiguration,
  peers: PeerNames,
  ports = { listen: DNS_PORT, upstream: DNS_PORT },
): Promise<Resolver> {
  let configuration = first;
  const forwarder = new Forwarder(ports.upstream);

  async function answer(query: Uint8Array, transport: "udp" | "tcp"): Promise<Uint8Array | undefined> {
    const question = parseQuery(query);
    if (question === undefined) {
      const isResponse = query.length < 12 || ((query[2] ?? 0) & 0x80) !== 0;
      return isResponse ? undefined : emptyResponse(query, RESPONSE_CODE.notImplemented);
    }
    const names = question.type === RECORD_TYPE.PTR ? peers.pointers(question.name) : undefined;
    if (names) return pointerResponse(query, question, names, PEER_LIFETIME_SECONDS);
    const addresses = peers.addresses(question.name);
    if (addresses) return addressResponse(query, question, addresses, PEER_LIFETIME_SECONDS);
    // Before the table has arrived the gateway's name server stands in: it knows the peers, too.
    const { upstreams, nameServer } = configuration;
    const servers = peers.known || nameServer === undefined ? upstreams : [nameServer];
    return (
      (await forwarder.ask(servers, query, question, transport)) ??
      emptyResponse(query, RESPONSE_CODE.serverFailure, question)
    );
  }

  const told = (error: unknown): void =>
    console.error(`resolver: ${error instanceof Error ? error.message : String(error)}`);

  const udp = await Bun.udpSocket({
    hostname: first.address,
    port: ports.listen,
    binaryType: "uint8array",
    socket: {
      data: (socket, message, port, address) => {
        answer(message, "udp").then((reply) => {
          if (reply) socket.send(reply, port, address);
        }, told);
      },
      error: (_socket, error) => told(error),
    },
  });

  let connections = 0;
  const tcp = Bun.listen<{ reader: FrameReader; turn: Promise<void> }>({
    hostname: first.address,
    port: ports.listen,
    socket: {
      binaryType: "uint8array",
      open: (socket) => {
        connections++;
        socket.data = { reader: new FrameReader(), turn: Promise.resolve() };
        socket.timeout(CONNECTION_IDLE_SECONDS);
        if (connections > CONNECTION_LIMIT) socket.terminate();
      },
      data: (socket, bytes) => {
        // One after the other: answers come in the order of their questions.
        for (const query of socket.data.reader.push(bytes))
          socket.data.turn = socket.data.turn.then(async () => {
            const reply = await answer(query, "tcp");
            if (reply) socket.write(frame(reply));
            else socket.end();
          }, told);
      },
      timeout: (socket) => void socket.end(),
      close: () => void connections--,
      error: (_socket, error) => told(error),
    },
  });

  return {
    configure: (changed) => {
      configuration = changed;
    },
    close: () => {
      udp.close();
      tcp.stop(true);
    },
  };
}
