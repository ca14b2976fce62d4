/**
 * The telnet protocol (RFC 854) as virtual serial ports speak it: data, option negotiation and subnegotiations. In binary mode
 * (RFC 856) a carriage return is data like any other; no NUL follows it.
 */
import { FormatError } from "../format-error.ts";

export const TELNET = {
  se: 240,
  noOperation: 241,
  sb: 250,
  will: 251,
  wont: 252,
  do: 253,
  dont: 254,
  iac: 255,
} as const;

/** RFC 856, 857, 858, and VMware's extension for serial ports. */
export const TELNET_OPTION = { binary: 0, echo: 1, suppressGoAhead: 3, vmwareExtension: 232 } as const;

export type TelnetVerb = "will" | "wont" | "do" | "dont";

export type TelnetEvent =
  | { kind: "data"; bytes: Uint8Array }
  | { kind: "option"; verb: TelnetVerb; option: number }
  | { kind: "subnegotiation"; option: number; bytes: Uint8Array };

/** Longest subnegotiation, option included; those of serial ports carry a URI or a UUID. */
export const SUBNEGOTIATION_LIMIT = 4096;

const VERBS = new Map<number, TelnetVerb>([
  [TELNET.will, "will"],
  [TELNET.wont, "wont"],
  [TELNET.do, "do"],
  [TELNET.dont, "dont"],
]);

/** Data as it goes over the wire: IAC is doubled. */
export const encodeTelnetData = (bytes: Uint8Array): Uint8Array => {
  let count = 0;
  for (const byte of bytes) if (byte === TELNET.iac) count++;
  if (count === 0) return bytes;
  const escaped = new Uint8Array(bytes.length + count);
  let at = 0;
  for (const byte of bytes) {
    escaped[at++] = byte;
    if (byte === TELNET.iac) escaped[at++] = byte;
  }
  return escaped;
};

export const encodeTelnetOption = (verb: TelnetVerb, option: number): Uint8Array =>
  Uint8Array.of(TELNET.iac, TELNET[verb], option);

/** Throws FormatError when the peer would refuse it as too long. */
export const encodeSubnegotiation = (option: number, bytes: Uint8Array): Uint8Array => {
  if (bytes.length + 1 > SUBNEGOTIATION_LIMIT) throw new FormatError("telnet", "subnegotiation is too long");
  const escaped = encodeTelnetData(Uint8Array.of(option, ...bytes));
  return Uint8Array.of(TELNET.iac, TELNET.sb, ...escaped, TELNET.iac, TELNET.se);
};

type State = "data" | "iac" | "option" | "sub" | "sub-iac";

/** Cuts a byte stream, in pieces of any size, into events. Memory is bounded by SUBNEGOTIATION_LIMIT. */
export class TelnetDecoder {
  #state: State = "data";
  #verb: TelnetVerb = "will";
  #sub: number[] = [];

  /** Data is passed on in pieces of the input, copied. Throws FormatError, after which the decoder must not be used. */
  push(bytes: Uint8Array, event: (event: TelnetEvent) => void): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#state === "data") {
        const next = bytes.indexOf(TELNET.iac, at);
        const end = next === -1 ? bytes.length : next;
        if (end > at) event({ kind: "data", bytes: bytes.slice(at, end) });
        at = end;
        if (next !== -1) {
          this.#state = "iac";
          at++;
        }
      } else this.#step(bytes[at++] ?? 0, event);
    }
  }

  #step(byte: number, event: (event: TelnetEvent) => void): void {
    switch (this.#state) {
      case "iac": {
        const verb = VERBS.get(byte);
        this.#state = verb !== undefined ? "option" : byte === TELNET.sb ? "sub" : "data";
        if (verb !== undefined) this.#verb = verb;
        else if (byte === TELNET.sb) this.#sub = [];
        else if (byte === TELNET.iac) event({ kind: "data", bytes: Uint8Array.of(byte) });
        // NOP, break and the like mean nothing to a serial port.
        return;
      }
      case "option":
        this.#state = "data";
        event({ kind: "option", verb: this.#verb, option: byte });
        return;
      case "sub":
        if (byte === TELNET.iac) this.#state = "sub-iac";
        else this.#collect(byte);
        return;
      case "sub-iac":
        if (byte === TELNET.iac) {
          this.#state = "sub";
          this.#collect(byte);
        } else if (byte === TELNET.se) {
          this.#state = "data";
          const [option, ...rest] = this.#sub;
          this.#sub = [];
          if (option === undefined) throw new FormatError("telnet", "subnegotiation without an option");
          event({ kind: "subnegotiation", option, bytes: Uint8Array.from(rest) });
        } else throw new FormatError("telnet", `command ${byte} inside of a subnegotiation`);
        return;
      case "data":
    }
  }

  #collect(byte: number): void {
    this.#sub.push(byte);
    if (this.#sub.length > SUBNEGOTIATION_LIMIT) throw new FormatError("telnet", "subnegotiation is too long");
  }
}
