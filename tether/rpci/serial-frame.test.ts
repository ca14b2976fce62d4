import { expect, test } from "bun:test";
import fc from "fast-check";
import { encodeRpciFrame, RPCI_REQUEST_LIMIT, RpciDecoder } from "../../src/format/rpci.ts";
import { encodeCommand, ReplyReader } from "./serial-frame.ts";

const special = fc.constantFrom(0xc0, 0xdb, 0xdc, 0xdd, 0x20, 0x31);
const message = fc.array(fc.oneof(special, fc.nat(255)), { maxLength: 200 }).map((bytes) => Uint8Array.from(bytes));
const id = fc.nat(0xffff_ffff);

test("commands are the frames of the codec", () => {
  fc.assert(
    fc.property(id, message, (number, bytes) => {
      const frame = encodeCommand(number, bytes);
      expect(Buffer.from(frame).equals(encodeRpciFrame(number, bytes))).toBe(true);
      expect(new RpciDecoder(RPCI_REQUEST_LIMIT).push(frame)).toEqual([{ id: number, message: bytes }]);
    }),
  );
});

test("a reply is found between noise, damaged frames and replies to others, however it is cut", () => {
  fc.assert(
    fc.property(
      id,
      message,
      message,
      message,
      fc.array(fc.integer({ min: 1, max: 30 })),
      (number, bytes, noise, other, cuts) => {
        const damaged = encodeRpciFrame(number, other);
        damaged[damaged.length - 2] = (damaged.at(-2) ?? 0) ^ 1;
        const wire = Buffer.concat([
          noise,
          damaged.subarray(0, -1),
          encodeRpciFrame((number + 1) % 0xffff_ffff, other),
          encodeRpciFrame(number, bytes),
        ]);
        const reader = new ReplyReader(number);
        let found: Uint8Array | undefined;
        let offset = 0;
        for (const cut of [...cuts, wire.length]) {
          found ??= reader.push(wire.subarray(offset, offset + cut));
          offset += cut;
        }
        expect(Buffer.from(found ?? [0]).toString("hex")).toBe(Buffer.from(bytes).toString("hex"));
      },
    ),
  );
});

test("endless noise does not grow memory", () => {
  const reader = new ReplyReader(1);
  const noise = new Uint8Array(1024 * 1024).fill(0x41);
  for (let i = 0; i < 20; i++) expect(reader.push(noise)).toBeUndefined();
  expect(
    reader.push(encodeRpciFrame(1, Buffer.from("1 ok")))?.toString() ??
      reader.push(encodeRpciFrame(1, Buffer.from("1 ok")))?.toString(),
  ).toBe("1 ok");
});
