/**
 * Frames of the control link. Every frame is a 10 byte header and a payload:
 *
 *     u8 type · u8 stream · u32 channel (big endian) · u32 payload length (big endian) · payload
 *
 * docs/control-link.md describes the protocol.
 */

export const FRAME = {
  /** Payload: JSON ChannelRequest. Opens `channel`. */
  open: 1,
  /** Payload: a piece of a JSON object; `stream` is 1 when more pieces follow, 0 for the last. */
  control: 2,
  /** Payload: bytes of `stream`. */
  data: 3,
  /** No payload. The sender will send no more on `stream`. */
  end: 4,
  /** Payload: u32 credit, in cost units (see frameCost), that the receiver gives back. */
  credit: 5,
  /** Payload: empty, or JSON `{code, message}`. The channel is over in both directions. */
  close: 6,
  ping: 7,
  pong: 8,
  /** Payload: UTF-8 reason. The session is over. */
  goodbye: 9,
  /** Payload: u64 number of frames of the types 1 to 6 received since the session began. Only in sessions with an id. */
  acknowledge: 10,
} as const;

export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export interface Frame {
  type: FrameType;
  stream: number;
  channel: number;
  payload: Uint8Array;
}

export const FRAME_HEADER_LENGTH = 10;
/** Longest payload of a data or control frame; a sender cuts at this length. */
export const DATA_FRAME_LIMIT = 64 * 1024;
/** Longest payload of any frame: that of `open`. Holds a command line and environment as long as people really use. */
export const REQUEST_LIMIT = 1024 * 1024;
/** What a frame costs of a channel's window besides its payload, so that a flood of tiny frames is bounded too. */
export const FRAME_OVERHEAD = 64;

const PAYLOAD_LIMITS: Record<FrameType, number> = {
  [FRAME.open]: REQUEST_LIMIT,
  [FRAME.control]: DATA_FRAME_LIMIT,
  [FRAME.data]: DATA_FRAME_LIMIT,
  [FRAME.end]: 0,
  [FRAME.credit]: 4,
  [FRAME.close]: 8 * 1024,
  [FRAME.ping]: 0,
  [FRAME.pong]: 0,
  [FRAME.goodbye]: 1024,
  [FRAME.acknowledge]: 8,
};

const isFrameType = (value: number): value is FrameType => value >= FRAME.open && value <= FRAME.acknowledge;

/** The peer broke the protocol; the session cannot go on. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** Cost of a data, control or end frame in its channel's window. */
export const frameCost = (payloadLength: number): number => payloadLength + FRAME_OVERHEAD;

export const encodeFrame = (type: FrameType, channel: number, stream: number, payload: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(FRAME_HEADER_LENGTH + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = type;
  bytes[1] = stream;
  view.setUint32(2, channel);
  view.setUint32(6, payload.length);
  bytes.set(payload, FRAME_HEADER_LENGTH);
  return bytes;
};

/**
 * Cuts a byte stream, in pieces of any size, into frames. Memory is bounded by the payload limit of the frame at hand.
 * Payloads are copies: a small one never keeps a large network buffer alive.
 */
export class FrameDecoder {
  readonly #header = new Uint8Array(FRAME_HEADER_LENGTH);
  readonly #view = new DataView(this.#header.buffer);
  #headerLength = 0;
  #payload: Uint8Array | undefined;
  #payloadLength = 0;

  /** Calls `frame` for each complete frame. Throws ProtocolError, after which the decoder must not be used. */
  push(bytes: Uint8Array, frame: (frame: Frame) => void): void {
    let offset = 0;
    while (offset < bytes.length || this.#payload?.length === 0) {
      if (this.#payload === undefined) {
        const take = Math.min(FRAME_HEADER_LENGTH - this.#headerLength, bytes.length - offset);
        this.#header.set(bytes.subarray(offset, offset + take), this.#headerLength);
        this.#headerLength += take;
        offset += take;
        if (this.#headerLength < FRAME_HEADER_LENGTH) return;
        this.#payload = new Uint8Array(this.#checkedLength());
        this.#payloadLength = 0;
      }
      const take = Math.min(this.#payload.length - this.#payloadLength, bytes.length - offset);
      this.#payload.set(bytes.subarray(offset, offset + take), this.#payloadLength);
      this.#payloadLength += take;
      offset += take;
      if (this.#payloadLength < this.#payload.length) return;
      const payload = this.#payload;
      this.#payload = undefined;
      this.#headerLength = 0;
      frame({
        type: this.#header[0] as FrameType,
        stream: this.#header[1] ?? 0,
        channel: this.#view.getUint32(2),
        payload,
      });
    }
  }

  #checkedLength(): number {
    const type = this.#header[0] ?? 0;
    const length = this.#view.getUint32(6);
    if (!isFrameType(type)) throw new ProtocolError(`unknown frame type ${type}`);
    if (length > PAYLOAD_LIMITS[type]) throw new ProtocolError(`frame of type ${type} is too long: ${length} bytes`);
    if (type === FRAME.credit && length !== 4) throw new ProtocolError("malformed credit frame");
    if (type === FRAME.acknowledge && length !== 8) throw new ProtocolError("malformed acknowledge frame");
    return length;
  }
}
