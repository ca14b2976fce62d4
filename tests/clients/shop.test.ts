/** A project of five services under docker compose 2: comes up in its order, serves, outlives its endpoint, goes down clean. */
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, type Result, run, uniqueName } from "../e2e/docker.ts";
import { kill, restart } from "../e2e/killing.ts";

const CLIENTS = join(
  process.env.VCH_TEST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? `${process.env.HOME}/.cache`, "vch-tests"),
  "clients",
);
const here = import.meta.dir;
const INSTALL_MILLISECONDS = 3_600_000;
const SESSION_MILLISECONDS = 600_000;
const PORT = "18085";
const SERVICES = ["api", "cache", "database", "web", "worker"];
const project = uniqueName("shop").replaceAll("-", "");

const compose = (...words: string[]): Promise<Result> =>
  run(
    [
      join(CLIENTS, "cli-plugins/docker-compose"),
      "-p",
      project,
      "-f",
      join(here, "shop-project/compose.yaml"),
      ...words,
    ],
    { environment: { IMAGE: BUSYBOX, PORT }, timeoutMilliseconds: SESSION_MILLISECONDS },
  );
const exec = async (service: string, script: string): Promise<Result> =>
  compose("exec", "-T", service, "sh", "-c", script);
const page = (): Promise<Result> => run(["curl", "-sS", "--max-time", "20", `http://127.0.0.1:${PORT}/cgi-bin/page`]);

interface Row {
  Service: string;
  State: string;
  Health: string;
  ID: string;
}
async function rows(): Promise<Row[]> {
  const { code, stdout } = await compose("ps", "-a", "--format", "json");
  expect(code).toBe(0);
  const all = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);
  return all.sort((a, b) => (a.Service < b.Service ? -1 : 1));
}

/** The last moment at which the worker had done its work, in seconds since the epoch. */
const worked = async (): Promise<number> => Number((await exec("worker", "cat /state/worked")).stdout);

async function eventually(what: string, condition: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 120_000;
  while (!(await condition())) {
    if (Date.now() > limit) throw new Error(`${what} did not come to be`);
    await Bun.sleep(1000);
  }
}

afterAll(() => compose("down", "-v"));

test(
  "five services: up, serving, over a crash of the endpoint, down",
  async () => {
    expect(await run([join(here, "install"), CLIENTS], { timeoutMilliseconds: INSTALL_MILLISECONDS })).toMatchObject({
      code: 0,
    });
    await dockerOk("pull", "-q", BUSYBOX);
    expect(await compose("up", "-d")).toMatchObject({ code: 0 });
    await eventually("the page", async () => (await page()).stdout === "a-row\na-cached-value\n");
    await eventually("the worker's second run", async () => (await worked()) > 0);
    const before = await rows();
    expect(before.map(({ Service, State, Health }) => ({ Service, State, Health }))).toEqual(
      SERVICES.map((Service) => ({
        Service,
        State: "running",
        Health: ["web", "worker"].includes(Service) ? "" : "healthy",
      })),
    );
    const worker = before.find(({ Service }) => Service === "worker")?.ID ?? "";
    expect(await dockerOk("inspect", "-f", "{{.RestartCount}}", worker)).toBe("1");
    const readOnly = await exec("api", "touch /x; touch /www/y");
    expect(readOnly.stderr).toContain("touch: /x: Read-only file system");
    expect(readOnly.stderr).not.toContain("/www/y");
    // The cache is on a network that leads nowhere else, and web is not on it.
    expect((await exec("web", "nslookup cache")).code).not.toBe(0);

    await kill("serve");
    // Nobody needs the endpoint for what runs.
    expect((await page()).stdout).toBe("a-row\na-cached-value\n");
    const meanwhile = Math.floor(Date.now() / 1000);
    await restart();
    await eventually("all are well again", async () =>
      (await rows()).every(
        ({ Service, State, Health }) =>
          State === "running" && (["web", "worker"].includes(Service) || Health === "healthy"),
      ),
    );
    expect((await rows()).map(({ ID }) => ID)).toEqual(before.map(({ ID }) => ID));
    await eventually("the worker goes on", async () => (await worked()) > meanwhile);
    // Nothing is made anew.
    expect(await compose("up", "-d")).toMatchObject({ code: 0 });
    expect((await rows()).map(({ ID }) => ID)).toEqual(before.map(({ ID }) => ID));
    expect((await page()).stdout).toBe("a-row\na-cached-value\n");

    expect(await compose("down", "-v")).toMatchObject({ code: 0 });
    const label = `label=com.docker.compose.project=${project}`;
    for (const list of [
      ["ps", "-aq"],
      ["volume", "ls", "-q"],
      ["network", "ls", "-q"],
    ])
      expect((await docker([...list, "--filter", label])).stdout, list.join(" ")).toBe("");
    expect((await page()).code).toBe(7);
  },
  SESSION_MILLISECONDS,
);
