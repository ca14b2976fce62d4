import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { readTar, type TarMember, writeTar } from "../../../format/tar/index.ts";
import type { LayerBelow } from "../../images/contract.ts";
import { FileTree, readTree } from "../files/file-tree.ts";
import { cleaned } from "../files/paths.ts";
import { Spool } from "../files/spool.ts";
import { type CopyPlan, copyLayer } from "./layer.ts";
import { parseMode } from "./mode.ts";
import { findSources } from "./sources.ts";

let directory = "";
let spool: Spool;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-copy-"));
  spool = await Spool.create(directory);
});
afterEach(async () => {
  await spool[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const file = (name: string, text: string | Uint8Array = name): TarMember => {
  const bytes = Buffer.from(text);
  return { header: { name, type: "file", mode: 0o644, size: bytes.length, uid: 5, gid: 6 }, body: [bytes] };
};
const symlink = (name: string, linkName: string): TarMember => ({ header: { name, type: "symlink", linkName } });

/** An image: directories, symlinks by where they lead, and files with their text. */
function image(content: Record<string, "directory" | { to: string } | string>): LayerBelow {
  return {
    stat: async (path) => {
      const entry = content[cleaned(path)];
      if (entry === undefined) return undefined;
      const mode = entry === "directory" ? 2 ** 31 + 0o755 : typeof entry === "string" ? 0o644 : 2 ** 27 + 0o777;
      return { name: path, size: 0, mode, mtime: "", linkTarget: typeof entry === "object" ? entry.to : "" };
    },
    archive: (path) => writeTar([file(path, String(content[cleaned(path)]))]),
  };
}

const PLAN: Omit<CopyPlan, "items"> = {
  destination: "/",
  intoDirectory: false,
  chown: undefined,
  keepOwner: false,
  chmod: undefined,
  exclude: [],
  followSymlinks: true,
};
const SOURCE = { keyword: "COPY", isContext: true, parents: false, unpack: false } as const;

interface Row {
  path: string;
  text?: string;
  mode?: string;
  owner?: string;
  to?: string;
}

async function copy(
  members: TarMember[],
  sources: string[],
  plan: Partial<CopyPlan>,
  below: LayerBelow = image({}),
  options: Partial<Parameters<typeof findSources>[2]> = {},
): Promise<Row[]> {
  const tree = new FileTree(spool);
  await readTree(tree, writeTar(members));
  const items = sources.flatMap((source) => findSources(tree, source, { ...SOURCE, ...options }));
  const rows: Row[] = [];
  for await (const { header, body } of readTar(copyLayer({ ...PLAN, ...plan, items })(below))) {
    const pieces: Uint8Array[] = [];
    for await (const bytes of body) pieces.push(bytes.slice());
    rows.push({
      path: header.name,
      mode: header.mode.toString(8),
      owner: `${header.uid}:${header.gid}`,
      ...(header.type === "file" ? { text: Buffer.concat(pieces).toString() } : {}),
      ...(header.linkName === "" ? {} : { to: header.linkName }),
    });
  }
  return rows;
}
const paths = async (...given: Parameters<typeof copy>): Promise<string[]> =>
  (await copy(...given)).map(({ path }) => path);

describe("destinations", () => {
  const context = [file("a"), file("b"), file("dir/one"), file("dir/sub/two")];

  test("a file to a name, into a directory, over a file", async () => {
    expect(await paths(context, ["a"], { destination: "/x/y" })).toEqual(["x/", "x/y"]);
    expect(await paths(context, ["a"], { destination: "/x/", intoDirectory: true })).toEqual(["x/", "x/a"]);
    expect(await paths(context, ["a"], { destination: "/x" }, image({ x: "directory" }))).toEqual(["x/a"]);
    expect(await paths(context, ["a"], { destination: "/x" }, image({ x: "a file" }))).toEqual(["x"]);
    expect(await paths(context, ["a"], { destination: "/" })).toEqual(["a"]);
  });

  test("of a directory, what is in it", async () => {
    expect(await paths(context, ["dir"], { destination: "/x" })).toEqual(["x/", "x/one", "x/sub/", "x/sub/two"]);
    expect(await paths(context, ["."], { destination: "/" })).toEqual([
      "a",
      "b",
      "dir/",
      "dir/one",
      "dir/sub/",
      "dir/sub/two",
    ]);
  });

  test("symlinks of the image are followed, or replaced with --link", async () => {
    const below = image({
      lib: { to: "/usr/lib" },
      usr: "directory",
      "usr/lib": "directory",
      out: { to: "/new/place" },
    });
    expect(await paths(context, ["a"], { destination: "/lib/", intoDirectory: true }, below)).toEqual(["usr/lib/a"]);
    expect(await paths(context, ["a"], { destination: "/lib" }, below)).toEqual(["usr/lib/a"]);
    expect(await paths(context, ["a"], { destination: "/out" }, below)).toEqual(["new/", "new/place"]);
    expect(await paths([file("r/lib/x")], ["r"], { destination: "/" }, below)).toEqual(["usr/lib/x"]);
    expect(
      await paths(context, ["a"], { destination: "/lib/", intoDirectory: true, followSymlinks: false }, below),
    ).toEqual(["lib/", "lib/a"]);
  });

  test("a file is in the way", async () => {
    await expect(copy(context, ["dir"], { destination: "/x" }, image({ x: "a file" }))).rejects.toThrow(
      "cannot copy to non-directory: /x",
    );
  });
});

describe("owner and mode", () => {
  const accounts = image({
    "etc/passwd": "root:x:0:0::/:\napp:x:12:34::/:\n",
    "etc/group": "root:x:0:\napp:x:56:\nstaff:x:78:\n",
  });

  test("root, as in the tree, or as --chown says", async () => {
    const owner = async (plan: Partial<CopyPlan>) =>
      (await copy([file("a")], ["a"], { destination: "/d/a", ...plan }, accounts)).map((row) => row.owner);
    expect(await owner({})).toEqual(["0:0", "0:0"]);
    expect(await owner({ keepOwner: true })).toEqual(["0:0", "5:6"]);
    expect(await owner({ chown: "7:8" })).toEqual(["7:8", "7:8"]);
    expect(await owner({ chown: "7" })).toEqual(["7:7", "7:7"]);
    expect(await owner({ chown: "app" })).toEqual(["12:56", "12:56"]);
    expect(await owner({ chown: "app:staff" })).toEqual(["12:78", "12:78"]);
    await expect(owner({ chown: "nobody" })).rejects.toThrow("can't find uid for user nobody: no such user: nobody");
    await expect(owner({ chown: "1:2:3" })).rejects.toThrow("invalid chown string format");
  });

  test.each([
    ["755", 0o644, "755", "755"],
    ["u=rwX,go=rX", 0o600, "644", "755"],
    ["+x", 0o644, "755", "755"],
    ["go-rwx", 0o755, "700", "700"],
    ["u+s", 0o755, "4755", "4755"],
    ["a=r,u+w", 0o777, "644", "644"],
  ])("--chmod=%s", (text, before, ofFile, ofDirectory) => {
    expect([false, true].map((isDirectory) => parseMode(text)(before, isDirectory).toString(8))).toEqual([
      ofFile,
      ofDirectory,
    ]);
  });

  test("a mode that is none", () => {
    for (const text of ["", "9", "77777", "u", "z+x"])
      expect(() => parseMode(text), text).toThrow("invalid chmod parameter");
  });
});

describe("sources", () => {
  const context = [
    file("a.txt"),
    file("b.txt"),
    file("c.md"),
    file("d/a.txt"),
    file("d/deep/b.txt"),
    symlink("link", "a.txt"),
  ];

  test("wildcards, symlinks, --exclude", async () => {
    expect(await paths(context, ["*.txt"], { destination: "/x/", intoDirectory: true })).toEqual([
      "x/",
      "x/a.txt",
      "x/b.txt",
    ]);
    expect(await paths(context, ["*/*.txt"], { destination: "/x/", intoDirectory: true })).toEqual(["x/", "x/a.txt"]);
    expect(await copy(context, ["link"], { destination: "/x" })).toMatchObject([{ path: "x", text: "a.txt" }]);
    expect(await copy(context, ["."], { destination: "/", exclude: ["**/*.txt", "!d/deep/b.txt"] })).toMatchObject([
      { path: "c.md" },
      { path: "d/" },
      { path: "d/deep/" },
      { path: "d/deep/b.txt" },
      { path: "link", to: "a.txt" },
    ]);
  });

  test("--parents keeps the directories, from the dot on", async () => {
    const parents = { parents: true };
    const plan = { destination: "/x/", intoDirectory: true };
    expect(await paths(context, ["d/deep/b.txt"], plan, image({}), parents)).toEqual([
      "x/",
      "x/d/",
      "x/d/deep/",
      "x/d/deep/b.txt",
    ]);
    expect(await paths(context, ["./d/./deep/*.txt"], plan, image({}), parents)).toEqual([
      "x/",
      "x/deep/",
      "x/deep/b.txt",
    ]);
  });

  test("what is not there or outside", async () => {
    await expect(copy(context, ["none"], {})).rejects.toThrow(
      "COPY failed: file not found in build context or excluded by .dockerignore: stat none: file does not exist",
    );
    await expect(copy(context, ["../a.txt"], {})).rejects.toThrow(
      "COPY failed: forbidden path outside the build context: ../a.txt ()",
    );
    await expect(copy([symlink("x", "/etc/passwd")], ["x"], {})).rejects.toThrow("stat x: file does not exist");
  });

  test("hard links stay linked, whiteouts are refused", async () => {
    const linked = [file("one", "text"), { header: { name: "two", type: "link", linkName: "one" } } as TarMember];
    expect(await copy(linked, ["."], { destination: "/" })).toMatchObject([
      { path: "one", text: "text" },
      { path: "two", to: "one" },
    ]);
    const twice = await copy([file("one"), symlink("two", "one")], ["*"], { destination: "/x/", intoDirectory: true });
    expect(twice).toMatchObject([{ path: "x/" }, { path: "x/one", text: "one" }, { path: "x/two", text: "one" }]);
    await expect(copy([file(".wh.passwd")], ["."], { destination: "/etc" })).rejects.toThrow("removes a file");
  });
});

describe("archives that ADD unpacks", () => {
  const packed = async (members: TarMember[]): Promise<Buffer> => {
    const pieces: Uint8Array[] = [];
    for await (const bytes of writeTar(members)) pieces.push(bytes);
    return gzipSync(Buffer.concat(pieces));
  };
  const add = async (members: TarMember[], below?: LayerBelow) =>
    copy([file("x.tar.gz", await packed(members))], ["x.tar.gz"], { destination: "/to" }, below, { unpack: true });

  test("with their owners, through symlinks of the image", async () => {
    const linked: TarMember = { header: { name: "lib/c", type: "link", linkName: "lib/b" } };
    const below = image({ to: "directory", "to/lib": { to: "/real" }, real: "directory" });
    expect(await add([file("a"), file("lib/b"), linked], below)).toMatchObject([
      { path: "to/a", owner: "5:6" },
      { path: "real/b" },
      { path: "real/c", to: "real/b" },
    ]);
  });

  test("one that leads out or hides files is refused", async () => {
    await expect(add([file("../../etc/passwd")])).rejects.toThrow("leads out of its destination");
    await expect(add([{ header: { name: "x", type: "link", linkName: "../../etc/shadow" } }])).rejects.toThrow(
      "leads out of it",
    );
    await expect(add([file("etc/.wh.passwd")])).rejects.toThrow("removes a file");
  });

  test("what only looks like one is a file", async () => {
    const rows = await copy(
      [file("x.tar", "no archive"), file("zeros", new Uint8Array(2048))],
      ["."],
      { destination: "/to" },
      image({}),
      { unpack: true },
    );
    expect(rows.map(({ path }) => path)).toEqual(["to/", "to/x.tar", "to/zeros"]);
    expect(
      await paths([file("zeros", new Uint8Array(2048))], ["zeros"], { destination: "/to" }, image({}), {
        unpack: true,
      }),
    ).toEqual(["to"]);
  });
});
