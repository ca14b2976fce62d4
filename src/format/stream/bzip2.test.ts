import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { decompressBzip2 } from "./bzip2";

/** The oracle is the real bzip2. */
const bzip2 = (bytes: Uint8Array, level = 9): Uint8Array =>
  Bun.spawnSync(["bzip2", `-${level}`, "-c"], { stdin: bytes as Uint8Array<ArrayBuffer> }).stdout;

async function* pieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function plain(bytes: Uint8Array, length = 1000): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of decompressBzip2(pieces(bytes, length))) all.push(piece);
  return Buffer.concat(all);
}

describe("bzip2", () => {
  test("what bzip2 packs, in any pieces", async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 3000 }),
      fc
        .array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 600 })), { maxLength: 20 })
        .map((runs) => Buffer.concat(runs.map(([byte, count]) => Buffer.alloc(count, byte)))),
    );
    await fc.assert(
      fc.asyncProperty(
        bytes,
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 1, max: 9 }),
        async (data, length, level) => {
          expect(await plain(bzip2(data, level), length)).toEqual(Buffer.from(data));
        },
      ),
      { numRuns: 60 },
    );
  });

  test("several blocks, and streams one after the other", async () => {
    const data = Buffer.concat([randomBytes(250_000), Buffer.alloc(1_500_000, 7), randomBytes(5)]);
    expect((await plain(bzip2(data, 1))).equals(data)).toBe(true);
    expect(
      (await plain(Buffer.concat([bzip2(data), bzip2(Buffer.from("more"))]))).equals(
        Buffer.concat([data, Buffer.from("more")]),
      ),
    ).toBe(true);
  });

  test("damage is noticed, wherever it is", async () => {
    const good = bzip2(Buffer.from("something to be damaged, something to be damaged"));
    for (let at = 0; at < good.length; at++) {
      const bad = Uint8Array.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x10;
      // The last byte ends in bits that mean nothing.
      if (at === good.length - 1) continue;
      await expect(plain(bad), `byte ${at}`).rejects.toThrow("bzip2");
      await expect(plain(good.subarray(0, at)), `${at} bytes`).rejects.toThrow("bzip2");
    }
  });

  test("noise never does anything but fail", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 500 }), async (noise) => {
        const data = Buffer.concat([Buffer.from("BZh9\x31\x41\x59\x26\x53\x59", "latin1"), noise]);
        await expect(plain(data)).rejects.toThrow("bzip2");
      }),
      { numRuns: 200 },
    );
  });
});
