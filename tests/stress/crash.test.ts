import { afterAll, beforeAll, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, image, removeContainers, run, STATE, uniqueName } from "../e2e/docker.ts";

/** The endpoint is killed with SIGKILL at random moments of every operation; afterwards everything must agree. */

interface Status {
  endpoint: { pid: number };
}

const servePid = async (): Promise<number> =>
  (JSON.parse((await run(["dist/vch", "status", "--json", "--state", STATE])).stdout) as Status).endpoint.pid;

async function restartEndpoint(): Promise<void> {
  expect(await run(["dist/vch", "up", "--state", STATE])).toMatchObject({ code: 0 });
}

/** Names of the VMs' folders on the datastore that hold containers. */
async function containerFolders(): Promise<string[]> {
  const found = await run([
    "sh",
    "-c",
    `find ${STATE}/lab/datastore1 -path '*/containers/*' -name '*.vmx' -exec dirname {} ';' | xargs -rn1 basename`,
  ]);
  return found.stdout
    .split("\n")
    .filter((line) => line !== "")
    .sort();
}

const bystander = uniqueName("bystander");

beforeAll(async () => {
  for (const name of ["busybox", "entrypoint"]) await dockerOk("pull", "-q", image(name));
  await dockerOk("run", "-d", "--name", bystander, BUSYBOX, "sh", "-c", "while :; do date +%s; sleep 1; done");
});

afterAll(async () => {
  await restartEndpoint();
  await removeContainers(bystander);
});

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
    within: 4000,
    prepare: () => docker(["rmi", "-f", image("layers40")]),
    command: () => ["pull", image("layers40")],
    repeat: async () => {
      await dockerOk("pull", "-q", image("layers40"));
      expect(await dockerOk("run", "--rm", image("layers40"), "cat", "/layers/last")).toBe("39");
    },
  },
  {
    name: "create",
    within: 400,
    command: (name) => ["create", "--name", name, "-v", "/anonymous", BUSYBOX, "echo", "created"],
    repeat: async (name) => {
      if ((await docker(["inspect", name])).code !== 0)
        await dockerOk("create", "--name", name, BUSYBOX, "echo", "created");
      expect(await dockerOk("start", "-a", name)).toBe("created");
    },
  },
  {
    name: "start",
    within: 3000,
    prepare: (name) => dockerOk("create", "--name", name, BUSYBOX, "sh", "-c", "echo started; sleep 2"),
    command: (name) => ["start", name],
    repeat: async (name) => {
      await docker(["start", name]);
      expect(await dockerOk("wait", name)).toBe("0");
      expect(await dockerOk("logs", name)).toContain("started");
    },
  },
  {
    name: "exec",
    within: 500,
    prepare: (name) => dockerOk("run", "-d", "--name", name, BUSYBOX, "sleep", "1000"),
    command: (name) => ["exec", name, "sh", "-c", "sleep 1; echo executed"],
    repeat: async (name) => expect(await dockerOk("exec", name, "echo", "again")).toBe("again"),
  },
  {
    name: "cp",
    within: 1500,
    prepare: (name) => dockerOk("create", "--name", name, BUSYBOX, "true"),
    command: (name) => ["cp", "/bin/busybox", `${name}:/copied`],
    repeat: async (name) => {
      await dockerOk("cp", "/bin/busybox", `${name}:/copied`);
      const sums = await run(["sh", "-c", `docker cp ${name}:/copied - | tar -xOf - copied | cmp - /bin/busybox`]);
      expect(sums).toMatchObject({ code: 0 });
    },
  },
  {
    name: "rm",
    within: 600,
    prepare: (name) => dockerOk("create", "--name", name, BUSYBOX, "true"),
    command: (name) => ["rm", name],
    repeat: async (name) => {
      await docker(["rm", "-f", name]);
      expect((await docker(["inspect", name])).code).toBe(1);
    },
  },
];

/** Kills per operation; more by hand with VCH_CRASH_ROUNDS. */
const ROUNDS = Number(process.env.VCH_CRASH_ROUNDS ?? 2);

for (const operation of operations)
  test(`SIGKILL during ${operation.name}`, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const name = uniqueName(`crash-${operation.name}`);
      await operation.prepare?.(name);
      const pid = await servePid();
      const client = Bun.spawn(["docker", ...operation.command(name)], { stdout: "ignore", stderr: "ignore" });
      const delay = Math.floor(Math.random() * operation.within);
      await Bun.sleep(delay);
      process.kill(pid, "SIGKILL");
      await client.exited;
      await restartEndpoint();
      await operation.repeat(name);
      await removeContainers(name);
      // The inventory and the API agree, and the container that took no part never noticed.
      const known = (await dockerOk("ps", "-aq", "--no-trunc"))
        .split("\n")
        .filter((line) => line !== "")
        .sort();
      expect(await containerFolders(), `killed ${operation.name} after ${delay} ms`).toEqual(known);
      expect(await dockerOk("inspect", "-f", "{{.State.Running}} {{.RestartCount}}", bystander)).toBe("true 0");
    }
  }, 600_000);

test("the bystander's log has no gap", async () => {
  const seconds = (await dockerOk("logs", bystander)).split("\n").map(Number);
  expect(seconds.length).toBeGreaterThan(5);
  const gaps = seconds.slice(1).map((second, index) => second - (seconds[index] ?? 0));
  // sleep 1 plus a loaded machine; a container that had been started again would show seconds of booting.
  expect(Math.max(...gaps)).toBeLessThan(6);
});

test("no anonymous volume of a half-made container is left", async () => {
  expect(await dockerOk("volume", "ls", "-q", "--filter", "dangling=true")).toBe("");
});
