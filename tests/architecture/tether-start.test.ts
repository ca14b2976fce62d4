import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/** What the tether may load before a container's process runs: under emulation node:crypto takes half a second, node:path 30 ms. */
const ALLOWED = ["bun:ffi", "fs"];

test("what is loaded before a container's process runs needs no more of Bun's modules than it must", async () => {
  const outdir = mkdtempSync(join(tmpdir(), "vch-bundle-"));
  try {
    const { outputs } = await Bun.build({
      entrypoints: [join(import.meta.dir, "../../tether/main.ts")],
      target: "bun",
      format: "esm",
      splitting: true,
      minify: true,
      outdir,
    });
    const texts = new Map(outputs.map(({ path }) => [basename(path), readFileSync(path, "utf8")]));
    const loaded = new Set<string>();
    const load = (name: string): void => {
      if (loaded.has(name)) return;
      loaded.add(name);
      for (const [, imported = ""] of (texts.get(basename(name)) ?? "").matchAll(/\b(?:from|import)\s*"([^"]+)"/g))
        load(imported);
    };
    load("main.js");
    expect(outputs.length).toBeGreaterThan(3);
    expect([...loaded].filter((name) => !name.endsWith(".js")).sort()).toEqual(ALLOWED);
  } finally {
    rmSync(outdir, { recursive: true });
  }
});
