/** Clients that we did not write, each with a session of its own against the environment of tests/e2e. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { BUSYBOX, docker, REGISTRY, type Result, removeContainers, run, uniqueName } from "../e2e/docker.ts";
import { checkShop, shopFile } from "../e2e/shop.ts";

const CLIENTS = join(
  process.env.VCH_TEST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? `${process.env.HOME}/.cache`, "vch-tests"),
  "clients",
);
/** Two of the clients are compiled. */
const INSTALL_MILLISECONDS = 3_600_000;
const SESSION_MILLISECONDS = 600_000;
const here = import.meta.dir;
const prefixes: string[] = [];

const session = (command: string[], environment: Record<string, string> = {}): Promise<Result> =>
  run(command, { environment, timeoutMilliseconds: SESSION_MILLISECONDS });
function prefix(purpose: string): string {
  const name = uniqueName(purpose);
  prefixes.push(name);
  return name;
}
function expectComplete(result: Result): void {
  expect(result).toMatchObject({ code: 0 });
  expect(result.stdout).toContain("session complete");
}

beforeAll(async () => {
  expect(await run([join(here, "install"), CLIENTS], { timeoutMilliseconds: INSTALL_MILLISECONDS })).toMatchObject({
    code: 0,
  });
}, INSTALL_MILLISECONDS);
afterAll(() => removeContainers(...prefixes.flatMap((name) => [`${name}-main`, `${name}-renamed`, `${name}-job`])));

const python = (interpreter: string): string[] => [
  interpreter,
  join(here, "python/session.py"),
  BUSYBOX,
  prefix("sdk"),
];

test(
  "Docker SDK for Python, Debian's",
  async () => {
    expectComplete(await session(python("/usr/bin/python3")));
  },
  SESSION_MILLISECONDS,
);

test(
  "Docker SDK for Python, the newest of PyPI",
  async () => {
    expectComplete(await session(python(join(CLIENTS, "python/bin/python"))));
  },
  SESSION_MILLISECONDS,
);

/** Scripts find their packages beside themselves, so they run from the folder of the packages. */
const node = async (script: string, ...words: string[]): Promise<Result> => {
  await Bun.write(join(CLIENTS, "node", script), Bun.file(join(here, "node", script)));
  return session(["node", join(CLIENTS, "node", script), ...words], { TESTCONTAINERS_RYUK_DISABLED: "true" });
};

test(
  "dockerode",
  async () => {
    expectComplete(await node("dockerode.mjs", BUSYBOX, prefix("dockerode")));
  },
  SESSION_MILLISECONDS,
);

test(
  "testcontainers",
  async () => {
    expectComplete(await node("testcontainers.mjs", BUSYBOX));
  },
  SESSION_MILLISECONDS,
);

/** A day with the docker CLI: an image, a network, a volume, a service and what one asks of it. */
async function cliSession(program: string, major: RegExp): Promise<void> {
  const name = prefix("cli");
  const [main, network, volume] = [`${name}-main`, `${name}-net`, `${name}-data`];
  const cli = (...words: string[]): Promise<Result> => session([program, ...words]);
  const ok = async (...words: string[]): Promise<string> => {
    const result = await cli(...words);
    expect(result, `docker ${words.join(" ")}`).toMatchObject({ code: 0 });
    return result.stdout.trimEnd();
  };
  expect(await ok("version", "--format", "{{.Client.Version}}")).toMatch(major);
  try {
    await ok("pull", "-q", BUSYBOX);
    await ok("network", "create", network);
    await ok("volume", "create", "--label", `suite=${name}`, volume);
    const since = Math.floor(Date.now() / 1000) - 1;
    await ok(
      ...["run", "-d", "--name", main, "--network", network, "-v", `${volume}:/data`, "-e", "WORD=hello"],
      ...["--health-cmd", "test -e /data/ready", "--health-interval", "1s", "--memory", "64m"],
      ...[BUSYBOX, "sh", "-c", "echo $WORD; touch /data/ready; trap 'exit 4' TERM; while :; do sleep 1; done"],
    );
    const health = Bun.sleep(60_000).then(() => "late");
    const healthy = session([
      "sh",
      "-c",
      `until [ "$(${program} inspect -f '{{.State.Health.Status}}' ${main})" = healthy ]; do sleep 1; done`,
    ]).then(() => "healthy");
    expect(await Promise.race([healthy, health])).toBe("healthy");
    expect(await ok("logs", main)).toBe("hello");
    expect(await cli("exec", main, "sh", "-c", "echo out; exit 7")).toMatchObject({ code: 7, stdout: "out\n" });
    expect(await ok("ps", "--filter", `name=${main}`, "--format", "{{.Names}} {{.Status}}")).toContain("(healthy)");
    expect(await ok("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", main)).toContain("/ 64MiB");
    await ok("cp", join(here, "install"), `${main}:/tmp/copied`);
    expect(await ok("exec", main, "wc", "-c", "/tmp/copied")).toStartWith(String(Bun.file(join(here, "install")).size));
    expect(await ok("diff", main)).toContain("A /tmp/copied");
    expect(await ok("network", "inspect", network, "--format", "{{range .Containers}}{{.Name}}{{end}}")).toBe(main);
    expect(await ok("system", "df", "--format", "{{.Type}}")).toContain("Local Volumes");
    await ok("stop", main);
    expect(await ok("wait", main)).toBe("4");
    const until = String(Math.floor(Date.now() / 1000) + 1);
    const events = ["events", "--since", String(since), "--until", until, "--filter", `container=${main}`];
    const actions = (await ok(...events, "--format", "{{.Action}}")).split("\n");
    for (const action of ["create", "start", "health_status: healthy", "die", "stop"])
      expect(actions).toContain(action);
    await ok("rm", main);
    expect(await cli("inspect", main)).toMatchObject({ code: 1 });
  } finally {
    await cli("rm", "-f", main);
    await cli("network", "rm", network);
    await cli("volume", "rm", volume);
  }
}

test("docker CLI of this machine", () => cliSession("docker", /^\d+\./), SESSION_MILLISECONDS);
test("docker CLI 29", () => cliSession(join(CLIENTS, "cli/docker"), /^29\./), SESSION_MILLISECONDS);

async function composeSession(command: string[], environment: Record<string, string>): Promise<void> {
  const project = prefix("compose").replaceAll("-", "");
  const variables = { IMAGE: BUSYBOX, ...environment };
  const compose = (...words: string[]): Promise<Result> =>
    session([...command, "-p", project, "-f", join(here, "compose-project/compose.yaml"), ...words], variables);
  try {
    expect(await compose("config", "--services")).toMatchObject({ code: 0 });
    expect(await compose("up", "-d")).toMatchObject({ code: 0 });
    const listed = await compose("ps");
    expect(listed.stdout).toContain("web");
    expect(listed.stdout).toContain("store");
    const served = await run([
      "sh",
      "-c",
      "for n in $(seq 60); do curl -sf http://127.0.0.1:18081/ && break; sleep 1; done",
    ]);
    expect(served.stdout).toBe("from-web\n");
    expect(await compose("exec", "-T", "store", "cat", "/data/word")).toMatchObject({ code: 0, stdout: "kept\n" });
    // Nothing has changed: nothing is made anew.
    const before = await compose("ps", "-q");
    expect(await compose("up", "-d")).toMatchObject({ code: 0 });
    expect((await compose("ps", "-q")).stdout).toBe(before.stdout);
    expect((await compose("logs")).code).toBe(0);
    expect(await compose("stop", "store")).toMatchObject({ code: 0 });
  } finally {
    expect(await compose("down", "-v")).toMatchObject({ code: 0 });
  }
  const rest = await docker(["ps", "-aq", "--filter", `label=com.docker.compose.project=${project}`]);
  expect(rest.stdout).toBe("");
  expect((await docker(["volume", "ls", "-q", "--filter", `name=${project}`])).stdout).toBe("");
}

test(
  "docker-compose 1, Debian's",
  async () => {
    await composeSession(["/usr/bin/docker-compose"], {});
  },
  SESSION_MILLISECONDS,
);

test(
  "docker compose 2",
  async () => {
    await composeSession([join(CLIENTS, "cli-plugins/docker-compose")], {});
  },
  SESSION_MILLISECONDS,
);

/** Compose 1 has the same project in tests/e2e/compose.test.ts. */
const SHOP_PORT = 18391;

test(
  "docker compose 2: two networks, an alias, two replicas behind a proxy, and a database, by their names",
  async () => {
    const project = prefix("shop").replaceAll("-", "");
    const file = join(CLIENTS, `${project}.yaml`);
    await Bun.write(file, shopFile(SHOP_PORT));
    const compose = (...words: string[]): Promise<Result> =>
      session([join(CLIENTS, "cli-plugins/docker-compose"), "-p", project, "-f", file, ...words]);
    try {
      await checkShop(compose, SHOP_PORT);
    } finally {
      await compose("kill");
      expect(await compose("down", "-v")).toMatchObject({ code: 0 });
      await rm(file);
    }
    expect((await docker(["network", "ls", "-q", "--filter", `name=${project}`])).stdout).toBe("");
  },
  SESSION_MILLISECONDS,
);

test(
  "docker buildx: builders, and images in a registry",
  async () => {
    const buildx = (...words: string[]): Promise<Result> =>
      session([join(CLIENTS, "cli-plugins/docker-buildx"), ...words]);
    expect(await buildx("version")).toMatchObject({ code: 0 });
    expect((await buildx("ls")).stdout).toMatch(/default\*?\s+docker/);
    const inspected = await buildx("imagetools", "inspect", `${REGISTRY}/busybox:latest`);
    expect(inspected).toMatchObject({ code: 0 });
    expect(inspected.stdout).toContain("Digest:");
  },
  SESSION_MILLISECONDS,
);
