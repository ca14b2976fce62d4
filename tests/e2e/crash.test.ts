/** Endpoint and lab are killed with SIGKILL at random moments of every operation; afterwards everything must agree. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DIRECT, expectConsistent } from "./consistency.ts";
import { BUSYBOX, image, type Result, run, STATE, uniqueName } from "./docker.ts";

/** Kills per operation and victim; more by hand. */
const ROUNDS = Number(process.env.VCH_CRASH_ROUNDS ?? 1);
const TEST_LIMIT_MILLISECONDS = 900_000 * ROUNDS;
/** A command that is still waiting this long after its server was killed hangs. */
const CLIENT_LIMIT_MILLISECONDS = 300_000;

const docker = (...command: string[]): Promise<Result> =>
  run(["docker", ...command], { environment: DIRECT, timeoutMilliseconds: CLIENT_LIMIT_MILLISECONDS });

async function dockerOk(...command: string[]): Promise<string> {
  const result = await docker(...command);
  expect(result, `docker ${command.join(" ")}`).toMatchObject({ code: 0 });
  return result.stdout.replace(/\n$/, "");
}

type Victim = "serve" | "lab";

async function kill(victim: Victim): Promise<void> {
  const record = JSON.parse(await readFile(join(STATE, `run/${victim}.json`), "utf8")) as { pid: number };
  process.kill(record.pid, "SIGKILL");
}

async function restart(): Promise<void> {
  expect(await run(["dist/vch", "up", "--state", STATE])).toMatchObject({ code: 0 });
}

interface Operation {
  name: string;
  /** Milliseconds after the command's start within which the kill falls. */
  within: number;
  prepare?: (name: string) => Promise<unknown>;
  command: (name: string) => string[];
  /** A repeat of the operation, or what a user would do next, works. */
  repeat: (name: string) => Promise<unknown>;
}

const operations: Operation[] = [
  {
    name: "pull",
    within: 8000,
    prepare: () => docker("rmi", "-f", image("layers40")),
    command: () => ["pull", image("layers40")],
    repeat: async () => {
      await dockerOk("pull", "-q", image("layers40"));
      expect(await dockerOk("run", "--rm", image("layers40"), "cat", "/layers/last")).toBe("39");
    },
  },
  {
    name: "create",
    within: 3000,
    command: (name) => [
      "create",
      "--name",
      name,
      "-v",
      "/anonymous",
      "-v",
      `${name}:/named`,
      BUSYBOX,
      "echo",
      "created",
    ],
    repeat: async (name) => {
      if ((await docker("inspect", name)).code !== 0)
        await dockerOk("create", "--name", name, "-v", `${name}:/named`, BUSYBOX, "echo", "created");
      expect(await dockerOk("start", "-a", name)).toBe("created");
    },
  },
  {
    name: "start",
    within: 9000,
    prepare: (name) => dockerOk("create", "--name", name, "-p", "80", BUSYBOX, "sh", "-c", "echo started; sleep 2"),
    command: (name) => ["start", name],
    repeat: async (name) => {
      await dockerOk("start", name);
      expect(await dockerOk("wait", name)).toBe("0");
      expect(await dockerOk("logs", name)).toContain("started");
    },
  },
  {
    name: "exec",
    within: 1500,
    prepare: (name) => dockerOk("run", "-d", "--name", name, BUSYBOX, "sleep", "100000"),
    command: (name) => ["exec", name, "sh", "-c", "sleep 1; echo executed"],
    repeat: async (name) => expect(await dockerOk("exec", name, "echo", "again")).toBe("again"),
  },
  {
    name: "cp",
    within: 8000,
    prepare: (name) => dockerOk("create", "--name", name, BUSYBOX, "true"),
    command: (name) => ["cp", "/bin/busybox", `${name}:/copied`],
    repeat: async (name) => {
      await dockerOk("cp", "/bin/busybox", `${name}:/copied`);
      const sums = await run(["sh", "-c", `docker cp ${name}:/copied - | tar -xOf - copied | cmp - /bin/busybox`], {
        environment: DIRECT,
      });
      expect(sums).toMatchObject({ code: 0 });
    },
  },
  {
    name: "stop",
    within: 4000,
    prepare: (name) => dockerOk("run", "-d", "--name", name, "-p", "81", BUSYBOX, "sleep", "100000"),
    command: (name) => ["stop", "-t", "2", name],
    repeat: async (name) => {
      await dockerOk("stop", "-t", "1", name);
      expect(await dockerOk("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)).toBe("exited 137");
    },
  },
  {
    name: "rm",
    within: 800,
    prepare: (name) => dockerOk("create", "--name", name, "-v", "/anonymous", BUSYBOX, "true"),
    command: (name) => ["rm", "-v", name],
    repeat: async (name) => {
      await docker("rm", "-fv", name);
      expect((await docker("inspect", name)).code).toBe(1);
    },
  },
  {
    name: "rm -f",
    within: 3000,
    prepare: (name) => dockerOk("run", "-d", "--name", name, "-v", "/anonymous", BUSYBOX, "sleep", "100000"),
    command: (name) => ["rm", "-fv", name],
    repeat: async (name) => {
      await docker("rm", "-fv", name);
      expect((await docker("inspect", name)).code).toBe(1);
    },
  },
];

const bystander = uniqueName("bystander");

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await dockerOk(
    "run",
    "-d",
    "--name",
    bystander,
    BUSYBOX,
    "sh",
    "-c",
    "while :; do cut -d. -f1 /proc/uptime; sleep 1; done",
  );
}, TEST_LIMIT_MILLISECONDS);

afterAll(async () => {
  await restart();
  await docker("rm", "-f", bystander);
}, TEST_LIMIT_MILLISECONDS);

async function round(victim: Victim, operation: Operation): Promise<void> {
  const name = uniqueName(`crash-${operation.name.replaceAll(/[^a-z]/g, "")}`);
  await operation.prepare?.(name);
  const client = docker(...operation.command(name));
  const delay = Math.floor(Math.random() * operation.within);
  await Bun.sleep(delay);
  await kill(victim);
  const what = `${victim} killed ${delay} ms after the beginning of ${operation.name}`;
  await restart();
  const { code, stderr } = await client;
  console.log(`${what}: the client ended with ${code} ${stderr.trim().slice(0, 200)}`);
  await operation.repeat(name);
  await docker("rm", "-fv", name);
  await docker("volume", "rm", name);
  await expectConsistent(what);
  // The container that took no part never noticed.
  expect(await dockerOk("inspect", "-f", "{{.State.Running}} {{.RestartCount}}", bystander)).toBe("true 0");
}

for (const victim of ["serve", "lab"] as const)
  for (const operation of operations)
    test(
      `SIGKILL of ${victim} during docker ${operation.name}`,
      async () => {
        for (let count = 0; count < ROUNDS; count++) await round(victim, operation);
      },
      TEST_LIMIT_MILLISECONDS,
    );

test(
  "the log of the container that took no part has no gap",
  async () => {
    const seconds = (await dockerOk("logs", bystander)).split("\n").map(Number);
    expect(seconds.length).toBeGreaterThan(5);
    const gaps = seconds.slice(1).map((second, index) => second - (seconds[index] ?? 0));
    // Of its own clock, which stops when the VM does; a VM that had been started again would begin at 0.
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(0);
  },
  TEST_LIMIT_MILLISECONDS,
);
