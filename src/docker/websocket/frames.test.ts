import { expect, test } from "bun:test";
import fc from "fast-check";
import { FrameError, FrameReader, OPCODE } from "./frames.ts";

/** A client's frame as RFC 6455 5.2 has it. */
function masked(opcode: number, payload: Uint8Array, options: { final?: boolean; mask?: number[] } = {}): Uint8Array {
  const { final = true, mask = [1, 2, 3, 4] } = options;
  const { length } = payload;
  const size = length < 126 ? [length] : length < 65536 ? [126, length >> 8, length & 255] : undefined;
  const long = Buffer.alloc(9, 127);
  long.writeBigUInt64BE(BigInt(length), 1);
  const head = size ?? [...long];
  head[0] = (head[0] ?? 0) | 0x80;
  const body = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0));
  return Buffer.concat([Uint8Array.of((final ? 0x80 : 0) | opcode, ...head, ...mask), body]);
}

/** All that a reader makes of bytes which arrive in the given pieces; data joined. */
async function readAll(bytes: Uint8Array, pieces: number[]): Promise<{ data: string; control: string[] }> {
  let at = 0;
  let turn = 0;
  const reader = new FrameReader(async () => {
    if (at >= bytes.length) return undefined;
    const size = pieces.length === 0 ? bytes.length : (pieces[turn++ % pieces.length] ?? 1);
    const piece = bytes.subarray(at, at + size);
    at += size;
    return piece;
  });
  const data: Uint8Array[] = [];
  const control: string[] = [];
  for (let received = await reader.read(); received !== undefined; received = await reader.read())
    if (received.kind === "data") data.push(received.bytes);
    else control.push(`${received.kind} ${Buffer.from(received.bytes).toString("hex")}`);
  return { data: Buffer.concat(data).toString("hex"), control };
}

const bytes = (maximum: number) => fc.uint8Array({ maxLength: maximum });
const mask = fc.array(fc.nat(255), { minLength: 4, maxLength: 4 });

test("messages in parts, with control frames between, in pieces of any size", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.oneof(bytes(10), bytes(300)), mask, fc.option(bytes(125))), { minLength: 1, maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 6 }),
      async (parts, pieces) => {
        const frames = parts.flatMap(([payload, key, ping], index) => [
          masked(index === 0 ? OPCODE.binary : OPCODE.continuation, payload, {
            final: index === parts.length - 1,
            mask: key,
          }),
          ...(ping === null ? [] : [masked(OPCODE.ping, ping), masked(OPCODE.pong, ping)]),
        ]);
        expect(await readAll(Buffer.concat(frames), pieces)).toEqual({
          data: Buffer.concat(parts.map(([payload]) => payload)).toString("hex"),
          control: parts.flatMap(([, , ping]) => (ping === null ? [] : [`ping ${Buffer.from(ping).toString("hex")}`])),
        });
      },
    ),
  );
});

test("a long frame is handed on as it comes", async () => {
  const payload = new Uint8Array(200_000).fill(7);
  const { data } = await readAll(masked(OPCODE.binary, payload), [1000]);
  expect(data.length).toBe(400_000);
});

test.each([
  ["not masked", Uint8Array.of(0x82, 1, 0)],
  ["reserved bit", Uint8Array.of(0xc2, 0x80, 0, 0, 0, 0)],
  ["unknown opcode", masked(3, Uint8Array.of(1))],
  ["unknown control opcode", masked(11, Uint8Array.of(1))],
  ["control frame in parts", masked(OPCODE.ping, Uint8Array.of(1), { final: false })],
  ["control frame too long", masked(OPCODE.ping, new Uint8Array(126))],
  ["nothing to continue", masked(OPCODE.continuation, Uint8Array.of(1))],
  [
    "message inside of a message",
    Buffer.concat([masked(OPCODE.text, Uint8Array.of(1), { final: false }), masked(OPCODE.text, Uint8Array.of(1))]),
  ],
  ["longer than can be", Uint8Array.of(0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0)],
])("%s", async (_, sent) => {
  await expect(readAll(sent, [])).rejects.toBeInstanceOf(FrameError);
});
