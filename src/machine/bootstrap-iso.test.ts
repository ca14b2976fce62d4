import { expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBootstrapIso, keepBootstrapIso } from "./bootstrap-iso.ts";
import { statePaths } from "./paths.ts";

test("an ISO that somebody chose is left alone, also by another build of the program, which says so", async () => {
  const paths = statePaths(await mkdtemp(join(tmpdir(), "vch-iso-")));
  const said: string[] = [];
  const ensure = (): Promise<string> => ensureBootstrapIso(paths, (line) => said.push(line));
  try {
    await Bun.write(paths.iso, "chosen");
    await keepBootstrapIso(paths);
    expect(await ensure()).toBe(paths.iso);
    expect(said).toEqual([]);
    await Bun.write(`${paths.iso}.build`, `${"0".repeat(64)} 1 chosen\n`);
    expect(await ensure()).toBe(paths.iso);
    expect(said).toEqual([expect.stringContaining("another build of vch")]);
    expect(await readFile(paths.iso, "utf8")).toBe("chosen");
  } finally {
    await rm(paths.root, { recursive: true });
  }
});
