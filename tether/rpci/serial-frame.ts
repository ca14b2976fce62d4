import { RPCI_REPLY_LIMIT } from "../../src/format/rpci.ts";

/**
 * The frames of src/format/rpci.ts, done with native searches and checksums instead of a loop over bytes: right after
 * start, in a VM that is emulated, such a loop costs 0.1 ms for each byte of the configuration. A test holds both together.
 */
const END = 0xc0;
const ESCAPE = 0xdb;
const ESCAPED_END = 0xdc;
const ESCAPED_ESCAPE = 0xdd;
/** `id crc ` in front of a message, escapes doubled at worst. */
const CONTENT_LIMIT = 2 * (RPCI_REPLY_LIMIT + 32);

const checksum = (id: number, message: Uint8Array): string =>
  Bun.hash
    .crc32(message, Bun.hash.crc32(`${id} `))
    .toString(16)
    .padStart(8, "0");

/** The bytes to send for a command, which is text without 0xC0 and 0xDB bytes, as all UTF-8 is without 0xC0. */
export const encodeCommand = (id: number, message: Uint8Array): Uint8Array => {
  const content = Buffer.concat([Buffer.from(`${id} ${checksum(id, message)} `), message]);
  return Buffer.concat([Uint8Array.of(END), stuff(content), Uint8Array.of(END)]);
};

const stuff = (content: Buffer): Buffer => {
  if (!content.includes(ESCAPE) && !content.includes(END)) return content;
  const bytes: number[] = [];
  for (const byte of content) {
    if (byte === END) bytes.push(ESCAPE, ESCAPED_END);
    else if (byte === ESCAPE) bytes.push(ESCAPE, ESCAPED_ESCAPE);
    else bytes.push(byte);
  }
  return Buffer.from(bytes);
};

const unstuff = (content: Buffer): Buffer | undefined => {
  if (!content.includes(ESCAPE)) return content;
  const bytes: number[] = [];
  for (let at = 0; at < content.length; at++) {
    const byte = content[at] ?? 0;
    if (byte !== ESCAPE) {
      bytes.push(byte);
      continue;
    }
    at++;
    if (content[at] === ESCAPED_END) bytes.push(END);
    else if (content[at] === ESCAPED_ESCAPE) bytes.push(ESCAPE);
    else return undefined;
  }
  return Buffer.from(bytes);
};

/** Waits for the reply to one request; everything else on the line is dropped. */
export class ReplyReader {
  readonly #id: number;
  #pending: Buffer = Buffer.alloc(0);

  constructor(id: number) {
    this.#id = id;
  }

  /** The reply's message, once its frame is complete. */
  push(chunk: Uint8Array): Buffer | undefined {
    const bytes = this.#pending.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#pending, chunk]);
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(END, start);
      if (end === -1) break;
      const message = this.#parse(bytes.subarray(start, end));
      if (message !== undefined) return message;
      start = end + 1;
    }
    this.#pending = bytes.length - start > CONTENT_LIMIT ? Buffer.alloc(0) : bytes.subarray(start);
    return undefined;
  }

  #parse(raw: Buffer): Buffer | undefined {
    const content = unstuff(raw);
    const prefix = `${this.#id} `;
    if (content === undefined || content.toString("latin1", 0, prefix.length) !== prefix) return undefined;
    const message = content.subarray(prefix.length + 9);
    const sum = content.toString("latin1", prefix.length, prefix.length + 9);
    return sum === `${checksum(this.#id, message)} ` ? message : undefined;
  }
}
