/**
 * Endpoint and lab are killed with SIGKILL while several operations are under way, each of them at another random moment of
 * its own; afterwards everything must agree, nothing may be left over, and a repeat must work.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { expectConsistent } from "./consistency.ts";
import { BUSYBOX, docker as dockerCommand, dockerOk, image, type Result, run, uniqueName } from "./docker.ts";
import { kill, restart, type Victim } from "./killing.ts";

/** Kills of each victim. More find more: VCH_CRASH_ROUNDS=20 tests/e2e/with-environment bun test ./tests/e2e/crash.test.ts */
const ROUNDS = Number(process.env.VCH_CRASH_ROUNDS ?? 0);
const VICTIMS: Victim[] =
  ROUNDS > 0
    ? Array.from({ length: 2 * ROUNDS }, (_, index) => (index % 2 === 0 ? "serve" : "lab"))
    : ["serve", "serve", "serve", "lab"];
const TEST_LIMIT_MILLISECONDS = 900_000;
/** A command that is still waiting this long after its server was killed hangs. */
const CLIENT_LIMIT_MILLISECONDS = 300_000;

const docker = (...command: string[]): Promise<Result> =>
  dockerCommand(command, { timeoutMilliseconds: CLIENT_LIMIT_MILLISECONDS });

interface Operation {
  name: string;
  /** About how long it takes, in milliseconds: the kill falls at a random moment of that. */
  takes: number;
  prepare?: (name: string) => Promise<unknown>;
  command: (name: string) => string[];
  /** A repeat of the operation, or what a user would do next, works. */
  repeat: (name: string) => Promise<unknown>;
}

const bystander = uniqueName("bystander");

const operations: Operation[] = [
  {
    name: "pull",
    takes: 12_000,
    command: () => ["pull", image("layers40")],
    repeat: async (name) => {
      await dockerOk("pull", "-q", image("layers40"));
      await dockerOk("create", "--name", name, image("layers40"));
      const last = await run(["sh", "-c", `docker cp ${name}:/layers/last - | tar -xO`]);
      expect(last).toMatchObject({ code: 0, stdout: "39\n" });
      await dockerOk("rm", name);
      await dockerOk("rmi", image("layers40"));
    },
  },
  {
    name: "create",
    takes: 6000,
    command: (name) => ["create", "--name", name, "-v", "/anonymous", "-v", `${name}:/named`, BUSYBOX, "true"],
    repeat: async (name) => {
      // A create that was cut off may still be on its way out.
      await dockerOk("rm", "-fv", name);
      await dockerOk("create", "--name", name, "-v", `${name}:/named`, BUSYBOX, "true");
    },
  },
  {
    name: "start",
    takes: 9000,
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
    takes: 1500,
    command: () => ["exec", bystander, "sh", "-c", "sleep 1; echo executed"],
    repeat: async () => expect(await dockerOk("exec", bystander, "echo", "again")).toBe("again"),
  },
  {
    name: "cp",
    takes: 5000,
    prepare: (name) => dockerOk("create", "--name", name, BUSYBOX, "true"),
    command: (name) => ["cp", "/bin/busybox", `${name}:/copied`],
    repeat: async (name) => {
      await dockerOk("cp", "/bin/busybox", `${name}:/copied`);
      const compared = await run(["sh", "-c", `docker cp ${name}:/copied - | tar -xOf - copied | cmp - /bin/busybox`]);
      expect(compared).toMatchObject({ code: 0 });
    },
  },
  {
    name: "rm",
    takes: 600,
    prepare: (name) => dockerOk("create", "--name", name, "-v", "/anonymous", BUSYBOX, "true"),
    command: (name) => ["rm", "-v", name],
    repeat: async (name) => {
      await dockerOk("rm", "-fv", name);
      expect((await docker("inspect", name)).code).toBe(1);
    },
  },
  {
    name: "rm -f",
    takes: 3000,
    prepare: (name) =>
      dockerOk("run", "-d", "--name", name, "-v", "/anonymous", "-p", "81", BUSYBOX, "sleep", "100000"),
    command: (name) => ["rm", "-fv", name],
    repeat: async (name) => {
      await dockerOk("rm", "-fv", name);
      expect((await docker("inspect", name)).code).toBe(1);
    },
  },
];

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await docker("rmi", "-f", image("layers40"));
  const script = "i=0; while :; do echo $i; i=$((i+1)); sleep 1; done";
  await dockerOk("run", "-d", "--name", bystander, BUSYBOX, "sh", "-c", script);
}, TEST_LIMIT_MILLISECONDS);

afterAll(async () => {
  await restart();
  await docker("rm", "-f", bystander);
}, TEST_LIMIT_MILLISECONDS);

/** Every operation is under way when the victim dies, for a random part of the time that it takes. */
async function killDuringAll(victim: Victim): Promise<void> {
  const started = operations.map((operation) => ({
    operation,
    name: uniqueName(`crash-${operation.name.replaceAll(/[^a-z]/g, "")}`),
    before: Math.floor(Math.random() * operation.takes),
  }));
  await Promise.all(started.map(({ operation, name }) => operation.prepare?.(name)));

  const longest = Math.max(...started.map(({ before }) => before));
  const clients = started.map(async ({ operation, name, before }) => {
    await Bun.sleep(longest - before);
    return docker(...operation.command(name));
  });
  await Bun.sleep(longest);
  await kill(victim);
  await restart();
  const results = await Promise.all(clients);
  const moments = started.map(({ operation: { name }, before }) => `${name} ${before} ms`).join(", ");
  const what = `${victim} killed during ${moments}`;
  console.log(`${what}; exit codes ${results.map(({ code }) => code).join(" ")}`);

  const repeats = await Promise.allSettled(started.map(({ operation, name }) => operation.repeat(name)));
  const failed = repeats.flatMap((result, index) =>
    result.status === "rejected" ? [`${operations[index]?.name}: ${result.reason}`] : [],
  );
  expect(failed, what).toEqual([]);
  await Promise.all(started.map(({ name }) => docker("rm", "-fv", name)));
  await Promise.all(started.map(({ name }) => docker("volume", "rm", name)));
  await expectConsistent(what);
  // The container that took no part never noticed.
  expect(await dockerOk("inspect", "-f", "{{.State.Running}} {{.RestartCount}}", bystander)).toBe("true 0");
}

for (const [index, victim] of VICTIMS.entries())
  test(
    `SIGKILL of ${victim} during pull, create, start, exec, cp and rm: kill ${index + 1}`,
    () => killDuringAll(victim),
    TEST_LIMIT_MILLISECONDS,
  );

test(
  "the container that took no part never stopped, and its log has no gap",
  async () => {
    const counted = (await dockerOk("logs", bystander)).split("\n").map(Number);
    expect(counted.length).toBeGreaterThan(5);
    expect(counted).toEqual(counted.map((_, index) => index));
  },
  TEST_LIMIT_MILLISECONDS,
);
