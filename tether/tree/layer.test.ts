import { afterEach, beforeEach, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTreeRecords } from "../../src/link/tree-record.ts";
import { listTree } from "./list.ts";
import { packLayer } from "./pack-layer.ts";

let base = "";
const root = (): string => join(base, "root");
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "vch-layer-"));
  mkdirSync(root());
});
afterEach(() => rmSync(base, { recursive: true }));
const shell = (script: string): string => execFileSync("bash", ["-ec", script], { cwd: base, encoding: "utf8" });

async function* bytes(...texts: string[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const text of texts) yield Buffer.from(text, "latin1");
}

test("a list has every file with inode, times, mode and owner as stat tells them", async () => {
  shell("cd root; mkdir -p d/e; echo x > d/e/f; ln -s /etc l; mkfifo p; chmod 4755 d/e/f; touch d-1 'd x'");
  const listed = await Array.fromAsync(readTreeRecords(listTree(root())));
  const told = listed.map(({ path, inode, mode, uid, gid }) => `${path} ${inode} ${mode.toString(16)} ${uid} ${gid}`);
  const real = shell("cd root; find . -mindepth 1 -exec stat -c '%n %i %f %u %g' {} +")
    .split("\n")
    .filter(Boolean)
    .map((line) => line.slice(2));
  expect(told.sort()).toEqual(real.sort());
  expect(listed.map(({ path }) => path)).toEqual(["d", "d/e", "d/e/f", "d x", "d-1", "l", "p"]);
});

test("a layer holds the named paths and whiteouts, in any cut of the list, and leaves out what has gone", async () => {
  shell("cd root; mkdir d; echo content > d/f; ln d/f d/g; ln -s ../../etc/passwd d/s; ln -s d way; echo no > other");
  const pieces = ["Pd\0Pd/", "f\0Pd/g\0Pd", "/s\0Dd/old\0Dtop\0Pgone\0Pway/f\0"];
  await Bun.write(join(base, "layer.tar"), Buffer.concat(await Array.fromAsync(packLayer(root(), bytes(...pieces)))));
  expect(shell("tar -tf layer.tar").split("\n").filter(Boolean)).toEqual([
    "d/",
    "d/f",
    "d/g",
    "d/s",
    "d/.wh.old",
    ".wh.top",
  ]);
  expect(shell("tar -xOf layer.tar d/f")).toBe("content\n");
  expect(shell("tar -tvf layer.tar d/g d/s")).toMatch(/link to d\/f\n.*-> \.\.\/\.\.\/etc\/passwd/);
});

test("an empty list gives an archive of two empty blocks; a malformed one is refused", async () => {
  expect(Buffer.concat(await Array.fromAsync(packLayer(root(), bytes())))).toEqual(Buffer.alloc(1024));
  for (const text of ["Xa\0", "P\0", "Pa", `P${"a".repeat(5000)}`])
    expect(Array.fromAsync(packLayer(root(), bytes(text)))).rejects.toThrow(/malformed|ended early|longer/);
});
