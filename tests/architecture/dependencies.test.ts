import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

/**
 * Dependencies point one way (docs/architecture.md). Each area names the areas that it may import; a file may always import
 * from its own area. Test files may import anything: what they check crosses areas.
 */
const MAY_IMPORT: Record<string, string[]> = {
  "main.ts": ["src/cli"],
  "src/cli": ["src/machine", "src/ca", "iso-builder"],
  "src/machine": [
    "src/docker",
    "src/engine",
    "src/vsphere",
    "src/network",
    "src/registry",
    "src/share",
    "src/ca",
    "src/lab",
    "iso-builder",
    "src/format",
    "dist/assets",
    "package.json",
  ],
  "src/docker": ["src/engine"],
  "src/engine": ["src/vsphere", "src/link", "src/network", "src/registry", "src/share", "src/format"],
  "src/registry": ["src/format"],
  "src/network": ["src/format"],
  "src/share": ["src/format"],
  "src/vsphere": ["src/format"],
  "src/link": ["src/format"],
  "src/ca": [],
  "src/lab": ["src/vsphere/vim25", "src/format"],
  "src/format": [],
  tether: ["src/link", "src/format"],
  "iso-builder": ["src/format"],
};

const root = join(import.meta.dir, "../..");
const areas = Object.keys(MAY_IMPORT).sort((a, b) => b.length - a.length);
const areaOf = (path: string): string | undefined => areas.find((area) => path === area || path.startsWith(`${area}/`));

const files = [
  ...["main.ts", "src/**/*.ts", "tether/**/*.ts", "iso-builder/**/*.ts"].flatMap((pattern) => [
    ...new Bun.Glob(pattern).scanSync({ cwd: root }),
  ]),
].filter((file) => !file.endsWith(".test.ts") && !file.includes("/testing/"));

/** Repository paths that a file imports, statically, dynamically or as a type. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  return [...source.matchAll(/(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)].map((match) =>
    normalize(join(dirname(file), match[1] ?? "")),
  );
}

test("there are files to check in every area", () => {
  for (const area of areas)
    expect(
      files.filter((file) => areaOf(file) === area),
      area,
    ).not.toBeEmpty();
});

test("every import goes down", () => {
  const wrong: string[] = [];
  for (const file of files) {
    const area = areaOf(file);
    if (area === undefined) {
      wrong.push(`${file} belongs to no area: add it to MAY_IMPORT`);
      continue;
    }
    for (const imported of importsOf(file)) {
      if (areaOf(imported) === area) continue;
      const allowed = (MAY_IMPORT[area] ?? []).some((other) => imported === other || imported.startsWith(`${other}/`));
      if (!allowed)
        wrong.push(
          `${file} imports ${imported}: ${area} may import ${(MAY_IMPORT[area] ?? []).join(", ") || "nothing"}`,
        );
    }
  }
  expect(wrong).toEqual([]);
});

test("no area imports itself through another", () => {
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
    (MAY_IMPORT[from] ?? []).some((next) => {
      if (next === to || (next.startsWith(`${to}/`) && to !== from)) return true;
      if (seen.has(next)) return false;
      seen.add(next);
      return reaches(next, to, seen);
    });
  for (const area of areas) expect(reaches(area, area), area).toBe(false);
});
