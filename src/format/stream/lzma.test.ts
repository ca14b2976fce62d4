import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FormatError } from "../format-error";
import { decompress } from "./decompress";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-lzma-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Text with matches near and far, and noise. */
function sample(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = at > 5000 && state % 7 < 5 ? (bytes[at - 1 - (state % 4999)] ?? 0) : state >>> 24;
  }
  return bytes;
}

function compress(plain: Uint8Array, ...options: string[]): Uint8Array {
  const run = Bun.spawnSync(["xz", "--format=lzma", "-c", ...options], { stdin: plain });
  expect(run.exitCode).toBe(0);
  return run.stdout;
}

async function* chunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function plain(bytes: Uint8Array, size = 1000, limit = 1e9): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(decompress(chunks(bytes, size), "lzma", limit)));
}

describe("the lzma decoder", () => {
  test("gives what xz compressed, whatever the chunks", async () => {
    for (const length of [0, 1, 100, 70_000, 300_000]) {
      const original = sample(length, length);
      for (const options of [["-1"], ["-9"], ["--lzma1=preset=6,lc=0,lp=2,pb=0,dict=4KiB"]]) {
        const packed = compress(original, ...options);
        for (const size of [1, 7, 65_536]) {
          if (length * (1 / size) > 100_000) continue;
          expect((await plain(packed, size)).equals(original)).toBe(true);
        }
      }
    }
  });

  test("reads a stream that states its size", async () => {
    const original = sample(10_000, 3);
    const packed = compress(original);
    new DataView(packed.buffer, packed.byteOffset).setBigUint64(5, 10_000n, true);
    expect((await plain(packed)).equals(original)).toBe(true);
    new DataView(packed.buffer, packed.byteOffset).setBigUint64(5, 10_001n, true);
    expect(plain(packed)).rejects.toThrow(FormatError);
  });

  test("refuses what is cut short, damaged or too large", async () => {
    const packed = compress(sample(50_000, 1));
    for (const length of [0, 5, 17, 18, 100, packed.length - 1]) {
      expect(plain(packed.slice(0, length))).rejects.toThrow(FormatError);
    }
    expect(plain(compress(new Uint8Array(1_000_000)), 1000, 10_000)).rejects.toThrow("inflates to more than");
    const large = compress(sample(10, 1));
    new DataView(large.buffer, large.byteOffset).setUint32(1, 0xffff_ffff, true);
    expect(plain(large)).rejects.toThrow("128 MiB");
    await fc.assert(
      fc.asyncProperty(fc.nat(packed.length - 1), fc.nat(255), async (at, value) => {
        const hurt = packed.slice();
        hurt[at] = value;
        const result = await plain(hurt, 4096, 200_000).catch((error: unknown) => error);
        return result instanceof Buffer || result instanceof FormatError;
      }),
      { numRuns: 60 },
    );
  });
});
