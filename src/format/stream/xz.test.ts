import { expect, test } from "bun:test";
import { FormatError } from "../format-error";
import { decompress } from "./decompress";

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
