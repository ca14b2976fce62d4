import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FormatError } from "../format-error";
import { type DebControl, readDeb } from "./reader";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-deb-"));
  await mkdir(join(folder, "p/DEBIAN"), { recursive: true });
  await mkdir(join(folder, "p/usr/lib"), { recursive: true });
  await Bun.write(
    join(folder, "p/DEBIAN/control"),
    "Package: sample\nVersion: 1:2.0-3\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: short\n long text\n",
  );
  await Bun.write(join(folder, "p/usr/lib/data"), Buffer.alloc(300_001, 7));
  await symlink("data", join(folder, "p/usr/lib/link"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function build(compression: string): Promise<string> {
  const out = join(folder, `${compression}.deb`);
  if (compression === "bzip2" || compression === "lzma") return repack(await build("none"), compression, out);
  const child = Bun.spawn(["dpkg-deb", "--root-owner-group", `-Z${compression}`, "-b", "p", out], {
    cwd: folder,
    stdout: "ignore",
    stderr: "pipe",
  });
  if ((await child.exited) !== 0) throw new Error(await child.stderr.text());
  return out;
}

/** Old packages, which dpkg-deb still reads but no longer makes. */
async function repack(plain: string, compression: "bzip2" | "lzma", out: string): Promise<string> {
  const [suffix, command] = compression === "lzma" ? ["lzma", "xz --format=lzma"] : ["bz2", "bzip2"];
  const script = `rm -rf old && mkdir old && cd old && ar x "$1" && ${command} -c data.tar >data.tar.${suffix} &&
    ar rcS "$2" debian-binary control.tar data.tar.${suffix} && dpkg-deb -c "$2"`;
  const child = Bun.spawn(["sh", "-ec", script, "sh", plain, out], { cwd: folder, stdout: "pipe", stderr: "pipe" });
  if ((await child.exited) !== 0) throw new Error(await child.stderr.text());
  expect(await child.stdout.text()).toContain("./usr/lib/data");
  return out;
}

describe("Debian packages", () => {
  for (const compression of ["gzip", "xz", "zstd", "none", "bzip2", "lzma"]) {
    test(`as dpkg-deb reads them, with ${compression}`, async () => {
      const path = await build(compression);
      let control: DebControl | undefined;
      const seen: string[] = [];
      const entries = readDeb(Bun.file(path).stream(), (read) => {
        control = read;
      });
      for await (const { header, body } of entries) {
        const content = Buffer.concat(await Array.fromAsync(body));
        expect(content.equals(Buffer.alloc(header.size, 7))).toBe(true);
        seen.push(`${header.type} ${header.name} ${header.size} ${header.linkName}`.trim());
      }
      expect(control).toMatchObject({ package: "sample", version: "1:2.0-3", architecture: "all" });
      expect(control?.fields.get("description")).toBe("short\nlong text");
      expect(seen).toContain("file ./usr/lib/data 300001");
      expect(seen).toContain("symlink ./usr/lib/link 0 data");
    });
  }

  test("that are damaged are refused", async () => {
    const bytes = await Bun.file(await build("xz")).bytes();
    const read = (damaged: Uint8Array<ArrayBuffer>) =>
      Array.fromAsync(readDeb(new Blob([damaged]).stream(), () => undefined));
    await expect(read(bytes.slice(0, bytes.length - 40))).rejects.toBeInstanceOf(FormatError);
    await expect(read(bytes.slice(8))).rejects.toThrow("not an ar archive");
    const flipped = bytes.slice();
    flipped.fill(0, bytes.length - 60, bytes.length - 20);
    await expect(read(flipped)).rejects.toBeInstanceOf(FormatError);
  });
});
