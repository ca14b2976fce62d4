import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FormatError } from "../format-error";
import { makeFat } from "./writer";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-fat-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const content = (length: number): Uint8Array => new Uint8Array(length).map((_, index) => index % 251);

for (const [kind, length] of [
  ["FAT12", 100_000],
  ["FAT12", 8_300_000],
  ["FAT16", 8_500_000],
  ["FAT16", 40_000_000],
] as const) {
  test(`fsck.fat and mtools accept ${kind} with a file of ${length} bytes`, async () => {
    const path = join(folder, `${length}.img`);
    const image = makeFat(
      [
        { path: "/EFI/BOOT/BOOTX64.EFI", content: content(length) },
        { path: "/EFI/BOOT/EMPTY", content: new Uint8Array(0) },
        { path: "/README.TXT", content: Buffer.from("hello") },
      ],
      0x1234_5678,
      946_684_800,
    );
    await Bun.write(path, image.bytes);
    const check = Bun.spawnSync(["fsck.fat", "-n", "-v", path]);
    expect(check.exitCode).toBe(0);
    const bits = /(\d+) bytes per FAT/.exec(check.stdout.toString());
    expect(bits).not.toBeNull();
    expect(Buffer.from(image.bytes.subarray(54, 59)).toString()).toBe(kind);
    const copy = Bun.spawnSync(["mcopy", "-n", "-i", path, "::/EFI/BOOT/BOOTX64.EFI", join(folder, "copy")]);
    expect(copy.stderr.toString()).toBe("");
    expect(Buffer.from(content(length)).equals(await Bun.file(join(folder, "copy")).bytes())).toBe(true);
    await rm(join(folder, "copy"));
    expect(Bun.spawnSync(["mtype", "-i", path, "::/README.TXT"]).stdout.toString()).toBe("hello");
    const offset = image.offsetOf("/EFI/BOOT/BOOTX64.EFI");
    expect(offset % 2048).toBe(0);
    expect(Buffer.from(image.bytes.subarray(offset, offset + length)).equals(content(length))).toBe(true);
  });
}

test("any few files make a file system that fsck.fat accepts", async () => {
  const name = fc.stringMatching(/^[A-Z0-9]{1,8}(\.[A-Z0-9]{1,3})?$/);
  const files = fc.uniqueArray(fc.record({ name, folder: fc.constantFrom("", "/D", "/D/E"), length: fc.nat(9000) }), {
    selector: (file) => file.folder + file.name,
    maxLength: 20,
  });
  await fc.assert(
    fc.asyncProperty(files, async (chosen) => {
      // A folder's name is taken.
      const list = chosen.filter((file) => file.name !== "D" && file.name !== "E");
      const path = join(folder, "any.img");
      const given = list.map((file) => ({ path: `${file.folder}/${file.name}`, content: content(file.length) }));
      await Bun.write(path, makeFat(given, 1, 946_684_800).bytes);
      expect(Bun.spawnSync(["fsck.fat", "-n", path]).exitCode).toBe(0);
    }),
    { numRuns: 25 },
  );
});

test("names that FAT cannot hold are refused", () => {
  for (const path of ["/lower", "/TOOLONGNAME", "/A.TEXT", "/"]) {
    expect(() => makeFat([{ path, content: new Uint8Array(1) }], 1, 0)).toThrow(FormatError);
  }
});
