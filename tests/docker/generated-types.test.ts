/** The committed types against the generator, which is fetched from npm into the tests' cache in pinned versions. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { generateTypes, TYPES_FILE } from "../../src/docker/openapi/generate.ts";

const TOOLS = join(import.meta.dir, "types-generator");
const CACHE = process.env.VCH_TEST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "vch-tests");
const INSTALL_LIMIT_MILLISECONDS = 180_000;

/** A folder with the tools of exactly this lock file. */
async function installedTools(): Promise<string> {
  const lock = await Bun.file(join(TOOLS, "bun.lock")).bytes();
  const folder = join(CACHE, `types-generator-${createHash("sha256").update(lock).digest("hex").slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  const making = `${folder}.${process.pid}`;
  await mkdir(CACHE, { recursive: true });
  await cp(TOOLS, making, { recursive: true });
  try {
    const install = Bun.spawn([process.execPath, "install", "--frozen-lockfile", "--ignore-scripts"], {
      cwd: making,
      stdout: "ignore",
      stderr: "pipe",
      timeout: INSTALL_LIMIT_MILLISECONDS,
    });
    const [errors, code] = await Promise.all([install.stderr.text(), install.exited]);
    if (code !== 0) throw new Error(`the types' generator cannot be fetched from npm: ${errors}`);
    await rename(making, folder);
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return folder;
}

test(
  "the engine's types are what the generator makes of the API document",
  async () => {
    expect(await Bun.file(TYPES_FILE).text()).toBe(await generateTypes(await installedTools()));
  },
  INSTALL_LIMIT_MILLISECONDS + 60_000,
);
