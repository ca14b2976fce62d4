import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { FormatError } from "../src/format/format-error";
import { Inflater } from "./inflate";

const plain = Buffer.concat([
  Buffer.alloc(9_000_000, "text that repeats "),
  randomBytes(500_000),
  Buffer.alloc(1_000_000, 7),
]);
const MAX_PART = 6_000_000;
let folder = "";
let decoder: Uint8Array<ArrayBuffer>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-inflate-"));
  const build = Bun.spawn([resolve(import.meta.dir, "../src/format/stream/lzma2/build.sh"), folder]);
  expect(await build.exited).toBe(0);
  decoder = await Bun.file(join(folder, "lzma2.wasm")).bytes();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const xz = (...options: string[]): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Bun.spawnSync(["xz", "-c", "-0", ...options], { stdin: plain }).stdout);

async function inflated(inflater: Inflater, packed: Uint8Array<ArrayBuffer>, limit = 1e9): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of inflater.decompress(new Blob([packed]).stream(), "xz", limit)) hash.update(chunk);
  return hash.digest("hex");
}
const wanted = new Bun.CryptoHasher("sha256").update(plain).digest("hex");

describe.each([
  ["with the fast decoder", true],
  ["without it", false],
])("xz in threads, %s", (_, isFast) => {
  const make = () => new Inflater(isFast ? decoder : undefined, MAX_PART);

  test("streams of many blocks, of one that is too large to be held, and with SHA-256", async () => {
    using inflater = make();
    const streams = [xz("-T2", "--block-size=2000000"), xz("-T1"), xz("-C", "sha256", "--block-size=5000000")];
    // Side by side, as packages are read.
    for (const digest of await Promise.all(streams.map((packed) => inflated(inflater, packed))))
      expect(digest).toBe(wanted);
  });

  test("damage and too much data are errors, and the next stream is read all the same", async () => {
    using inflater = make();
    const good = xz("-T2", "--block-size=2000000");
    const bad = good.slice();
    bad[5000] = (bad[5000] ?? 0) ^ 1;
    await expect(inflated(inflater, bad)).rejects.toBeInstanceOf(FormatError);
    await expect(inflated(inflater, good, plain.length - 1)).rejects.toThrow("inflates to more than");
    await expect(inflated(inflater, good.slice(0, -30))).rejects.toBeInstanceOf(FormatError);
    expect(await inflated(inflater, good, plain.length)).toBe(wanted);
  });

  test("whoever waits is told when it is ended", async () => {
    const inflater = make();
    const reading = inflated(inflater, xz("-T2", "--block-size=2000000"));
    inflater[Symbol.dispose]();
    await expect(reading).rejects.toThrow("decompressing was ended");
  });
});
