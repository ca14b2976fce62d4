import { encodeTelnetOption, TELNET_OPTION, type TelnetEvent, type TelnetVerb } from "./telnet.ts";

/** What both ends of a serial port's telnet connection want, in both directions. */
const WANTED: readonly number[] = [TELNET_OPTION.binary, TELNET_OPTION.suppressGoAhead];

const ANSWER: Record<TelnetVerb, { agree: TelnetVerb; refuse: TelnetVerb }> = {
  will: { agree: "do", refuse: "dont" },
  do: { agree: "will", refuse: "wont" },
  wont: { agree: "dont", refuse: "dont" },
  dont: { agree: "wont", refuse: "wont" },
};

/**
 * Option negotiation of one end (RFC 854, RFC 1143's rule that a state is acknowledged once): binary and without go-ahead in both
 * directions, `others` as given, everything else refused.
 */
export class TelnetOptions {
  readonly #write: (bytes: Uint8Array) => void;
  /** State of `verb option` as told to the peer: true after will or do. */
  readonly #told = new Map<string, boolean>();
  readonly #agreed: (side: "ours" | "theirs", option: number) => boolean;

  constructor(write: (bytes: Uint8Array) => void, agreed: (side: "ours" | "theirs", option: number) => boolean) {
    this.#write = write;
    this.#agreed = agreed;
  }

  begin(options: readonly { verb: "will" | "do"; option: number }[]): void {
    for (const { verb, option } of options) this.#tell(verb, option);
  }

  /** Asks for what every serial port wants. */
  beginBinary(): void {
    for (const option of WANTED)
      this.begin([
        { verb: "will", option },
        { verb: "do", option },
      ]);
  }

  received({ verb, option }: Extract<TelnetEvent, { kind: "option" }>): void {
    const side = verb === "will" || verb === "wont" ? "theirs" : "ours";
    const agree = verb === "will" || verb === "do" ? WANTED.includes(option) || this.#agreed(side, option) : true;
    this.#tell(agree ? ANSWER[verb].agree : ANSWER[verb].refuse, option);
  }

  #tell(verb: TelnetVerb, option: number): void {
    const side = verb === "will" || verb === "wont" ? "ours" : "theirs";
    const on = verb === "will" || verb === "do";
    const key = `${side} ${option}`;
    if (this.#told.get(key) === on) return;
    this.#told.set(key, on);
    this.#write(encodeTelnetOption(verb, option));
  }
}
