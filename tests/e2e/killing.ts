/** Kills processes of the environment as a crash would, and starts them again. */
import { expect } from "bun:test";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run, STATE } from "./docker.ts";

export type Victim = "serve" | "lab";

/** SIGKILL. The proxy that checks responses is told before that the endpoint's may end early. */
export async function kill(victim: Victim): Promise<void> {
  const record = JSON.parse(await readFile(join(STATE, `run/${victim}.json`), "utf8")) as { pid: number };
  const announcement = process.env.VCH_E2E_KILLS;
  if (victim === "serve" && announcement !== undefined) await writeFile(announcement, "");
  process.kill(record.pid, "SIGKILL");
}

/** Starts what is not running. */
export async function restart(): Promise<void> {
  expect(await run(["dist/vch", "up", "--state", STATE])).toMatchObject({ code: 0 });
}
