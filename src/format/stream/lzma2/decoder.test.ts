import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { FormatError } from "../../format-error";
import { xzParts } from "../xz-parts";
import { Lzma2Decoder } from "./decoder";

/** The oracle is the real xz. */
let folder = "";
let decoder: Lzma2Decoder;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-lzma2-"));
  const build = Bun.spawn([resolve(import.meta.dir, "build.sh"), folder], { stderr: "inherit" });
  expect(await build.exited).toBe(0);
  decoder = await Lzma2Decoder.load(await Bun.file(join(folder, "lzma2.wasm")).bytes());
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const xz = (bytes: Uint8Array, options: readonly string[]): Uint8Array =>
  Bun.spawnSync(["xz", "-c", ...options], { stdin: bytes as Uint8Array<ArrayBuffer> }).stdout;

async function plain(packed: Uint8Array): Promise<Buffer | undefined> {
  const all: Uint8Array[] = [];
  for await (const part of xzParts(new Blob([new Uint8Array(packed)]).stream(), 1e9)) {
    if (part.kind !== "whole") throw new Error("the part is too large");
    const decoded = decoder.decode(part.bytes, part.blocks);
    if (decoded === undefined) return undefined;
    all.push(decoded);
  }
  return Buffer.concat(all);
}

/** Text with repetitions near and far, runs, and noise. */
const content = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
      fc
        .tuple(fc.string({ minLength: 1, maxLength: 30 }), fc.integer({ min: 1, max: 300 }))
        .map(([text, count]) => Buffer.from(text.repeat(count))),
      fc.tuple(fc.nat(255), fc.integer({ min: 1, max: 70_000 })).map(([byte, count]) => Buffer.alloc(count, byte)),
    ),
    { maxLength: 12 },
  )
  .map((parts) => Buffer.concat(parts));

const properties = fc
  .record({
    lc: fc.integer({ min: 0, max: 4 }),
    lp: fc.integer({ min: 0, max: 4 }),
    pb: fc.integer({ min: 0, max: 4 }),
    mode: fc.constantFrom("fast", "normal"),
    nice: fc.constantFrom(8, 64, 273),
    dict: fc.constantFrom("4KiB", "64KiB", "8MiB"),
  })
  .filter(({ lc, lp }) => lc + lp <= 4);

test("what xz packs, with any properties of LZMA2", async () => {
  await fc.assert(
    fc.asyncProperty(
      content,
      properties,
      fc.constantFrom("none", "crc32", "crc64", "sha256"),
      async (bytes, { lc, lp, pb, mode, nice, dict }, check) => {
        const filter = `--lzma2=dict=${dict},lc=${lc},lp=${lp},pb=${pb},mode=${mode},nice=${nice},mf=hc4`;
        expect(await plain(xz(bytes, ["-C", check, filter]))).toEqual(bytes);
      },
    ),
    { numRuns: 80 },
  );
});

test("large data in several blocks, and data that does not compress", async () => {
  const text = Buffer.from(Array.from({ length: 12_000 }, (_, index) => `line ${index * 7919} of text\n`).join(""));
  const bytes = Buffer.concat([text, randomBytes(300_000), text, Buffer.alloc(2_100_000, 1), text]);
  for (const options of [["-0"], ["-6", "--block-size=1000000"], ["-7", "-T1"]]) {
    expect((await plain(xz(bytes, options)))?.equals(bytes)).toBe(true);
  }
  expect(await plain(xz(new Uint8Array(0), []))).toEqual(Buffer.alloc(0));
});

test("other filters are left to the other decoder", async () => {
  expect(await plain(xz(Buffer.from("text"), ["--x86", "--lzma2=preset=1"]))).toBeUndefined();
  expect(await plain(xz(Buffer.from("text"), ["--delta=dist=4", "--lzma2=preset=1"]))).toBeUndefined();
});

test("damaged data ends with an error, never with other data", async () => {
  const bytes = Buffer.concat([Buffer.from("some text that repeats itself ".repeat(50)), randomBytes(300)]);
  const good = xz(bytes, ["--block-size=700"]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 }),
      async (changes) => {
        const bad = new Uint8Array(good);
        for (const [at, change] of changes) bad[at] = (bad[at] ?? 0) ^ change;
        try {
          const decoded = await plain(bad);
          // Changes may cancel out, or hit a flag that asks for another decoder.
          if (decoded !== undefined) expect(decoded).toEqual(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(FormatError);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test("LZMA2 that was made to hurt: without checks, its decoder sees any bytes", () => {
  const header = Buffer.from(xz(Buffer.from("x"), ["-C", "none"])).subarray(0, 24);
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 600 }),
      fc.integer({ min: 1, max: 5000 }),
      (noise, plainSize) => {
        // One chunk that resets everything, so that the noise is decoded.
        const sizes = [plainSize - 1, noise.length].flatMap((size) => [size >> 8, size & 255]);
        const data = Buffer.concat([Uint8Array.of(0xe0, ...sizes, 0x5d, 0), noise, Uint8Array.of(0)]);
        const blocks = [{ stored: 12 + data.length, plain: plainSize }];
        try {
          expect(decoder.decode(Buffer.concat([header, data]), blocks)?.length).toBe(plainSize);
        } catch (error) {
          expect(error).toBeInstanceOf(FormatError);
        }
      },
    ),
    { numRuns: 3000 },
  );
});
