import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { link, mkdir, mkdtemp, open, readFile, readlink, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTar, writeTar } from "./index";

/** GNU tar is the other side here: it writes what we read, and reads what we write. */
let folder = "";

const longName = `${"long-directory-name/".repeat(12)}file-${"x".repeat(120)}`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-tar-"));
  const tree = join(folder, "tree");
  await mkdir(join(tree, longName, ".."), { recursive: true });
  await writeFile(join(tree, "plain"), "hello");
  await utimes(join(tree, "plain"), 1234567890, 1234567890.5);
  await writeFile(join(tree, "größe"), Buffer.alloc(100_000, 1));
  await writeFile(join(tree, longName), "deep");
  await symlink("l".repeat(180), join(tree, "symlink"));
  await link(join(tree, "plain"), join(tree, "zlink"));
  const sparse = await open(join(tree, "sparse"), "w");
  // Six stretches, so that the old GNU format needs an extension block.
  for (let stretch = 0; stretch < 6; stretch++)
    await sparse.write(Buffer.alloc(4096, 65 + stretch), 0, 4096, stretch * 1_000_000 + 65_536);
  await sparse.truncate(8_000_000);
  await sparse.close();
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, {
    cwd: folder,
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: process.env.PATH, LC_ALL: "C.UTF-8", TZ: "UTC" },
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
  return output;
}

const formats = [
  ["gnu"],
  ["oldgnu"],
  ["posix"],
  ["gnu", "--sparse"],
  ["posix", "--sparse", "--sparse-version=0.0"],
  ["posix", "--sparse", "--sparse-version=0.1"],
  ["posix", "--sparse", "--sparse-version=1.0"],
];

describe("GNU tar", () => {
  for (const [format = "", ...options] of formats) {
    test(`writes ${[format, ...options].join(" ")}, we read it`, async () => {
      await run("tar", "-cf", "theirs.tar", `--format=${format}`, ...options, "--sort=name", "-C", "tree", ".");
      const seen = new Map<string, string>();
      for await (const { header, body, sparse } of readTar(Bun.file(join(folder, "theirs.tar")).stream())) {
        const path = join(folder, "tree", header.name);
        const hash = new Bun.CryptoHasher("sha256");
        for await (const chunk of body) hash.update(chunk);
        seen.set(header.name, header.type);
        if (header.type === "file") {
          const content = await readFile(path);
          expect(header.size).toBe(content.length);
          expect(hash.digest("hex")).toBe(new Bun.CryptoHasher("sha256").update(content).digest("hex"));
          if (header.name === "./sparse") expect(sparse !== undefined).toBe(options.length > 0);
        }
        if (header.type === "symlink") expect(header.linkName).toBe(await readlink(path));
        if (header.type === "link") expect(header.linkName).toBe("./plain");
        if (header.name === "./plain")
          expect(header.mtime).toBe(format === "posix" ? 1234567890_500000000n : 1234567890_000000000n);
      }
      expect(seen.get(`./${longName}`)).toBe("file");
      expect(seen.get("./symlink")).toBe("symlink");
      expect(seen.get("./zlink")).toBe("link");
      expect(seen.get("./")).toBe("directory");
    });
  }

  test("hands out only the stored pieces of a sparse file", async () => {
    await run("tar", "-cf", "theirs.tar", "--format=posix", "--sparse", "-C", "tree", "sparse");
    const original = await readFile(join(folder, "tree/sparse"));
    const copy = Buffer.alloc(original.length);
    let stored = 0;
    for await (const { pieces } of readTar(Bun.file(join(folder, "theirs.tar")).stream())) {
      for await (const { offset, data } of pieces) {
        copy.set(data, offset);
        stored += data.length;
      }
    }
    expect(copy.equals(original)).toBe(true);
    expect(stored).toBeLessThan(original.length / 4);
  });

  test("reads what we write", async () => {
    const members = [
      { header: { name: "dir", type: "directory" as const, mode: 0o1777, mtime: 1_000_000_000_000_000_000n } },
      {
        header: {
          name: `dir/${"n".repeat(150)}`,
          type: "file" as const,
          mode: 0o4755,
          size: 3,
          mtime: 1_000_000_000_250_000_000n,
        },
        body: [Buffer.from("abc")],
      },
      {
        header: {
          name: `dir/${"p".repeat(60)}/${"q".repeat(90)}`,
          type: "file" as const,
          uid: 3_000_000,
          gid: 7,
          uname: "jörg",
          size: 1,
        },
        body: [Buffer.from("z")],
      },
      { header: { name: "dir/ü", type: "symlink" as const, linkName: "t".repeat(200) } },
      { header: { name: "dir/node", type: "character" as const, devMajor: 1, devMinor: 3 } },
    ];
    await Bun.write(join(folder, "ours.tar"), await Array.fromAsync(writeTar(members)).then(Buffer.concat));
    const listing = await run("tar", "--numeric-owner", "--full-time", "-tvf", "ours.tar");
    expect(listing.split("\n").map((line) => line.replace(/\s+/g, " "))).toEqual([
      "drwxrwxrwt 0/0 0 2001-09-09 01:46:40 dir/",
      `-rwsr-xr-x 0/0 3 2001-09-09 01:46:40.25 dir/${"n".repeat(150)}`,
      `-rw-r--r-- 3000000/7 1 1970-01-01 00:00:00 dir/${"p".repeat(60)}/${"q".repeat(90)}`,
      `lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 dir/ü -> ${"t".repeat(200)}`,
      "crw-r--r-- 0/0 1,3 1970-01-01 00:00:00 dir/node",
      "",
    ]);
    await mkdir(join(folder, "out"));
    await run("tar", "--no-same-owner", "-xf", "ours.tar", "-C", "out", "--exclude=dir/node");
    expect(await readFile(join(folder, "out/dir", "n".repeat(150)), "utf8")).toBe("abc");
    expect((await stat(join(folder, "out/dir", "n".repeat(150)), { bigint: true })).mtimeNs).toBe(
      1_000_000_000_250_000_000n,
    );
  });
});
