import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FormatError } from "../format-error";
import { bytesContent, type IsoDirectory, type IsoEntry, type IsoNode, planIso, readIso, readIsoFile } from "./index";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-iso-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function directory(entries: Record<string, IsoNode>, mode = 0o755): IsoDirectory {
  return { type: "directory", mode, entries: new Map(Object.entries(entries)) };
}

function file(text: string, mode = 0o644): IsoNode {
  return { type: "file", mode, content: bytesContent(Buffer.from(text)) };
}

async function make(root: IsoDirectory): Promise<Uint8Array<ArrayBuffer>> {
  const image = planIso({ volumeId: "TEST", time: 1_000_000_000, root });
  const bytes = new Uint8Array(Buffer.concat(await Array.fromAsync(image.stream())));
  expect(bytes.length).toBe(image.size);
  return bytes;
}

async function list(bytes: Uint8Array<ArrayBuffer>): Promise<Map<string, IsoEntry>> {
  const entries = await Array.fromAsync(readIso(new Blob([bytes])));
  return new Map(entries.map((entry) => [entry.path, entry]));
}

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, {
    cwd: folder,
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: process.env.PATH, LC_ALL: "C.UTF-8" },
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
  return output;
}

const name = fc
  .string({ unit: "grapheme", minLength: 1, maxLength: 80 })
  .filter(
    (text) =>
      !/[/\0]/.test(text) && text !== "." && text !== ".." && Buffer.byteLength(text) <= 255 && text.isWellFormed(),
  );
const target = fc
  .array(fc.oneof(name, fc.constant("..")), { minLength: 1, maxLength: 12 })
  .map((parts) => parts.join("/"));
const { root: treeArbitrary } = fc.letrec<{ root: IsoDirectory; node: IsoNode }>((tie) => ({
  root: fc
    .uniqueArray(fc.tuple(name, tie("node")), { maxLength: 12, selector: ([key]) => key })
    .map((entries) => ({ type: "directory" as const, mode: 0o755, entries: new Map(entries) })),
  node: fc.oneof(
    { maxDepth: 4 },
    fc.record({
      type: fc.constant("file" as const),
      mode: fc.nat(0o7777),
      uid: fc.nat(70000),
      content: fc.uint8Array({ maxLength: 5000 }).map(bytesContent),
    }),
    fc.record({ type: fc.constant("symlink" as const), target }),
    tie("root"),
  ),
}));

describe("iso9660", () => {
  test("gives back the tree that was written", async () => {
    await fc.assert(
      fc.asyncProperty(treeArbitrary, async (root) => {
        const bytes = await make(root);
        const found = await list(bytes);
        let count = 0;
        const check = async (tree: IsoDirectory, path: string): Promise<void> => {
          for (const [key, node] of tree.entries) {
            count++;
            const entry = found.get(`${path}/${key}`);
            expect(entry?.type).toBe(node.type);
            if (node.type === "symlink") expect(entry?.target).toBe(node.target);
            if (node.type === "directory") await check(node, `${path}/${key}`);
            if (node.type === "file" && entry !== undefined) {
              expect([entry.mode, entry.uid, entry.size]).toEqual([node.mode, node.uid ?? 0, node.content.size]);
              const content = Buffer.concat(await Array.fromAsync(readIsoFile(new Blob([bytes]), entry)));
              expect(content.equals(Buffer.concat(await Array.fromAsync(node.content.stream())))).toBe(true);
            }
          }
        };
        await check(root, "");
        expect(found.size).toBe(count);
      }),
      { numRuns: 100 },
    );
  });

  test("is read by xorriso and isoinfo as it was written", async () => {
    const deep = Array.from({ length: 12 }).reduce<IsoDirectory>(
      (inner) => directory({ level: inner }),
      directory({ end: file("deep") }),
    );
    const many = Object.fromEntries(
      Array.from({ length: 300 }, (_, index) => [`a file with a long name, number ${index}`, file(String(index))]),
    );
    const long = "n".repeat(255);
    const root = directory({
      deep,
      many: directory(many),
      [long]: file("long", 0o4755),
      link: { type: "symlink", target: `/${"t/".repeat(150)}..` },
      empty: directory({}, 0o1777),
      "größe.tar.gz": file("ü"),
    });
    await Bun.write(join(folder, "t.iso"), await make(root));
    const listing = await run("xorriso", "-indev", "t.iso", "-find", "/", "-exec", "lsdl");
    expect(listing).toContain(`-rwsr-xr-x    1 0        0               4 Sep  9  2001 '/${long}'`);
    expect(listing).toContain("drwxrwxrwt    1 0        0               0 Sep  9  2001 '/empty'");
    expect(listing).toContain(`-> '/${"t/".repeat(150)}..'`);
    expect(listing).toContain(`'/deep${"/level".repeat(12)}/end'`);
    expect(listing.split("\n").filter((line) => line.includes("a file with a long name")).length).toBe(300);
    expect(await run("isoinfo", "-R", "-i", "t.iso", "-x", "/größe.tar.gz")).toBe("ü");
    await run("xorriso", "-osirrox", "on", "-indev", "t.iso", "-extract", "/many", "out");
    expect(await Bun.file(join(folder, "out/a file with a long name, number 217")).text()).toBe("217");
  });

  test("announces boot images of both kinds of firmware, and fills in the boot information", async () => {
    const bios = { type: "file" as const, mode: 0o644, content: bytesContent(new Uint8Array(5000).fill(3)) };
    const efi = { type: "file" as const, mode: 0o644, content: bytesContent(new Uint8Array(4096).fill(4)) };
    const image = planIso({
      volumeId: "BOOT",
      time: 0,
      root: directory({ bios, efi }),
      boot: [
        { platform: "bios", file: bios, loadSectors: 4 },
        { platform: "efi", file: efi, loadSectors: 8 },
      ],
      bootInformation: [bios],
    });
    await Bun.write(join(folder, "boot.iso"), Buffer.concat(await Array.fromAsync(image.stream())));
    const report = await run("xorriso", "-indev", "boot.iso", "-report_el_torito", "plain");
    expect(report).toMatch(/El Torito boot img : +1 +BIOS +y +none .* 4 /);
    expect(report).toMatch(/El Torito boot img : +2 +UEFI +y +none .* 8 /);
    expect(report).toContain("boot-info-table");
  });

  test("gives the same bytes for the same tree", async () => {
    const tree = () => directory({ b: file("1"), a: directory({ c: file("2") }) });
    expect(Buffer.from(await make(tree())).equals(await make(tree()))).toBe(true);
  });

  test("refuses what cannot be stored, and damaged images", async () => {
    expect(() => planIso({ volumeId: "T", time: 0, root: directory({ "a/b": file("") }) })).toThrow(FormatError);
    const changing = { type: "file" as const, mode: 0o644, content: { size: 3, stream: () => [new Uint8Array(2)] } };
    await expect(make(directory({ changing }))).rejects.toThrow("changed its size");
    await expect(list(new Uint8Array(100_000))).rejects.toThrow("not an ISO 9660 image");
    const good = await make(directory({ a: directory({ b: file("x") }), link: { type: "symlink", target: "a/b" } }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 32_768, max: good.length - 1 }), fc.nat(255)), { maxLength: 20 }),
        async (damage) => {
          const bytes = new Uint8Array(good);
          for (const [at, value] of damage) bytes[at] = value;
          await list(bytes).catch((error) => expect(error).toBeInstanceOf(FormatError));
        },
      ),
      { numRuns: 300 },
    );
  });
});
