import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import dockerignore from "@balena/dockerignore";
import fc from "fast-check";
import { type TarMember, writeTar } from "../../../format/tar/index.ts";
import { readContext } from "../context-files.ts";
import { FileTree, readText, readTree } from "./file-tree.ts";
import { ignorePatterns } from "./ignore-patterns.ts";
import { normalised } from "./paths.ts";
import { Spool } from "./spool.ts";
import { componentMatcher } from "./wildcards.ts";

let directory = "";
let spool: Spool;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-files-"));
  spool = await Spool.create(directory);
});
afterEach(async () => {
  await spool[Symbol.asyncDispose]();
  expect(await readdir(directory)).toEqual([]);
  await rm(directory, { recursive: true });
});

const file = (name: string, text = name): TarMember => ({
  header: { name, type: "file", size: Buffer.byteLength(text) },
  body: [Buffer.from(text)],
});
const symlink = (name: string, linkName: string): TarMember => ({ header: { name, type: "symlink", linkName } });
const hardLink = (name: string, linkName: string): TarMember => ({ header: { name, type: "link", linkName } });

async function treeOf(members: TarMember[], limits?: { entries: number; pathBytes: number }): Promise<FileTree> {
  const tree = new FileTree(spool, limits);
  await readTree(tree, writeTar(members));
  return tree;
}

describe("tree", () => {
  test("directories come by themselves, later members replace earlier ones", async () => {
    const tree = await treeOf([
      file("a/b/c", "1"),
      file("./a//b/c", "2"),
      file("/d"),
      { header: { name: "e/", type: "directory", mode: 0o700 } },
    ]);
    expect([...tree.walk("")].map(({ path }) => path)).toEqual(["", "a", "a/b", "a/b/c", "d", "e"]);
    expect(tree.get("e")?.mode).toBe(0o700);
    const node = tree.get("a/b/c");
    expect(node && (await readText(tree, node, 10))).toBe("2");
    expect(tree.size).toBe(5);
    tree.remove("a");
    expect([...tree.walk("")].map(({ path }) => path)).toEqual(["", "d", "e"]);
  });

  test("a file in place of a directory takes what was in it away", async () => {
    const tree = await treeOf([file("a/b"), file("a")]);
    expect([...tree.walk("")].map(({ path }) => path)).toEqual(["", "a"]);
  });

  test("symlinks are followed inside the tree only", async () => {
    const tree = await treeOf([
      file("real/file"),
      symlink("relative", "real"),
      symlink("absolute", "/real"),
      symlink("outside", "../../../../real/file"),
      symlink("secret", "/etc/passwd"),
      symlink("loop", "loop2"),
      symlink("loop2", "loop"),
      symlink("real/up", "../relative/file"),
    ]);
    for (const path of ["relative/file", "absolute/file", "outside", "real/up", "absolute/../real/./file"])
      expect(tree.resolve(path)?.path, path).toBe("real/file");
    expect(tree.resolve("secret")).toBeUndefined();
    expect(() => tree.resolve("loop")).toThrow("too many levels of symbolic links");
  });

  test("hard links share their content", async () => {
    const tree = await treeOf([file("a", "text"), hardLink("b", "a")]);
    expect(tree.get("b")?.content).toBe(tree.get("a")?.content);
  });

  test.each([
    ["a name above it", [file("../x")], "leads out of it"],
    ["a name that climbs out in the middle", [file("a/../../x")], "leads out of it"],
    ["a hard link out of it", [hardLink("x", "../../etc/passwd")], "leads out of it"],
    ["a hard link to what is not there", [hardLink("x", "/etc/passwd")], "which is no file in it"],
    ["a file below a symlink", [symlink("a", "/etc"), file("a/passwd")], "which is no directory"],
    ["a file below a file", [file("a"), file("a/b")], "which is no directory"],
  ])("%s is refused", async (_, members, reason) => {
    await expect(treeOf(members)).rejects.toThrow(reason);
  });

  test("limits: files, paths, bytes, and archives that unpack to much more than they are", async () => {
    const many = Array.from({ length: 11 }, (_, index) => file(`f${index}`));
    await expect(treeOf(many, { entries: 10, pathBytes: 1000 })).rejects.toThrow("more than 10 files");
    await expect(treeOf(many, { entries: 100, pathBytes: 10 })).rejects.toThrow("longer than 10 bytes together");
    const deep = file(`${"d/".repeat(3000)}x`);
    await expect(treeOf([deep])).rejects.toThrow("4096 each");
    await using small = await Spool.create(directory, 1000);
    const hole = writeTar([{ header: { name: "x", type: "file", size: 2000 }, body: [new Uint8Array(2000)] }]);
    await expect(readTree(new FileTree(small), hole)).rejects.toThrow("unpack to more than 1000 bytes");
  });

  test("any archive makes a tree whose paths stay inside, or an error", async () => {
    const name = fc.stringMatching(/^[ab./]{1,8}$/);
    const member = fc.oneof(
      name.map((path) => file(path)),
      fc.tuple(name, name).map(([path, target]) => symlink(path, target)),
      fc.tuple(name, name).map(([path, target]) => hardLink(path, target)),
      name.map((path): TarMember => ({ header: { name: path, type: "directory" } })),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(member, { maxLength: 6 }), name, async (members, asked) => {
        try {
          const tree = await treeOf(members);
          for (const node of tree.walk("")) expect(normalised(node.path)).toBe(node.path);
          const found = tree.resolve(asked);
          if (found !== undefined) expect(tree.get(found.path)).toBe(found);
        } catch (error) {
          expect((error as Error).name).toMatch(/EngineError|FormatError/);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("context", () => {
  const context = (members: TarMember[], dockerfile = "Dockerfile") =>
    readContext(spool, writeTar(members), dockerfile);

  test(".dockerignore takes files out, and exceptions back in", async () => {
    const { tree, dockerfile } = await context([
      file("Dockerfile", "FROM x\n"),
      file(".dockerignore", "# comment\n*.log\nbuild\n!build/keep\nDockerfile\n**/deep.txt\n"),
      file("a.log"),
      file("sub/a.log"),
      file("sub/deep.txt"),
      file("build/drop"),
      file("build/keep"),
    ]);
    expect(dockerfile).toBe("FROM x\n");
    expect([...tree.walk("")].filter(({ type }) => type === "file").map(({ path }) => path)).toEqual([
      ".dockerignore",
      "build/keep",
      "sub/a.log",
    ]);
  });

  test("a Dockerfile's own ignore file comes first", async () => {
    const members = [
      file("x.Dockerfile", "FROM x"),
      file("x.Dockerfile.dockerignore", "b"),
      file(".dockerignore", "a"),
      file("a"),
      file("b"),
    ];
    const { tree } = await context(members, "x.Dockerfile");
    expect([tree.get("a")?.path, tree.get("b")]).toEqual(["a", undefined]);
  });

  test("where the Dockerfile is", async () => {
    expect((await context([file("dockerfile", "FROM y")])).dockerfile).toBe("FROM y");
    expect((await context([file("d/real", "FROM z"), symlink("Dockerfile", "d/real")])).dockerfile).toBe("FROM z");
    await expect(context([file("x")])).rejects.toThrow("Cannot locate specified Dockerfile: Dockerfile");
    await expect(context([file("x")], "../x")).rejects.toThrow("must be within the build context");
    await expect(context([file("Dockerfile", "")])).rejects.toThrow("cannot be empty");
    await expect(context([symlink("Dockerfile", "/etc/passwd")])).rejects.toThrow("Cannot locate specified Dockerfile");
    await expect(context([file("Dockerfile", "x".repeat(1024 * 1024 + 1))])).rejects.toThrow("longer than");
  });

  test("what is no archive", async () => {
    const noise = (async function* () {
      yield new TextEncoder().encode("x".repeat(2000));
    })();
    await expect(readContext(spool, noise, "Dockerfile")).rejects.toThrow("the build context cannot be read");
  });
});

describe("ignore patterns", () => {
  test.each([
    [["*.log"], ["a.log"], ["d/a.log", "a.logs", "A.LOG"]],
    [["**/*.log"], ["a.log", "d/e/a.log"], ["a.txt"]],
    [["d"], ["d", "d/x/y"], ["dd", "e/d"]],
    [["/d/"], ["d", "d/x"], ["e/d"]],
    [["d/**"], ["d/x", "d/x/y"], ["d"]],
    [["a/**/z"], ["a/z", "a/b/c/z", "a/z/below"], ["a", "az"]],
    [
      ["*", "!keep", "keep/not"],
      ["x", "keep/not"],
      ["keep", "keep/x"],
    ],
    [
      ["# comment", "", " x? ", "[a-c]y"],
      ["xy", "by", "xy/z"],
      ["# comment", "x", "dy"],
    ],
    [["../x", "./y/../z"], ["x", "z"], ["y"]],
  ])("%j", (lines, ignored, kept) => {
    const { ignores } = ignorePatterns(lines);
    for (const path of ignored) expect(ignores(path), path).toBe(true);
    for (const path of kept) expect(ignores(path), path).toBe(false);
  });

  test("agrees with @balena/dockerignore", () => {
    // Where `**` is only a part of a component, the library follows an older Docker.
    const component = fc.oneof(
      fc.constant("**"),
      fc.stringMatching(/^[ab?]{0,2}\*?[ab?]{0,2}$/).filter((text) => text !== ""),
    );
    const pattern = fc.tuple(fc.boolean(), fc.array(component, { minLength: 1, maxLength: 3 }));
    const path = fc
      .array(fc.stringMatching(/^[ab]{1,3}$/), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join("/"));
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 1, maxLength: 4 }), path, (patterns, subject) => {
        const lines = patterns.map(([isException, parts]) => (isException ? "!" : "") + parts.join("/"));
        const wanted = dockerignore({ ignorecase: false }).add(lines).ignores(subject);
        expect(ignorePatterns(lines).ignores(subject), JSON.stringify([lines, subject])).toBe(wanted);
      }),
      { numRuns: 5000 },
    );
  });

  test("malformed ones are refused, costly ones are cheap", () => {
    for (const line of ["!", "[", "[a", "x\\", "[b-a]", "x".repeat(5000)])
      expect(() => ignorePatterns([line]), line).toThrow();
    expect(() => ignorePatterns(Array(1001).fill("x"))).toThrow("more than 1000 patterns");
    const started = performance.now();
    const { ignores } = ignorePatterns(["**/*a".repeat(50), `${"*a".repeat(50)}b`]);
    ignores("a/".repeat(2000));
    ignores("a".repeat(4000));
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

describe("wildcards", () => {
  test.each([
    ["*.txt", ["a.txt", ".txt"], ["a.txts"]],
    ["a?c", ["abc"], ["ac", "abbc"]],
    ["[a-c]x", ["ax", "cx"], ["dx", "-x"]],
    ["[^a]x", ["bx"], ["ax"]],
    ["\\*x", ["*x"], ["ax"]],
    ["[\\]]", ["]"], ["\\"]],
    ["*", ["", "anything"], []],
    ["**a*", ["a", "bac"], ["b"]],
  ])("%s", (pattern, matching, others) => {
    const matches = componentMatcher(pattern);
    for (const name of matching) expect(matches(name), name).toBe(true);
    for (const name of others) expect(matches(name), name).toBe(false);
  });

  test("malformed ones are refused, costly ones are cheap", () => {
    for (const pattern of ["[", "[]", "[a", "a\\", "[b-a]"])
      expect(() => componentMatcher(pattern), pattern).toThrow("syntax error in pattern");
    expect(componentMatcher(`${"*a".repeat(50)}b`)("a".repeat(255))).toBe(false);
  });
});
