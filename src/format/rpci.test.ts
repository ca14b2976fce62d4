import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  encodeRpciFrame,
  formatRpciCommand,
  formatRpciReply,
  parseRpciCommand,
  parseRpciReply,
  RPCI_REQUEST_LIMIT,
  RpciDecoder,
  type RpciFrame,
} from "./rpci.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const frameArbitrary = fc.record({
  id: fc.integer({ min: 0, max: 0xffff_ffff }),
  message: fc.oneof(fc.uint8Array({ maxLength: 600 }), fc.constant(new Uint8Array([0xc0, 0xdb, 0xdc, 0xdd, 0x0a, 0]))),
});

function concatenate(parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function decodeInPieces(stream: Uint8Array, pieceLength: number): RpciFrame[] {
  const decoder = new RpciDecoder(RPCI_REQUEST_LIMIT);
  const frames: RpciFrame[] = [];
  for (let at = 0; at < stream.length; at += pieceLength)
    frames.push(...decoder.push(stream.subarray(at, at + pieceLength)));
  return frames;
}

describe("frames", () => {
  test("the bytes of a frame are fixed: both ends may be of different versions", () => {
    // The checksum was computed with `python3 -c "import zlib; print(hex(zlib.crc32(b'7 info-get k')))"`.
    expect(Buffer.from(encodeRpciFrame(7, bytes("info-get k"))).toString("latin1")).toBe(
      "\xc07 cf1590f5 info-get k\xc0",
    );
  });

  test("any frames come back, however the stream is cut", () => {
    fc.assert(
      fc.property(fc.array(frameArbitrary, { maxLength: 6 }), fc.integer({ min: 1, max: 64 }), (frames, piece) => {
        const stream = concatenate(frames.map((frame) => encodeRpciFrame(frame.id, frame.message)));
        expect(decodeInPieces(stream, piece)).toEqual(frames);
      }),
    );
  });

  test("after garbage and a frame cut short, the next whole frame comes through", () => {
    fc.assert(
      fc.property(
        frameArbitrary,
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(),
        frameArbitrary,
        (lost, garbage, cut, kept) => {
          const whole = encodeRpciFrame(lost.id, lost.message);
          const torn = whole.subarray(0, cut % whole.length);
          const frames = decodeInPieces(concatenate([garbage, torn, encodeRpciFrame(kept.id, kept.message)]), 16);
          expect(frames.at(-1)).toEqual(kept);
          // Only the closing byte may be missing: the next frame's opening byte stands in for it.
          for (const frame of frames.slice(0, -1)) expect(frame).toEqual(lost);
        },
      ),
    );
  });

  test("a changed byte never yields another message", () => {
    fc.assert(
      fc.property(frameArbitrary, fc.nat(), fc.integer({ min: 1, max: 255 }), (frame, position, change) => {
        const stream = encodeRpciFrame(frame.id, frame.message);
        const at = position % stream.length;
        stream[at] = (stream[at] ?? 0) ^ change;
        for (const got of decodeInPieces(stream, 99)) expect(got).toEqual(frame);
      }),
    );
  });

  test("a frame over the limit is dropped and the next one read", () => {
    const decoder = new RpciDecoder(100);
    const frames = decoder.push(
      concatenate([
        encodeRpciFrame(1, new Uint8Array(100)),
        encodeRpciFrame(2, new Uint8Array(200)),
        encodeRpciFrame(3, bytes("ok")),
      ]),
    );
    expect(frames.map((frame) => frame.id)).toEqual([1, 3]);
    expect(decoder.dropped).toBe(1);
  });

  test("reset forgets a frame that has begun", () => {
    const decoder = new RpciDecoder(100);
    decoder.push(encodeRpciFrame(1, bytes("lost")).subarray(0, 8));
    decoder.reset();
    expect(decoder.push(encodeRpciFrame(2, bytes("kept")))).toEqual([{ id: 2, message: bytes("kept") }]);
  });

  test("an id beyond 32 bits is refused", () => {
    expect(() => encodeRpciFrame(2 ** 32, bytes(""))).toThrow(RangeError);
  });
});

describe("commands and replies", () => {
  test.each([
    ["info-get guestinfo.a", { kind: "info-get", key: "guestinfo.a" }],
    ["info-set guestinfo.a b  c\n", { kind: "info-set", key: "guestinfo.a", value: "b  c\n" }],
    ["info-set guestinfo.a ", { kind: "info-set", key: "guestinfo.a", value: "" }],
    ["info-set guestinfo.a", { kind: "info-set", key: "guestinfo.a", value: "" }],
    ["info-get ", { kind: "unknown", name: "info-get" }],
    ["info-get a b", { kind: "unknown", name: "info-get" }],
    ["log hello", { kind: "unknown", name: "log" }],
    ["", { kind: "unknown", name: "" }],
  ] as const)("%j", (text, command) => {
    expect(parseRpciCommand(bytes(text))).toEqual(command);
  });

  test("round trips", () => {
    const key = fc.stringMatching(/^[a-z.0-9_-]{1,40}$/);
    fc.assert(
      fc.property(key, fc.string({ unit: "grapheme" }), (name, value) => {
        const set = { kind: "info-set", key: name, value } as const;
        expect(parseRpciCommand(formatRpciCommand(set))).toEqual(set);
        expect(parseRpciReply(formatRpciReply({ ok: true, value }))).toEqual({ ok: true, value });
        expect(parseRpciReply(formatRpciReply({ ok: false, reason: value }))).toEqual({ ok: false, reason: value });
      }),
    );
  });

  test("what is no reply is refused", () => {
    expect(() => parseRpciReply(bytes("2 x"))).toThrow("not an RPCI reply");
  });
});
