import type { ByteReader } from "./byte-reader.ts";
import type { Transport } from "./transport.ts";

/** A hijacked connection: raw bytes in both directions, each of which ends on its own. */
export interface RawStream {
  /** The next bytes from the client; undefined at its end of stream. Rejects when the connection is gone. */
  read(): Promise<Uint8Array | undefined>;
  /** Resolves when the bytes are accepted. Rejects when the connection is gone. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends our direction. */
  end(): Promise<void>;
  /** Aborted when the connection is gone. */
  readonly signal: AbortSignal;
}

/** Docker's own, and RFC 6455. */
export type UpgradeProtocol = "tcp" | "websocket";

export type RawHandler = (stream: RawStream) => Promise<void>;

/** Who is at the other end. */
export interface Peer {
  /** `unix`, or the address of a TCP client. */
  address: string;
  /** Common name of the client's certificate. */
  commonName?: string;
}

/** What a handler knows and may do beyond Request and Response; the server passes it as Hono's environment. */
export class Exchange {
  #raw: RawHandler | undefined;
  #protocol: UpgradeProtocol = "tcp";

  constructor(
    readonly peer: Peer,
    /** The client sent `Connection: Upgrade`. */
    readonly upgrade: boolean,
  ) {}

  /** After the response's head the connection belongs to `handler`; the response's own body is not sent. */
  hijack(handler: RawHandler, protocol: UpgradeProtocol = "tcp"): void {
    this.#raw = handler;
    this.#protocol = protocol;
  }

  /** What a client that asked to upgrade is upgraded to. */
  get protocol(): UpgradeProtocol {
    return this.#protocol;
  }

  get rawHandler(): RawHandler | undefined {
    return this.#raw;
  }
}

export function rawStream(reader: ByteReader, transport: Transport, signal: AbortSignal): RawStream {
  return {
    read: () => reader.read(Number.MAX_SAFE_INTEGER),
    write: (bytes) => transport.write(bytes),
    end: () => transport.finish(),
    signal,
  };
}
