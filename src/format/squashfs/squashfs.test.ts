import { afterAll, beforeAll, expect, test } from "bun:test";
import { lstat, mkdtemp, readdir, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FormatError } from "../format-error";
import { bytesContent, type IsoDirectory, type IsoNode } from "../iso9660";
import { planSquashfs, type SquashfsOptions, SquashfsReader } from ".";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-squashfs-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const directory = (entries: Record<string, IsoNode>, mode = 0o755): IsoDirectory => ({
  type: "directory",
  mode,
  entries: new Map(Object.entries(entries)),
});
const file = (content: Uint8Array, mode = 0o644): IsoNode => ({
  type: "file",
  mode,
  uid: 1000,
  gid: 7,
  content: bytesContent(content),
});

async function image(root: IsoDirectory, options: Partial<SquashfsOptions> = {}): Promise<Uint8Array> {
  const plan = planSquashfs({
    root,
    compression: "zstd",
    level: 3,
    blockSize: 65_536,
    time: 946_684_800,
    base: 96,
    ...options,
  });
  const rest = Buffer.concat(await Array.fromAsync(plan.stream()));
  const whole = new Uint8Array((options.base ?? 96) + rest.length);
  whole.set(rest, options.base ?? 96);
  whole.set(plan.superblock());
  return whole;
}

const noise = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  for (let at = 0, state = 1; at < length; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
};

function sampleTree(): IsoDirectory {
  const shared = file(Buffer.from("two names"));
  const many = Object.fromEntries(
    Array.from({ length: 3000 }, (_, index) => [`file-${index}-with-a-long-name`, file(Buffer.from(`${index}`))]),
  );
  return directory({
    empty: directory({}, 0o1777),
    "big.bin": file(noise(300_000), 0o755),
    "zeros.bin": file(new Uint8Array(200_000)),
    "nothing.txt": file(new Uint8Array(0)),
    many: directory(many),
    ünïcode: directory({ first: shared, second: shared }),
    link: { type: "symlink", target: "many/file-1-with-a-long-name" },
  });
}

for (const compression of ["gzip", "zstd"] as const) {
  for (const base of [96, 1_000_000]) {
    test(`unsquashfs unpacks what is written with ${compression} from byte ${base} on`, async () => {
      const path = join(folder, `${compression}-${base}.img`);
      const tree = sampleTree();
      await Bun.write(path, await image(tree, { compression, base }));
      const out = join(folder, `${compression}-${base}`);
      const run = Bun.spawnSync(["unsquashfs", "-no-progress", "-d", out, path]);
      expect(run.stderr.toString()).toBe("");
      expect(run.exitCode).toBe(0);
      const compare = async (node: IsoNode, at: string): Promise<void> => {
        const stat = await lstat(at);
        if (node.type === "symlink") expect(await readlink(at)).toBe(node.target);
        else expect(stat.mode & 0o7777).toBe(node.mode);
        if (node.type === "file") {
          expect(stat.uid).toBe(1000);
          const chunks = await Array.fromAsync(node.content.stream());
          expect(
            (await Bun.file(at).bytes()).length === 0 || Buffer.concat(chunks).equals(await Bun.file(at).bytes()),
          ).toBe(true);
          expect(stat.size).toBe(node.content.size);
        }
        if (node.type !== "directory") return;
        expect((await readdir(at)).sort()).toEqual([...node.entries.keys()].sort());
        for (const [name, child] of node.entries) await compare(child, join(at, name));
      };
      await compare(tree, out);
      expect((await lstat(join(out, "ünïcode/first"))).ino).toBe((await lstat(join(out, "ünïcode/second"))).ino);
    });
  }
}

test("our reader reads what mksquashfs and our writer made, alike", async () => {
  const path = join(folder, "ours.img");
  await Bun.write(path, await image(sampleTree()));
  const out = join(folder, "again");
  expect(Bun.spawnSync(["unsquashfs", "-no-progress", "-d", out, path]).exitCode).toBe(0);
  for (const compression of ["gzip", "zstd"]) {
    const theirs = join(folder, `theirs-${compression}.img`);
    const make = [
      "mksquashfs",
      out,
      theirs,
      "-no-progress",
      "-no-fragments",
      "-no-xattrs",
      "-comp",
      compression,
      "-b",
      "65536",
    ];
    expect(Bun.spawnSync(make).exitCode).toBe(0);
    const list = async (source: string) => {
      const reader = await SquashfsReader.open(Bun.file(source));
      const lines: string[] = [];
      for await (const entry of reader.entries()) {
        const hash = new Bun.CryptoHasher("sha256");
        if (entry.type === "file") for await (const chunk of reader.content(entry)) hash.update(chunk);
        lines.push(`${entry.path} ${entry.type} ${entry.mode} ${entry.uid} ${entry.target} ${hash.digest("hex")}`);
      }
      return lines.sort();
    };
    expect(await list(theirs)).toEqual(await list(path));
  }
});

test("equal trees give equal bytes", async () => {
  expect(Buffer.from(await image(sampleTree())).equals(await image(sampleTree()))).toBe(true);
});

test("damaged images give a FormatError, in time", async () => {
  const good = await image(directory({ a: file(noise(100_000)), b: directory({ c: file(Buffer.from("text")) }) }));
  const readAll = async (bytes: Uint8Array) => {
    const reader = await SquashfsReader.open(new Blob([bytes as Uint8Array<ArrayBuffer>]));
    for await (const entry of reader.entries()) if (entry.type === "file") for await (const _ of reader.content(entry));
  };
  await readAll(good);
  const interesting = fc.oneof(fc.nat(95), fc.integer({ min: 100_000, max: good.length - 1 }), fc.nat(good.length - 1));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(interesting, fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (changes, cut) => {
        const hurt = cut ? good.slice(0, changes[0]?.[0]) : good.slice();
        for (const [at, value] of changes) if (at < hurt.length) hurt[at] = value;
        const result = await readAll(hurt).catch((error: unknown) => error);
        return result === undefined || result instanceof FormatError;
      },
    ),
    { numRuns: 300 },
  );
});
