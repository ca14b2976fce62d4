import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { VmdkError } from "./descriptor.ts";
import { decodeStreamOptimized, encodeStreamOptimized } from "./stream-optimized.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-stream-"));
});
afterAll(() => rm(directory, { recursive: true }));

const GRAIN = 65_536;

async function* grainsOf(content: Uint8Array) {
  for (let at = 0; at < content.length; at += GRAIN) {
    const bytes = content.subarray(at, at + GRAIN);
    if (bytes.some((byte) => byte !== 0)) yield { sector: at / 512, bytes };
  }
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The stream in pieces of odd sizes. */
async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function contentOf(bytes: Uint8Array, size = 10_000): Promise<Uint8Array> {
  const disk = await decodeStreamOptimized(pieces(bytes, size));
  const content = new Uint8Array(disk.capacitySectors * 512);
  for await (const grain of disk.grains) content.set(grain.bytes, grain.sector * 512);
  return content;
}

function sample(megabytes: number): Uint8Array {
  const content = new Uint8Array(megabytes * 2 ** 20);
  for (let at = 0; at < content.length; at += 3 * GRAIN) content.fill((at / GRAIN) % 251, at, at + 5000);
  return content;
}

test("qemu-img reads what we write and we read what qemu-img writes", async () => {
  // More than one grain table, which covers 32 MiB.
  const content = sample(70);
  const ours = await collect(
    encodeStreamOptimized({ capacitySectors: content.length / 512, name: "ours.vmdk" }, grainsOf(content)),
  );
  const file = (name: string): string => join(directory, name);
  await Bun.write(file("ours.vmdk"), ours);
  await Bun.$`qemu-img check -q ${file("ours.vmdk")}`.quiet();
  await Bun.$`qemu-img convert -O raw ${file("ours.vmdk")} ${file("ours.raw")}`.quiet();
  expect(Buffer.compare(await Bun.file(file("ours.raw")).bytes(), content)).toBe(0);
  await Bun.$`qemu-img convert -f raw -O vmdk -o subformat=streamOptimized ${file("ours.raw")} ${file("theirs.vmdk")}`.quiet();
  expect(Buffer.compare(await contentOf(await Bun.file(file("theirs.vmdk")).bytes()), content)).toBe(0);
}, 30_000);

test("damaged streams end in an error and in bounded memory", async () => {
  const content = sample(1);
  const good = await collect(
    encodeStreamOptimized({ capacitySectors: content.length / 512, name: "a.vmdk" }, grainsOf(content)),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.nat(good.length - 1),
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 1, max: 70_000 }),
      fc.boolean(),
      async (at, byte, size, cut) => {
        const bytes = Uint8Array.from(cut ? good.subarray(0, at) : good);
        if (!cut) bytes[at] = byte;
        try {
          const disk = await decodeStreamOptimized(pieces(bytes, size));
          for await (const grain of disk.grains) expect(grain.bytes.length).toBeLessThanOrEqual(GRAIN);
        } catch (error) {
          expect(error).toBeInstanceOf(VmdkError);
        }
      },
    ),
    { numRuns: 60 },
  );
}, 30_000);
