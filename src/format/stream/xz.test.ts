import { expect, test } from "bun:test";
import { FormatError } from "../format-error";
import { decompress } from "./decompress";
import { xzParts } from "./xz-parts";

const original = Buffer.from("a line of text that repeats\n".repeat(40_000));

async function plain(packed: Uint8Array, chunk = 1000): Promise<Buffer> {
  async function* chunks() {
    for (let at = 0; at < packed.length; at += chunk) yield packed.subarray(at, at + chunk);
  }
  return Buffer.concat(await Array.fromAsync(decompress(chunks(), "xz", 1e8)));
}

for (const options of [
  ["-C", "crc32"],
  ["-C", "sha256"],
  ["-C", "sha256", "--block-list=100000,200000"],
  ["-C", "none"],
]) {
  test(`xz ${options.join(" ")} is decompressed`, async () => {
    const run = Bun.spawnSync(["xz", "-c", "-T1", ...options], { stdin: original });
    expect(run.exitCode).toBe(0);
    for (const chunk of [1, 13, 100_000]) expect((await plain(run.stdout, chunk)).equals(original)).toBe(true);
    for (const length of [0, 5, 12, 30, run.stdout.length - 40]) {
      expect(plain(run.stdout.slice(0, length))).rejects.toThrow(FormatError);
    }
  });
}

const limits = [0, 300_000, 1e9];

/** Decodes the parts, each by itself. */
async function byParts(packed: Uint8Array, limit: number): Promise<{ plain: Buffer; kinds: string[] }> {
  async function* chunks() {
    for (let at = 0; at < packed.length; at += 777) yield packed.subarray(at, at + 777);
  }
  const found: Uint8Array[] = [];
  const kinds: string[] = [];
  for await (const part of xzParts(chunks(), limit)) {
    kinds.push(part.kind);
    const pieces = part.kind === "stream" ? part.pieces : new Blob([part.bytes]).stream();
    const before = found.length;
    for await (const piece of decompress(pieces, "xz", 1e8)) found.push(piece);
    const size = found.slice(before).reduce((sum, { length }) => sum + length, 0);
    if (part.kind === "whole") expect(size).toBe(part.plainSize);
  }
  return { plain: Buffer.concat(found), kinds };
}

for (const check of ["none", "crc32", "crc64", "sha256"]) {
  test(`a stream with ${check} is the same in parts`, async () => {
    // Large enough for blocks that are not put together, and with a last one that is small.
    const plain = Buffer.concat([original, Buffer.alloc(9_000_000, "other text"), original.subarray(0, 1000)]);
    for (const blocks of ["1000000", "20000000"]) {
      const options = ["-c", "-T2", "-0", "-C", check, `--block-size=${blocks}`];
      const packed = Bun.spawnSync(["xz", ...options], { stdin: plain }).stdout;
      for (const limit of limits) {
        const parts = await byParts(packed, limit);
        expect(parts.plain.equals(plain)).toBe(true);
        if (limit === 0) expect(new Set(parts.kinds)).toEqual(new Set(["stream"]));
        if (limit === 1e9) expect(parts.kinds).toEqual(Array(blocks === "20000000" ? 1 : 3).fill("whole"));
      }
    }
  });
}

test("a stream whose index or end is damaged is not taken apart", async () => {
  const packed = Bun.spawnSync(["xz", "-c", "-0", "--block-size=100000"], { stdin: original }).stdout;
  for (const back of [1, 2, 4, 8, 12, 24, 40]) {
    const bad = new Uint8Array(packed);
    bad[bad.length - back] = (bad[bad.length - back] ?? 0) ^ 0x41;
    expect(byParts(bad, 1e9)).rejects.toThrow(FormatError);
  }
  for (const length of [0, 5, 30, 500, packed.length - 4]) {
    expect(byParts(packed.subarray(0, length), 1e9)).rejects.toThrow(FormatError);
  }
});
