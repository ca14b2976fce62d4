/** Answers a machine's guest RPC on the Unix socket behind its COM4. */
import { connect, type Socket } from "node:net";
import {
  encodeRpciFrame,
  formatRpciReply,
  parseRpciCommand,
  RPCI_REPLY_LIMIT,
  RPCI_REQUEST_LIMIT,
  RpciDecoder,
  type RpciReply,
} from "../../format/rpci.ts";
import type { GuestInfoStore } from "./contract.ts";

/** Reading pauses while this many bytes of replies wait for the guest: a guest that only asks gets no more of our memory. */
const UNREAD_REPLY_LIMIT = 256 * 1024;
const LONGEST_REASON = 500;
/** Two bytes that a text reply adds to a value. */
const REPLY_OVERHEAD = 2;

export function answerRpci(message: Uint8Array, store: GuestInfoStore): RpciReply {
  const command = parseRpciCommand(message);
  if (command.kind === "unknown") return { ok: false, reason: "Unknown command" };
  try {
    if (command.kind === "info-set") {
      store.set(command.key, command.value);
      return { ok: true, value: "" };
    }
    const value = store.get(command.key);
    if (value === undefined) return { ok: false, reason: "No value found" };
    if (Buffer.byteLength(value) + REPLY_OVERHEAD > RPCI_REPLY_LIMIT)
      return { ok: false, reason: `Value is longer than ${RPCI_REPLY_LIMIT - REPLY_OVERHEAD} bytes` };
    return { ok: true, value };
  } catch (error) {
    return { ok: false, reason: (error instanceof Error ? error.message : String(error)).slice(0, LONGEST_REASON) };
  }
}

export class RpciServer {
  readonly #socket: Socket;
  readonly #decoder = new RpciDecoder(RPCI_REQUEST_LIMIT);

  private constructor(socket: Socket, store: GuestInfoStore) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      for (const frame of this.#decoder.push(chunk)) {
        socket.write(encodeRpciFrame(frame.id, formatRpciReply(answerRpci(frame.message, store))));
      }
      if (socket.writableLength > UNREAD_REPLY_LIMIT) socket.pause();
    });
    socket.on("drain", () => socket.resume());
    // The socket ends with its QEMU, which is noticed elsewhere.
    socket.on("error", () => socket.destroy());
  }

  /** Rejects when QEMU does not listen. */
  static async connect(path: string, store: GuestInfoStore): Promise<RpciServer> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new RpciServer(socket, store);
  }

  /** The guest was reset: what it had begun to say will not be continued. */
  guestReset(): void {
    this.#decoder.reset();
  }

  close(): void {
    this.#socket.destroy();
  }
}
