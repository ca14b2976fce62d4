/** The classic builder. BuildKit runs beside it as a container of `docker buildx`; see docs/build.md. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Builds } from "../contract.ts";
import { Semaphore } from "../waiting.ts";
import { type Builder, performBuild } from "./build.ts";
import { BUILDS_AT_ONCE } from "./limits.ts";
import { pruneBuildCache } from "./prune.ts";
import { removeUnfinished, unfinishedContainers } from "./run-step.ts";

export async function makeBuilds(builder: Builder): Promise<Builds> {
  await removeSpools(builder.spoolDirectory);
  const turns = new Semaphore(BUILDS_AT_ONCE);
  return {
    build: (options) => performBuild(builder, options, turns),
    prune: (filters) => pruneBuildCache(builder.steps, filters),
  };
}

/** What a builder that was killed left behind: temporary files here, containers in the background. */
async function removeSpools(directory: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
    throw error;
  }
  for (const name of names.filter((each) => each.endsWith(".spool"))) await rm(join(directory, name), { force: true });
}

export { removeUnfinished, unfinishedContainers };
