/**
 * Frames on a serial line, as in HDLC (RFC 1662): between flag bytes, with flag and escape bytes escaped, and a CRC at the end. What
 * is not a whole frame with the right CRC counts as noise and is passed over.
 *
 *     u8 kind · u32 caller · u32 answerer · u32 sequence · u32 acknowledged · u16 room · payload · u32 CRC-32   (big endian)
 */
const FLAG = 0x7e;
const ESCAPE = 0x7d;
const ESCAPE_BIT = 0x20;

export const LINE_FRAME = {
  /** The caller begins; the answerer says the same with a number of its own. */
  hello: 1,
  data: 2,
  /** `acknowledged` and `room` are news. */
  acknowledge: 3,
  /** Asks for an acknowledgement. */
  query: 4,
  /** The sender knows no such connection, or ends it. */
  reset: 5,
  /** A data frame is missing: go back to `acknowledged`. */
  reject: 6,
} as const;

export type LineFrameKind = (typeof LINE_FRAME)[keyof typeof LINE_FRAME];

export interface LineFrame {
  kind: LineFrameKind;
  /** Random numbers that both sides chose for the connection; stale frames have others. 0 for not known yet. */
  caller: number;
  answerer: number;
  /** Number of a data frame in its direction, from 0, modulo 2^32. */
  sequence: number;
  /** The next data frame that the sender waits for. */
  acknowledged: number;
  /** Data frames beyond `acknowledged` that the sender has room for. */
  room: number;
  payload: Uint8Array;
}

const HEADER_LENGTH = 19;
const CRC_LENGTH = 4;
/** Longest payload. A frame that is lost in an overrun costs little, and a guest's UART buffers several. */
export const LINE_PAYLOAD_LIMIT = 1024;
const FRAME_LIMIT = HEADER_LENGTH + LINE_PAYLOAD_LIMIT + CRC_LENGTH;

const isKind = (value: number): value is LineFrameKind => value >= LINE_FRAME.hello && value <= LINE_FRAME.reject;

export const encodeLineFrame = (frame: LineFrame): Uint8Array => {
  const plain = new Uint8Array(HEADER_LENGTH + frame.payload.length + CRC_LENGTH);
  const view = new DataView(plain.buffer);
  plain[0] = frame.kind;
  view.setUint32(1, frame.caller);
  view.setUint32(5, frame.answerer);
  view.setUint32(9, frame.sequence);
  view.setUint32(13, frame.acknowledged);
  view.setUint16(17, frame.room);
  plain.set(frame.payload, HEADER_LENGTH);
  const end = plain.length - CRC_LENGTH;
  view.setUint32(end, Bun.hash.crc32(plain.subarray(0, end)));
  const wire = new Uint8Array(2 * plain.length + 2);
  let length = 0;
  wire[length++] = FLAG;
  for (const byte of plain) {
    if (byte === FLAG || byte === ESCAPE) {
      wire[length++] = ESCAPE;
      wire[length++] = byte ^ ESCAPE_BIT;
    } else wire[length++] = byte;
  }
  wire[length++] = FLAG;
  return wire.slice(0, length);
};

const decodePlain = (plain: Uint8Array): LineFrame | undefined => {
  const end = plain.length - CRC_LENGTH;
  if (end < HEADER_LENGTH) return undefined;
  const view = new DataView(plain.buffer, plain.byteOffset, plain.length);
  if (view.getUint32(end) !== Bun.hash.crc32(plain.subarray(0, end))) return undefined;
  const kind = view.getUint8(0);
  if (!isKind(kind)) return undefined;
  return {
    kind,
    caller: view.getUint32(1),
    answerer: view.getUint32(5),
    sequence: view.getUint32(9),
    acknowledged: view.getUint32(13),
    room: view.getUint16(17),
    payload: plain.slice(HEADER_LENGTH, end),
  };
};

/** Finds frames in a byte stream, in pieces of any size. Never throws; memory is bounded by one frame. */
export class LineFrameDecoder {
  readonly #plain = new Uint8Array(FRAME_LIMIT);
  #length = 0;
  #escaped = false;
  /** Too long, or in the midst of one at the beginning: noise up to the next flag. */
  #noise = true;

  push(bytes: Uint8Array, frame: (frame: LineFrame) => void): void {
    for (const byte of bytes) {
      if (byte === FLAG) {
        const found = this.#noise || this.#escaped ? undefined : decodePlain(this.#plain.subarray(0, this.#length));
        this.#length = 0;
        this.#escaped = false;
        this.#noise = false;
        if (found !== undefined) frame(found);
      } else if (this.#noise) {
        // Passed over.
      } else if (byte === ESCAPE && !this.#escaped) this.#escaped = true;
      else if (this.#length === FRAME_LIMIT) this.#noise = true;
      else {
        this.#plain[this.#length++] = this.#escaped ? byte ^ ESCAPE_BIT : byte;
        this.#escaped = false;
      }
    }
  }
}
