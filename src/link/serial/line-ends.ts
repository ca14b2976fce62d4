/** Both ends of a serial line: the tether calls, the endpoint answers. One connection at a time. */
import { LINE_TIMING, LineConnection, type LinePort, type LineTiming, type LineUser } from "./line-connection.ts";
import { encodeLineFrame, LINE_FRAME, type LineFrame, LineFrameDecoder, type LineFrameKind } from "./line-frame.ts";

/** Milliseconds between two hellos, at first and at most. */
const FIRST_HELLO = 200;
const LONGEST_HELLO = 2_000;

const randomNumber = (): number => 1 + ((crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % 0xffff_ffff);

const bareFrame = (kind: LineFrameKind, caller: number, answerer: number): Uint8Array =>
  encodeLineFrame({ kind, caller, answerer, sequence: 0, acknowledged: 0, room: 0, payload: new Uint8Array(0) });

/** The calling end. */
export class LineCaller {
  readonly #port: LinePort;
  readonly #decoder = new LineFrameDecoder();
  #connection: LineConnection | undefined;
  #calling: { number: number; answered(answerer: number): void; cancel(reason: string): void } | undefined;

  readonly #timing: LineTiming;

  constructor(port: LinePort, timing = LINE_TIMING) {
    this.#port = port;
    this.#timing = timing;
  }

  /** Bytes from the serial port. */
  arrived(bytes: Uint8Array): void {
    this.#decoder.push(bytes, (frame) => this.#frame(frame));
    this.#connection?.settle();
  }

  /** Calls until somebody answers. An earlier connection, or call, is over. Rejects when the call is cancelled. */
  async call(user: LineUser, signal: AbortSignal): Promise<LineConnection> {
    this.#connection?.close("another call on the serial line");
    this.#calling?.cancel("another call on the serial line");
    const number = randomNumber();
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const cancel = (reason: string): void => reject(new Error(reason));
    const calling = { number, answered: resolve, cancel };
    this.#calling = calling;
    const abort = (): void => cancel("the call was given up");
    signal.addEventListener("abort", abort, { once: true });
    let pause = FIRST_HELLO;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hello = (): void => {
      if (!this.#port.isBusy) this.#port.write(bareFrame(LINE_FRAME.hello, number, 0));
      timer = setTimeout(hello, pause);
      pause = Math.min(LONGEST_HELLO, pause * 2);
    };
    hello();
    try {
      if (signal.aborted) abort();
      const answerer = await promise;
      this.#connection = new LineConnection(this.#port, { caller: number, answerer }, user, this.#timing);
      return this.#connection;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      if (this.#calling === calling) this.#calling = undefined;
    }
  }

  #frame(frame: LineFrame): void {
    const connection = this.#connection;
    if (frame.kind === LINE_FRAME.hello) {
      if (frame.caller === this.#calling?.number && frame.answerer !== 0) this.#calling.answered(frame.answerer);
      return;
    }
    if (connection?.caller === frame.caller && connection.answerer === frame.answerer) connection.frame(frame);
  }
}

/** The answering end. A new call ends the connection before it. */
export class LineAnswerer {
  #port: LinePort | undefined;
  #decoder = new LineFrameDecoder();
  #connection: LineConnection | undefined;
  /** Makes the user of a new connection, which may be used at once. */
  readonly #answer: (begin: (user: LineUser) => LineConnection) => void;
  #strangers = new Map<string, LineFrame>();

  readonly #timing: LineTiming;

  constructor(answer: (begin: (user: LineUser) => LineConnection) => void, timing = LINE_TIMING) {
    this.#answer = answer;
    this.#timing = timing;
  }

  get connection(): LineConnection | undefined {
    return this.#connection?.isOver ? undefined : this.#connection;
  }

  /** The connection goes on over another port; undefined: there is none for the time being. */
  usePort(port: LinePort | undefined): void {
    this.#port = port;
    this.#decoder = new LineFrameDecoder();
    this.#connection?.usePort(port);
  }

  /** Bytes from the serial port. */
  arrived(bytes: Uint8Array): void {
    this.#decoder.push(bytes, (frame) => this.#frame(frame));
    this.#connection?.settle();
    for (const { caller, answerer } of this.#strangers.values())
      this.#port?.write(bareFrame(LINE_FRAME.reset, caller, answerer));
    this.#strangers.clear();
  }

  close(reason: string): void {
    this.#connection?.close(reason);
  }

  #frame(frame: LineFrame): void {
    const connection = this.#connection;
    if (frame.kind === LINE_FRAME.hello) {
      if (frame.caller === 0 || this.#port === undefined) return;
      if (connection === undefined || connection.isOver || connection.caller !== frame.caller) {
        connection?.close("a new call on the serial line");
        this.#begin(frame.caller, this.#port);
      }
      const now = this.#connection;
      if (now !== undefined) this.#port.write(bareFrame(LINE_FRAME.hello, now.caller, now.answerer));
      return;
    }
    if (connection?.caller === frame.caller && connection.answerer === frame.answerer && !connection.isOver)
      connection.frame(frame);
    else if (frame.kind !== LINE_FRAME.reset) {
      // The caller learns at once that its connection is unknown, once for each piece of input.
      if (this.#strangers.size === 0) this.#strangers.set(`${frame.caller} ${frame.answerer}`, frame);
    }
  }

  #begin(caller: number, port: LinePort): void {
    this.#answer((user) => {
      this.#connection = new LineConnection(port, { caller, answerer: randomNumber() }, user, this.#timing);
      return this.#connection;
    });
  }
}
