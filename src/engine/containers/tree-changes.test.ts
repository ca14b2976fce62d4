import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compareTreePaths, encodeTreeRecord, readTreeRecords, type TreeRecord } from "../../link/tree-record.ts";
import { treeChanges } from "./tree-changes.ts";

const DIRECTORY = 0o040755;
const FILE = 0o100644;

async function* stream<T>(items: readonly T[]): AsyncGenerator<T, void, undefined> {
  yield* items;
}

/** `name/` is a directory; a number behind a colon is the change time. */
const tree = (...entries: string[]): TreeRecord[] =>
  entries
    .map((entry, index): TreeRecord => {
      const [name = "", changed = "0"] = entry.split(":");
      const isDirectory = name.endsWith("/");
      const path = isDirectory ? name.slice(0, -1) : name;
      const mode = isDirectory ? DIRECTORY : FILE;
      return { path, inode: BigInt(index * 0), changed: BigInt(changed), mode, uid: 0, gid: 0 };
    })
    .sort((a, b) => compareTreePaths(a.path, b.path));

const diff = async (before: TreeRecord[], after: TreeRecord[]): Promise<string[]> =>
  (await Array.fromAsync(treeChanges(stream(before), stream(after)))).map(({ path, kind }) => `${"CAD"[kind]} ${path}`);

describe("docker diff", () => {
  test("nothing changed", async () => {
    expect(await diff(tree("a", "d/", "d/x"), tree("a", "d/", "d/x"))).toEqual([]);
  });

  test("a changed, an added and a removed file, with the directories above them", async () => {
    const before = tree("a", "d/", "d/x", "e/", "e/f/", "e/f/y", "quiet/", "quiet/z");
    const after = tree("a:1", "d/", "d/x", "d/new", "e/", "e/f/", "quiet/", "quiet/z");
    expect(await diff(before, after)).toEqual(["C a", "C d", "A d/new", "C e", "C e/f", "D e/f/y"]);
  });

  test("a removed directory is told once, an added one with all it holds", async () => {
    expect(await diff(tree("d/", "d/x", "d/y"), tree("n/", "n/x"))).toEqual(["D d", "A n", "A n/x"]);
  });

  test("names that begin like a removed directory are others", async () => {
    expect(await diff(tree("d/", "d/x", "d-1", "dx"), tree("dx"))).toEqual(["D d", "D d-1"]);
  });

  test("a directory that became a file hides what was below", async () => {
    expect(await diff(tree("d/", "d/x"), tree("d:1"))).toEqual(["C d"]);
  });

  test("mount points of the tether are no changes; what is beside them is", async () => {
    const after = tree("dev/:1", "dev/null", "etc/", "etc/hosts", "etc/resolv.conf", "proc/", "sys/");
    expect(await diff([], after)).toEqual([]);
    expect(await diff([], tree("etc/", "etc/hosts", "etc/mine"))).toEqual(["A etc", "A etc/mine"]);
    expect(await diff(tree("etc/"), tree("etc/", "etc/hosts:5", "etc/mine"))).toEqual(["C etc", "A etc/mine"]);
  });

  test("changes applied to the first tree give the second", async () => {
    const name = fc.constantFrom("a", "b", "a-", "a.b", "c");
    const paths = fc.uniqueArray(fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/")));
    /** Paths with their parents as directories, leaves as files. */
    const closed = (leaves: string[], time: bigint): TreeRecord[] => {
      const all = new Map<string, boolean>();
      for (const leaf of leaves) {
        const parts = leaf.split("/");
        for (let length = 1; length <= parts.length; length++) {
          const path = parts.slice(0, length).join("/");
          all.set(path, (all.get(path) ?? false) || length < parts.length);
        }
      }
      return [...all]
        .map(([path, isDirectory]) => ({
          path,
          inode: 1n,
          changed: time,
          mode: isDirectory ? DIRECTORY : FILE,
          uid: 0,
          gid: 0,
        }))
        .sort((a, b) => compareTreePaths(a.path, b.path));
    };
    await fc.assert(
      fc.asyncProperty(paths, paths, async (first, second) => {
        const [before, after] = [closed(first, 1n), closed(second, 2n)];
        const result = new Map(before.map((record) => [record.path, record.mode]));
        const modes = new Map(after.map((record) => [record.path, record.mode]));
        for await (const { path, kind } of treeChanges(stream(before), stream(after))) {
          const isGone = kind === 2 || modes.get(path) === FILE;
          if (isGone) for (const other of [...result.keys()]) if (other.startsWith(`${path}/`)) result.delete(other);
          if (kind === 2) result.delete(path);
          else result.set(path, modes.get(path) ?? -1);
        }
        expect(new Map([...result].sort())).toEqual(new Map([...modes].sort()));
      }),
    );
  });
});

describe("records of a tree", () => {
  const record = tree("some/path:7")[0] as TreeRecord;

  test("survive being cut anywhere", async () => {
    const records = tree("a", "b/", "b/\xff", "c:18446744073709551615");
    const bytes = Buffer.concat(records.map(encodeTreeRecord));
    for (const size of [1, 3, 40, 1000]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
        bytes.subarray(index * size, (index + 1) * size),
      );
      expect(await Array.fromAsync(readTreeRecords(stream(pieces)))).toEqual(records);
    }
  });

  test("malformed, truncated and unordered ones are refused", async () => {
    const good = encodeTreeRecord(record);
    const read = (...pieces: Uint8Array[]) => Array.fromAsync(readTreeRecords(stream(pieces)));
    expect(read(good, good)).rejects.toThrow("malformed");
    expect(read(good.subarray(0, 20))).rejects.toThrow("malformed");
    expect(read(Buffer.alloc(64, 0xff))).rejects.toThrow("malformed");
  });
});
