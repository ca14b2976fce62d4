import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { encodeAttributes } from "../../src/format/file-share/attributes.ts";
import { NodeTable } from "./nodes.ts";

const attributesOf = (inode: number): Buffer =>
  encodeAttributes({
    device: 1n,
    inode: BigInt(inode),
    size: 0n,
    blocks: 0n,
    accessed: 0n,
    modified: 0n,
    changed: 0n,
    accessedNanoseconds: 0,
    modifiedNanoseconds: 0,
    changedNanoseconds: 0,
    mode: 0o100644,
    links: 1,
    uid: 0,
    gid: 0,
    deviceNumber: 0,
    blockSize: 4096,
  });
const name = (text: string): Buffer => Buffer.from(text);
const pathText = (table: NodeTable, id: number): string | undefined => {
  const node = table.get(id);
  return node && table.path(node)?.toString();
};

describe("nodes", () => {
  test("paths follow renames, also of a directory above", () => {
    const table = new NodeTable();
    const directory = table.found(table.root, name("d"), attributesOf(2));
    const file = table.found(directory, name("f"), attributesOf(3));
    expect(pathText(table, file.id)).toBe("d/f");
    table.renamed(table.root, name("d"), table.root, name("e"), false);
    expect(pathText(table, file.id)).toBe("e/f");
    table.renamed(directory, name("f"), table.root, name("g"), false);
    expect(pathText(table, file.id)).toBe("g");
    expect(table.pathOf(directory, name("new"))?.toString()).toBe("e/new");
  });

  test("hard links are one node, and one name is enough", () => {
    const table = new NodeTable();
    const node = table.found(table.root, name("a"), attributesOf(5));
    expect(table.found(table.root, name("b"), attributesOf(5))).toBe(node);
    table.removed(table.root, name("b"));
    expect(pathText(table, node.id)).toBe("a");
    table.removed(table.root, name("a"));
    expect(pathText(table, node.id)).toBeUndefined();
  });

  test("a file renamed over another one takes its name away", () => {
    const table = new NodeTable();
    const old = table.found(table.root, name("a"), attributesOf(5));
    const fresh = table.found(table.root, name("t"), attributesOf(6));
    table.renamed(table.root, name("t"), table.root, name("a"), false);
    expect(pathText(table, fresh.id)).toBe("a");
    expect(pathText(table, old.id)).toBeUndefined();
    const third = table.found(table.root, name("x"), attributesOf(7));
    table.renamed(table.root, name("x"), table.root, name("a"), true);
    expect([pathText(table, third.id), pathText(table, fresh.id)]).toEqual(["a", "x"]);
  });

  test("directories that were moved into one another at the endpoint do not loop", () => {
    const table = new NodeTable();
    const a = table.found(table.root, name("a"), attributesOf(2));
    const b = table.found(a, name("b"), attributesOf(3));
    table.found(b, name("a"), attributesOf(2));
    expect(table.path(b)).toBeUndefined();
  });

  test("whatever the kernel looks up, once it has forgotten everything only the share itself is left", () => {
    const step = fc.record({
      parent: fc.nat(20),
      name: fc.constantFrom("a", "b", "c"),
      inode: fc.integer({ min: 2, max: 12 }),
    });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 20 }),
        (steps, removed) => {
          const table = new NodeTable();
          const lookups = new Map<number, number>();
          const found = [table.root];
          for (const { parent, name: text, inode } of steps) {
            const above = found[parent % found.length] ?? table.root;
            // A directory has a lower inode here than what is in it, so that none is in itself.
            const node = table.found(above, name(text), attributesOf(Number(above.key?.split(":")[1] ?? 1) + inode));
            lookups.set(node.id, (lookups.get(node.id) ?? 0) + 1);
            found.push(node);
          }
          for (const text of removed) for (const node of found) table.removed(node, name(text));
          for (const [id, count] of lookups) table.forget(id, count);
          expect(table.size).toBe(1);
          table.forget(1, 5);
          expect(table.get(1)).toBe(table.root);
        },
      ),
    );
  });
});
