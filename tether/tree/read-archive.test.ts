import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTar } from "../../src/format/tar/index.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { goFileMode, rfc3339 } from "./file-stat.ts";
import { exportTree, pathStat, readArchive } from "./read-archive.ts";
import { absolutePath, nameOf } from "./resolve.ts";
import { treeUsage } from "./tree-usage.ts";

const isRoot = process.getuid?.() === 0;
let base = "";
const root = (): string => join(base, "root");
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "vch-tree-"));
  mkdirSync(root());
});
afterEach(() => rmSync(base, { recursive: true }));

const shell = (script: string): string => execFileSync("bash", ["-ec", script], { cwd: base, encoding: "utf8" });
const save = async (tar: AsyncIterable<Uint8Array>): Promise<void> => {
  const sink = Bun.file(join(base, "a.tar")).writer();
  for await (const chunk of tar) sink.write(chunk);
  await sink.end();
};
const listing = async (path: string): Promise<string[]> => {
  await save((await readArchive(root(), path)).tar);
  return shell("tar -P -tf a.tar").split("\n").filter(Boolean);
};
const describeTree = (name: string): string =>
  shell(`cd ${name}
    find . -mindepth 1 -printf '%p %y %m %U %G %T@ %n %l\\n' | LC_ALL=C sort
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
    getfattr -R -P -h -d -m '^(user|security\\.capability)' . 2>/dev/null || true
    find . \\( -type b -o -type c \\) -print0 | LC_ALL=C sort -z | xargs -0 -r stat -c '%n %t %T'`);
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "none",
    (error: unknown) => (error instanceof LinkError ? error.code : String(error)),
  );
/** Descriptors on the tree; the runtime has others, which come and go. */
const openFiles = (): number =>
  shell(`ls -l /proc/${process.pid}/fd`)
    .split("\n")
    .filter((line) => line.includes(` -> ${root()}`)).length;

test("paths as dockerd reads them", () => {
  const forms: Record<string, [string, string]> = {
    "": ["/.", "."],
    "/": ["/", "/"],
    ".": ["/.", "."],
    "/.": ["/.", "."],
    a: ["/a", "a"],
    "/a/b/": ["/a/b/", "b"],
    "a/b/.": ["/a/b/.", "."],
    "a/./b//c": ["/a/b/c", "c"],
    "/a/b/..": ["/a", "a"],
    "../..": ["/", "/"],
  };
  for (const [path, [absolute, name]] of Object.entries(forms)) {
    expect([path, absolutePath(path), nameOf(absolutePath(path))]).toEqual([path, absolute, name]);
  }
});

test("Go's file modes and times", () => {
  // Values of Go's fs.FileMode constants.
  expect(goFileMode(0o40755)).toBe(0x80000000 + 0o755);
  expect(goFileMode(0o120777)).toBe(0x08000000 + 0o777);
  expect(goFileMode(0o104711)).toBe(0x00800000 + 0o711);
  expect(goFileMode(0o041777)).toBe(0x80100000 + 0o777);
  expect(goFileMode(0o020666)).toBe(0x04200000 + 0o666);
  expect(rfc3339(-750_000_000n)).toBe("1969-12-31T23:59:59.250000000Z");
  expect(rfc3339(1_000_000_000n)).toBe("1970-01-01T00:00:01Z");
});

test("stat tells the name as asked, and where symlinks lead", async () => {
  shell(`mkdir -p root/real/sub; echo hi > root/real/sub/f; ln -s /real root/abs; ln -s ../../../abs/sub root/real/up
    ln -s /gone/x root/dangling; ln -s /etc/passwd root/outside; chmod 4755 root/real/sub/f; ln -s loop root/loop`);
  expect(await pathStat(root(), "/abs/sub/f")).toMatchObject({
    name: "f",
    size: 3,
    mode: 0x00800000 + 0o755,
    linkTarget: "",
  });
  expect(await pathStat(root(), "abs")).toMatchObject({ name: "abs", mode: 0x08000000 + 0o777, linkTarget: "/real" });
  expect(await pathStat(root(), "abs/")).toMatchObject({ name: "abs", mode: 0x80000000 + 0o755, linkTarget: "" });
  expect(await pathStat(root(), "abs/.")).toMatchObject({ name: ".", linkTarget: "" });
  expect((await pathStat(root(), "/real/up")).linkTarget).toBe("/real/sub");
  expect((await pathStat(root(), "/dangling")).linkTarget).toBe("/gone/x");
  expect((await pathStat(root(), "/outside")).linkTarget).toBe("/etc/passwd");
  expect((await pathStat(root(), "/")).name).toBe("/");
  expect(await codeOf(pathStat(root(), "/none/x"))).toBe("not-found");
  expect(await codeOf(pathStat(root(), "/outside/"))).toBe("not-found");
  expect(await codeOf(pathStat(root(), "/real/sub/f/"))).toBe("not-a-directory");
  expect(await codeOf(pathStat(root(), "/loop/x"))).toBe("invalid");
});

test("members are named below the path's last component", async () => {
  shell("mkdir -p root/d/s; touch root/d/s/f; ln -s d root/l");
  expect(await listing("/d")).toEqual(["d/", "d/s/", "d/s/f"]);
  expect(await listing("/d/.")).toEqual(["./", "./s/", "./s/f"]);
  expect(await listing("/l/")).toEqual(["l/", "l/s/", "l/s/f"]);
  expect(await listing("/l")).toEqual(["l"]);
  expect(await listing("/d/s/f")).toEqual(["f"]);
  expect(await listing("/")).toEqual(["/", "/d/", "/d/s/", "/d/s/f", "/l"]);
});

describe.if(isRoot)("whole trees", () => {
  test("GNU tar extracts the same tree", async () => {
    shell(`mkdir -p root/a/b root/c; cd root
      echo x > a/f; chown 70000:3000000 a/f; chmod 6711 a/f; ln a/f c/hard; ln -s ../a/f c/soft; ln c/soft c/soft2
      mknod c/dev b 259 70000; mknod c/tty c 5 0; mkfifo c/fifo; ln c/fifo c/fifo2; truncate -s 2M c/holes
      cp /bin/true c/ping; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 c/ping
      head -c 600001 /dev/urandom > c/random; printf y > "$(printf 'c/\\xff')"; ln -s "$(printf '\\xfe')" c/rawlink
      n=$(printf 'n%.0s' $(seq 200)); mkdir -p $n/$n; echo long > $n/$n/$n
      perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0); bind(S,sockaddr_un("sock"))'
      find . -print0 | xargs -0 touch -h -d '2001-02-03 04:05:06.123456789'`);
    await save(exportTree(root()));
    expect(openFiles()).toBe(0);
    shell(
      "mkdir out; tar -C out --xattrs --xattrs-include='*' -pxf a.tar; rm root/sock; touch -d '2001-02-03 04:05:06.123456789' root",
    );
    expect(describeTree("out")).toBe(describeTree("root"));
  });

  test("a deep tree, deeper than a path can be", async () => {
    shell(`perl -e 'chdir "root"; for (1..900) { mkdir "deeper"; chdir "deeper" } open F, ">f"'`);
    await save(exportTree(root()));
    expect(shell("tar -tf a.tar | wc -l").trim()).toBe("901");
  });
});

test("files that change while they are read keep the archive valid", async () => {
  writeFileSync(join(root(), "a"), Buffer.alloc(1_000_000, 1));
  writeFileSync(join(root(), "b"), "b");
  for (const change of [
    () => truncateSync(join(root(), "a"), 300_000),
    () => appendFileSync(join(root(), "a"), "more".repeat(99)),
  ]) {
    writeFileSync(join(root(), "a"), Buffer.alloc(1_000_000, 1));
    let changed = false;
    const names: string[] = [];
    for await (const entry of readTar((await readArchive(root(), "/.")).tar)) {
      names.push(entry.header.name);
      if (entry.header.type !== "file") continue;
      let length = 0;
      for await (const chunk of entry.body) {
        length += chunk.length;
        if (!changed) change();
        changed = true;
      }
      expect(length).toBe(entry.header.size);
    }
    expect(names).toEqual(["./", "./a", "./b"]);
  }
});

test("what vanishes is left out, and an iterator given up closes its files", async () => {
  shell("mkdir -p root/a root/z; touch root/z/f");
  writeFileSync(join(root(), "a", "big"), Buffer.alloc(400_000));
  const { tar } = await readArchive(root(), "/");
  await tar.next();
  expect(openFiles()).toBeGreaterThan(0);
  rmSync(join(root(), "z"), { recursive: true });
  let last = await tar.next();
  while (!last.done) last = await tar.next();
  expect(openFiles()).toBe(0);

  const unread = await readArchive(root(), "/");
  await unread.tar.return?.();
  const half = await readArchive(root(), "/");
  await half.tar.next();
  await half.tar.return?.();
  expect(openFiles()).toBe(0);
});

test("usage counts the filesystem", () => {
  writeFileSync(join(base, "content"), "a file takes at least a block");
  const { usedBytes, totalBytes } = treeUsage(base);
  expect(totalBytes).toBeGreaterThanOrEqual(usedBytes);
  expect(usedBytes).toBeGreaterThan(0);
});
