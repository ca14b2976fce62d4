/** docker-compose (Debian's, version 1) with two networks, aliases, two replicas behind a proxy and a database. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, dockerOk, type Result, run } from "./docker.ts";
import { checkShop, shopFile } from "./shop.ts";

const PROJECT = `shop${process.pid}`;
const PORT = 18390;
let directory = "";

const compose = (...words: string[]): Promise<Result> =>
  run(["docker-compose", "-p", PROJECT, "-f", join(directory, "docker-compose.yml"), ...words], {
    timeoutMilliseconds: 300_000,
  });

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-compose-"));
  await Bun.write(join(directory, "docker-compose.yml"), shopFile(PORT));
  await dockerOk("pull", "-q", BUSYBOX);
});

afterAll(async () => {
  await compose("kill");
  await compose("down", "-v");
  await rm(directory, { recursive: true });
  expect(await dockerOk("network", "ls", "--filter", `name=${PROJECT}`, "-q")).toBe("");
});

test("the project comes up, and the proxy reaches both replicas, and they the database", () =>
  checkShop(compose, PORT));

/** Rounds of a project that ends with its first container. */
const ROUNDS = 3;
const LINES = 200;

test("up --abort-on-container-exit shows all that the ending container wrote, in every round", async () => {
  const project = join(directory, "cascade.yml");
  await Bun.write(
    project,
    `
version: "2.4"
services:
  job:
    image: ${BUSYBOX}
    network_mode: none
    command: ["sh", "-c", "seq 1 ${LINES}; echo the-last-line; exit 3"]
`,
  );
  const cascade = (...words: string[]): Promise<Result> =>
    run(["docker-compose", "--no-ansi", "-p", `${PROJECT}cascade`, "-f", project, ...words], {
      timeoutMilliseconds: 200_000,
    });
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const up = await cascade("up", "--abort-on-container-exit", "--exit-code-from", "job", "--no-color");
      expect(up.stdout).toContain("the-last-line");
      expect(up.stdout.split("\n").filter((line) => /\| \d+$/.test(line.trimEnd()))).toHaveLength(LINES);
      expect(up.code).toBe(3);
    }
  } finally {
    await cascade("down", "-v");
  }
});
