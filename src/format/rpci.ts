/**
 * Guest RPC (RPCI, VMware's `info-get` / `info-set` text protocol) over a serial port.
 *
 * VMware's own carriers (vsock port 976, the I/O port backdoor) deliver whole messages. A 16550 serial port is a stream of
 * bytes that may start in the middle of anything: firmware writes to it, the guest may be reset in the middle of a message,
 * the host process may be restarted. So the lab's carrier (COM4, `/dev/ttyS3`) puts every message into a frame:
 *
 *     0xC0  escape( <id> ' ' <crc> ' ' <message> )  0xC0
 *
 *   - `0xC0` opens and closes a frame; inside, 0xC0 is sent as DB DC and 0xDB as DB DD (the byte stuffing of RFC 1055).
 *     Whatever comes before, a receiver is in step again at the next 0xC0. Empty frames are skipped.
 *   - `id`: decimal, 0 … 4294967295, chosen by the guest; the reply carries the request's id. A guest starts at a random id,
 *     so that a reply to a request from before a reset matches nothing.
 *   - `crc`: eight lower-case hex digits, CRC-32 (IEEE 802.3) over `<id> ' ' <message>`. A frame cut short by a reset fails
 *     it and is dropped, never executed.
 *   - `message`: VMware's text, 8-bit clean.
 *
 * Only the guest asks; the host answers in order, one reply per request. There is no other flow control: a guest has one
 * request under way, and asks again (same id) when no reply came within RPCI_REPLY_TIMEOUT_MS, because what is written
 * while no host process is connected is lost. All commands are idempotent. The guest puts its port into raw mode first
 * (no echo, no CR/LF translation, no XON/XOFF, 8 bits) at 115200 baud.
 *
 * Replies: `1 VALUE` for success, `0 REASON` for failure.
 */

/** Longest message of a guest, in bytes (as on ESXi: 64 KB including overhead). */
export const RPCI_REQUEST_LIMIT = 64 * 1024;
/**
 * Longest reply, in bytes. ESXi's is about 1 MB, but a serial port has no flow control towards the guest: a Linux guest whose
 * reader is not scheduled in time keeps 64 KB and drops the rest (measured: 64 KB always arrive, 300 KB do not). A longer
 * value is answered with a failure rather than lost.
 */
export const RPCI_REPLY_LIMIT = 60 * 1024;
/** After this many milliseconds without a reply the guest repeats its request. */
export const RPCI_REPLY_TIMEOUT_MS = 5000;

const END = 0xc0;
const ESCAPE = 0xdb;
const ESCAPED_END = 0xdc;
const ESCAPED_ESCAPE = 0xdd;
const SPACE = 0x20;
const LARGEST_ID = 0xffff_ffff;
/** Room for `<id> <crc> ` in front of a message. */
const HEADER_LIMIT = 10 + 1 + 8 + 1;

export interface RpciFrame {
  id: number;
  message: Uint8Array;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function frameChecksum(id: number, message: Uint8Array): string {
  let crc = 0xffff_ffff;
  const add = (byte: number) => {
    crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 0xff] ?? 0);
  };
  for (const character of `${id} `) add(character.charCodeAt(0));
  for (const byte of message) add(byte);
  return ((crc ^ 0xffff_ffff) >>> 0).toString(16).padStart(8, "0");
}

/** The bytes to send for one message. Throws RangeError for an id that does not fit 32 bits. */
export function encodeRpciFrame(id: number, message: Uint8Array): Uint8Array {
  if (!Number.isInteger(id) || id < 0 || id > LARGEST_ID)
    throw new RangeError(`RPCI frame id ${id} is not a 32-bit number`);
  const header = `${id} ${frameChecksum(id, message)} `;
  let stuffed = 0;
  for (const byte of message) if (byte === END || byte === ESCAPE) stuffed++;
  const frame = new Uint8Array(1 + header.length + message.length + stuffed + 1);
  let at = 0;
  frame[at++] = END;
  for (let index = 0; index < header.length; index++) frame[at++] = header.charCodeAt(index);
  for (const byte of message) {
    if (byte === END || byte === ESCAPE) {
      frame[at++] = ESCAPE;
      frame[at++] = byte === END ? ESCAPED_END : ESCAPED_ESCAPE;
    } else {
      frame[at++] = byte;
    }
  }
  frame[at] = END;
  return frame;
}

/** The frame in unescaped content, or undefined when it is not one of ours or damaged. */
function parseFrame(content: Uint8Array): RpciFrame | undefined {
  const firstSpace = content.indexOf(SPACE);
  if (firstSpace < 1 || firstSpace > 10 || content[firstSpace + 9] !== SPACE) return undefined;
  const header = String.fromCharCode(...content.subarray(0, firstSpace + 9));
  const match = /^(0|[1-9][0-9]{0,9}) ([0-9a-f]{8})$/.exec(header);
  const id = Number(match?.[1]);
  if (match === null || id > LARGEST_ID) return undefined;
  const message = content.slice(firstSpace + 10);
  return frameChecksum(id, message) === match[2] ? { id, message } : undefined;
}

/** Takes the byte stream apart. Damaged, foreign and over-long frames are dropped; memory is bounded by the limit. */
export class RpciDecoder {
  readonly #limit: number;
  #content = new Uint8Array(256);
  #length = 0;
  #escaped = false;
  /** The rest of this frame is of no interest (too long, or a bad escape). */
  #skipping = false;
  /** Frames dropped so far. */
  dropped = 0;

  /** `messageLimit`: RPCI_REQUEST_LIMIT on the host, RPCI_REPLY_LIMIT in the guest. */
  constructor(messageLimit: number) {
    this.#limit = messageLimit + HEADER_LIMIT;
  }

  /** Forget a frame that has begun, for example when the guest was reset. */
  reset(): void {
    this.#length = 0;
    this.#escaped = false;
    this.#skipping = false;
  }

  /** The whole frames that end in this chunk. */
  push(chunk: Uint8Array): RpciFrame[] {
    const frames: RpciFrame[] = [];
    for (const byte of chunk) {
      if (byte === END) {
        const frame = this.#finish();
        if (frame !== undefined) frames.push(frame);
      } else if (!this.#skipping) {
        this.#take(byte);
      }
    }
    return frames;
  }

  #finish(): RpciFrame | undefined {
    const empty = this.#length === 0 && !this.#escaped && !this.#skipping;
    const frame =
      this.#skipping || this.#escaped || empty ? undefined : parseFrame(this.#content.subarray(0, this.#length));
    if (frame === undefined && !empty) this.dropped++;
    this.reset();
    return frame;
  }

  #take(byte: number): void {
    let value = byte;
    if (this.#escaped) {
      this.#escaped = false;
      if (byte === ESCAPED_END) value = END;
      else if (byte === ESCAPED_ESCAPE) value = ESCAPE;
      else {
        this.#skipping = true;
        return;
      }
    } else if (byte === ESCAPE) {
      this.#escaped = true;
      return;
    }
    if (this.#length === this.#limit) {
      this.#skipping = true;
      return;
    }
    if (this.#length === this.#content.length) {
      const grown = new Uint8Array(Math.min(this.#content.length * 4, this.#limit));
      grown.set(this.#content);
      this.#content = grown;
    }
    this.#content[this.#length++] = value;
  }
}

export type RpciCommand =
  | { kind: "info-get"; key: string }
  | { kind: "info-set"; key: string; value: string }
  /** `name` is the first word, for a log line. */
  | { kind: "unknown"; name: string };

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/** What a guest asks for. The value of `info-set` is everything behind the space after the key, and may be empty. */
export function parseRpciCommand(message: Uint8Array): RpciCommand {
  const text = decoder.decode(message);
  const match = /^(info-get|info-set) ([^ ]+)(?: ([\s\S]*))?$/.exec(text);
  const key = match?.[2];
  if (key !== undefined && match?.[1] === "info-set") return { kind: "info-set", key, value: match[3] ?? "" };
  if (key !== undefined && match?.[1] === "info-get" && !match[3]) return { kind: "info-get", key };
  return { kind: "unknown", name: text.slice(0, 64).split(" ", 1)[0] ?? "" };
}

export function formatRpciCommand(command: Exclude<RpciCommand, { kind: "unknown" }>): Uint8Array {
  const value = command.kind === "info-set" ? ` ${command.value}` : "";
  return encoder.encode(`${command.kind} ${command.key}${value}`);
}

export type RpciReply = { ok: true; value: string } | { ok: false; reason: string };

export function formatRpciReply(reply: RpciReply): Uint8Array {
  return encoder.encode(reply.ok ? `1 ${reply.value}` : `0 ${reply.reason}`);
}

/** Throws when the text is no RPCI reply. */
export function parseRpciReply(message: Uint8Array): RpciReply {
  const text = decoder.decode(message);
  if (text.startsWith("1 ") || text === "1") return { ok: true, value: text.slice(2) };
  if (text.startsWith("0 ") || text === "0") return { ok: false, reason: text.slice(2) };
  throw new Error(`not an RPCI reply: it starts with ${JSON.stringify(text.slice(0, 16))}, not with "0 " or "1 "`);
}
