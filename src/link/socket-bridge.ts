import type { Socket } from "bun";
import type { Channel } from "./contract.ts";

/** Bytes of the socket that wait for the channel's window above which nothing more is read, and below which it goes on. */
const HIGH_WATER = 512 * 1024;
const LOW_WATER = 128 * 1024;

/**
 * Joins a socket with a channel: bytes pass in both directions with back-pressure, and each direction has an end of its own.
 * The owner of the socket, which must allow half-open connections, calls `data`, `drained`, `ended` and `closed` as the socket's events.
 */
export class SocketBridge {
  /** Resolves, never rejects, when both sides are closed. */
  readonly closed: Promise<void>;
  readonly #socket: Socket<unknown>;
  readonly #channel: Channel;
  readonly #toChannel: number;
  #waiting = 0;
  #paused = false;
  /** Everything read so far is on its way when this resolves. */
  #sent: Promise<void> = Promise.resolve();
  #rest: Uint8Array | undefined;
  #room: (() => void) | undefined;
  #gone = false;
  #resolveGone: () => void = () => undefined;

  /** `toChannel` is the stream on which the socket's bytes are sent. */
  constructor(socket: Socket<unknown>, channel: Channel, toChannel: number) {
    this.#socket = socket;
    this.#channel = channel;
    this.#toChannel = toChannel;
    const gone = new Promise<void>((resolve) => {
      this.#resolveGone = resolve;
    });
    this.closed = this.#run(gone);
  }

  data(bytes: Uint8Array): void {
    const { length } = bytes;
    this.#waiting += length;
    if (!this.#paused && this.#waiting > HIGH_WATER) {
      this.#paused = true;
      this.#socket.pause();
    }
    const sent = this.#channel.send(this.#toChannel, Uint8Array.from(bytes)).then(
      () => {
        this.#waiting -= length;
        if (!this.#paused || this.#waiting > LOW_WATER || this.#gone) return;
        this.#paused = false;
        this.#socket.resume();
      },
      // The channel is closed: its reader sees that, too.
      () => undefined,
    );
    this.#sent = sent;
  }

  drained(): void {
    this.#push();
  }

  ended(): void {
    this.#channel.end(this.#toChannel).catch(() => undefined);
  }

  gone(): void {
    this.#gone = true;
    this.#push();
    this.#resolveGone();
  }

  async #run(gone: Promise<void>): Promise<void> {
    try {
      await Promise.race([this.#fromChannel(), gone]);
      if (this.#gone) await this.#sent;
    } catch {
      // The link was lost: as a peer that went away.
    }
    this.#channel.close();
    if (!this.#gone) this.#socket.end();
  }

  async #fromChannel(): Promise<void> {
    for await (const message of this.#channel) {
      if (this.#gone) return;
      if (message.kind === "end") this.#socket.shutdown();
      if (message.kind !== "data") continue;
      this.#rest = message.bytes;
      this.#push();
      if (this.#rest !== undefined)
        await new Promise<void>((resolve) => {
          this.#room = resolve;
        });
    }
  }

  #push(): void {
    if (this.#rest !== undefined && !this.#gone) {
      const taken = this.#socket.write(this.#rest);
      if (taken >= 0 && taken < this.#rest.length) {
        this.#rest = this.#rest.subarray(taken);
        return;
      }
    }
    this.#rest = undefined;
    this.#room?.();
    this.#room = undefined;
  }
}
