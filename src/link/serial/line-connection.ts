import { encodeLineFrame, LINE_FRAME, LINE_PAYLOAD_LIMIT, type LineFrame, type LineFrameKind } from "./line-frame.ts";

/** The serial port below: a tty, or a connection of a host to its concentrator. */
export interface LinePort {
  write(bytes: Uint8Array): void;
  /** Bytes that were written have not left yet: to send them again would only lengthen the queue. */
  readonly isBusy: boolean;
}

/** Who uses a connection. */
export interface LineUser {
  /** Bytes in order, each once. Returns false when no more are wanted until `resume`. */
  received(bytes: Uint8Array): boolean;
  /** `send` has room again after it took less than was offered. */
  drained(): void;
  closed(reason: string): void;
}

/** Data frames under way at most, in each direction: with their escapes they fit the 64 KiB that Linux buffers for a tty. */
export const LINE_WINDOW = 24;
const FIRST_BURST = 4;
/** Milliseconds that a timer may be late before this program, or its machine, counts as having stood still. */
const STANDSTILL = 1_000;

/** Milliseconds. */
export interface LineTiming {
  /** Until what was not acknowledged is sent again: at first; then it follows what is measured, within bounds. */
  first: number;
  shortest: number;
  longest: number;
  /** Without any frame of the other end after which the connection is given up. */
  deadAfter: number;
}

/** A UART that runs at its nominal 115200 bit/s needs 2 s for a window. */
export const LINE_TIMING: LineTiming = { first: 1_000, shortest: 200, longest: 4_000, deadAfter: 15_000 };

const EMPTY = new Uint8Array(0);
/** a - b modulo 2^32, signed. */
const distance = (a: number, b: number): number => (a - b) | 0;

interface Sent {
  sequence: number;
  payload: Uint8Array;
  at: number;
  again: boolean;
}

/**
 * One connection over a serial line that may lose, damage and repeat bytes: numbered blocks, acknowledged, sent again from the
 * first missing one (go-back-N). The window grows with what arrives and shrinks after a loss, as TCP's does. Bytes of an earlier
 * connection are told apart by the two random numbers that name this one.
 */
export class LineConnection {
  readonly caller: number;
  readonly answerer: number;
  #port: LinePort | undefined;
  readonly #user: LineUser;

  #sent: Sent[] = [];
  #next = 0;
  #peerRoom = LINE_WINDOW;
  #burst = FIRST_BURST;
  #wantsRoom = false;
  readonly #timing: LineTiming;
  #smoothed: number;
  #timeout: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heard = performance.now();
  /** Base from which was gone back because of a reject; once per base. */
  #wentBackTo: number | undefined;

  #expected = 0;
  #inbox: Uint8Array[] = [];
  #paused = false;
  #toldRoom = LINE_WINDOW;
  #rejected = false;
  #owesAcknowledgement = false;
  #over = false;

  constructor(
    port: LinePort,
    numbers: { caller: number; answerer: number },
    user: LineUser,
    timing: LineTiming = LINE_TIMING,
  ) {
    this.#timing = timing;
    this.#smoothed = timing.first / 2;
    this.#timeout = timing.first;
    this.#port = port;
    this.caller = numbers.caller;
    this.answerer = numbers.answerer;
    this.#user = user;
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** Takes as many bytes as there is room for and returns how many; `drained` follows when it took less. */
  send(bytes: Uint8Array): number {
    let taken = 0;
    while (!this.#over && taken < bytes.length && this.#sent.length < this.#window) {
      const payload = bytes.slice(taken, taken + LINE_PAYLOAD_LIMIT);
      const block: Sent = { sequence: this.#next, payload, at: performance.now(), again: false };
      if (this.#sent.length === 0) this.#heard = block.at;
      this.#sent.push(block);
      this.#next = (this.#next + 1) >>> 0;
      taken += payload.length;
      this.#write(LINE_FRAME.data, block);
    }
    if (taken < bytes.length) this.#wantsRoom = true;
    this.#arm();
    return taken;
  }

  /** The user takes bytes again. */
  resume(): void {
    this.#paused = false;
    this.#deliver();
    // A sender that was told of no room waits for this news.
    if (this.#toldRoom < LINE_WINDOW / 2 && this.#room >= LINE_WINDOW / 2) this.#tell(LINE_FRAME.acknowledge);
  }

  /** A frame with the numbers of this connection. */
  frame(frame: LineFrame): void {
    if (this.#over) return;
    this.#heard = performance.now();
    switch (frame.kind) {
      case LINE_FRAME.reset:
        this.#end("the other end has ended the connection");
        return;
      case LINE_FRAME.query:
        this.#owesAcknowledgement = true;
        break;
      case LINE_FRAME.data:
        this.#receiveData(frame);
        break;
      case LINE_FRAME.hello:
        return;
      default:
    }
    this.#acknowledged(frame);
  }

  /** All frames of a piece of input were passed on: what is owed is sent, once for all of them. */
  settle(): void {
    if (this.#owesAcknowledgement && !this.#over) this.#tell(LINE_FRAME.acknowledge);
  }

  /** The serial port is another one now, or gone for the time being: time stands still. */
  usePort(port: LinePort | undefined): void {
    this.#port = port;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#heard = performance.now();
    if (port === undefined || this.#over) return;
    this.#tell(LINE_FRAME.acknowledge);
    this.#goBack();
    this.#arm();
  }

  /** Idempotent; tells the other end. */
  close(reason: string): void {
    if (this.#over) return;
    this.#tell(LINE_FRAME.reset);
    this.#end(reason);
  }

  get #window(): number {
    return Math.min(this.#burst, this.#peerRoom, LINE_WINDOW);
  }

  get #room(): number {
    return Math.max(0, LINE_WINDOW - this.#inbox.length);
  }

  #receiveData({ sequence, payload }: LineFrame): void {
    const ahead = distance(sequence, this.#expected);
    this.#owesAcknowledgement = true;
    if (ahead < 0) return;
    if (ahead > 0 || this.#inbox.length >= LINE_WINDOW) {
      // Once for each gap: what follows it is on its way already and would ask again.
      if (ahead > 0 && !this.#rejected) this.#tell(LINE_FRAME.reject);
      this.#rejected = ahead > 0;
      return;
    }
    this.#rejected = false;
    this.#expected = (this.#expected + 1) >>> 0;
    this.#inbox.push(payload);
    this.#deliver();
  }

  #deliver(): void {
    while (!this.#paused && !this.#over) {
      const payload = this.#inbox.shift();
      if (payload === undefined) return;
      this.#paused = !this.#user.received(payload);
    }
  }

  #acknowledged({ kind, acknowledged, room }: LineFrame): void {
    const base = this.#next - this.#sent.length;
    const news = distance(acknowledged, base);
    // Old news are overtaken by newer ones; what was never sent cannot have arrived.
    if (news < 0 || news > this.#sent.length) return;
    const now = performance.now();
    this.#peerRoom = Math.min(room, LINE_WINDOW);
    const arrived = this.#sent.splice(0, news);
    if (news > 0) {
      const last = arrived.at(-1);
      if (last !== undefined && !last.again) this.#smoothed += (now - last.at - this.#smoothed) / 8;
      this.#timeout = Math.min(this.#timing.longest, Math.max(this.#timing.shortest, 3 * this.#smoothed));
      this.#burst = Math.min(LINE_WINDOW, this.#burst + news);
      this.#wentBackTo = undefined;
    }
    if (kind === LINE_FRAME.reject && this.#sent.length > 0 && this.#wentBackTo !== acknowledged) {
      this.#wentBackTo = acknowledged;
      this.#burst = Math.max(FIRST_BURST, this.#burst >> 1);
      this.#goBack();
    }
    if (news > 0) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    this.#arm();
    if (this.#wantsRoom && this.#sent.length < this.#window) {
      this.#wantsRoom = false;
      this.#user.drained();
    }
  }

  /** Sends again what is not acknowledged, as far as the window goes. */
  #goBack(): void {
    for (const block of this.#sent.slice(0, Math.max(1, this.#window))) {
      block.again = true;
      this.#write(LINE_FRAME.data, block);
    }
  }

  #arm(): void {
    const waits = this.#sent.length > 0 || this.#wantsRoom;
    if (!waits || this.#over || this.#port === undefined || this.#timer !== undefined) return;
    const due = performance.now() + this.#timeout;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      // This program stood still itself: what has arrived meanwhile was not read yet.
      if (performance.now() - due > STANDSTILL) this.#heard = performance.now();
      this.#late();
    }, this.#timeout);
  }

  #late(): void {
    const now = performance.now();
    const { deadAfter, longest } = this.#timing;
    if (now - this.#heard > deadAfter) {
      this.close(`no answer over the serial line for ${deadAfter / 1000} s`);
      return;
    }
    if (this.#port?.isBusy !== true) {
      if (this.#sent.length === 0) this.#tell(LINE_FRAME.query);
      else {
        this.#burst = Math.max(FIRST_BURST, this.#burst >> 1);
        this.#goBack();
      }
      this.#timeout = Math.min(longest, this.#timeout * 2);
    }
    this.#arm();
  }

  #tell(kind: LineFrameKind): void {
    this.#write(kind, { sequence: this.#next, payload: EMPTY });
  }

  #write(kind: LineFrameKind, { sequence, payload }: { sequence: number; payload: Uint8Array }): void {
    const { caller, answerer } = this;
    this.#owesAcknowledgement = false;
    this.#toldRoom = this.#room;
    this.#port?.write(
      encodeLineFrame({
        kind,
        caller,
        answerer,
        sequence,
        acknowledged: this.#expected,
        room: this.#toldRoom,
        payload,
      }),
    );
  }

  #end(reason: string): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#sent = [];
    this.#inbox = [];
    this.#user.closed(reason);
  }
}
