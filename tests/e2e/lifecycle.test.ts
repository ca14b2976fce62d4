import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, image, inspect, removeContainers, uniqueName } from "./docker.ts";

const web = uniqueName("life");

beforeAll(async () => {
  for (const name of ["busybox", "entrypoint"]) await dockerOk("pull", "-q", image(name));
  await dockerOk(
    "run",
    "-d",
    "--name",
    web,
    "-l",
    "tier=front",
    "--stop-timeout",
    "3",
    BUSYBOX,
    "sh",
    "-c",
    "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.2; done",
  );
});

afterAll(() => removeContainers(web));

describe("states", () => {
  test("create, start -a, start again", async () => {
    const name = uniqueName("created");
    await dockerOk("create", "--name", name, BUSYBOX, "sh", "-c", "echo run; exit 4");
    expect(await inspect<string>(name, ".State.Status")).toBe("created");
    const attached = await docker(["start", "-a", name]);
    expect(attached).toEqual({ code: 4, stdout: "run\n", stderr: "" });
    expect(await inspect<string>(name, ".State.Status")).toBe("exited");
    await dockerOk("start", name);
    expect(await dockerOk("wait", name)).toBe("4");
    expect(await dockerOk("logs", name)).toBe("run\nrun");
    await removeContainers(name);
  });

  test("stop runs the trap, restart comes back, times and pid are true", async () => {
    await dockerOk("stop", web);
    const stopped = await inspect<{ Running: boolean; ExitCode: number; Pid: number; FinishedAt: string }>(
      web,
      ".State",
    );
    expect(stopped).toMatchObject({ Running: false, ExitCode: 0, Pid: 0 });
    expect(Math.abs(Date.now() - Date.parse(stopped.FinishedAt))).toBeLessThan(60_000);
    expect(await dockerOk("logs", web)).toContain("bye");
    await dockerOk("restart", web);
    const state = await inspect<{ Running: boolean; Pid: number; StartedAt: string }>(web, ".State");
    expect(state.Running).toBe(true);
    expect(state.Pid).toBeGreaterThan(0);
    expect(Math.abs(Date.now() - Date.parse(state.StartedAt))).toBeLessThan(60_000);
  });

  test("kill with a signal, by default KILL: 128 + signal", async () => {
    const name = uniqueName("kill");
    await dockerOk(
      "run",
      "-d",
      "--name",
      name,
      BUSYBOX,
      "sh",
      "-c",
      "trap 'echo got usr1' USR1; echo ready; while :; do sleep 0.1; done",
    );
    await waitForLog(name, "ready");
    await dockerOk("kill", "-s", "USR1", name);
    await waitForLog(name, "got usr1");
    await dockerOk("kill", name);
    expect(await dockerOk("wait", name)).toBe("137");
    const again = await docker(["kill", name]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("is not running");
    await removeContainers(name);
  });

  test("--stop-signal, and SIGKILL after --stop-timeout", async () => {
    const name = uniqueName("stubborn");
    const options = ["--stop-signal", "USR2", "--stop-timeout", "2"];
    const script = "trap 'echo asked' USR2; trap 'echo never' TERM; echo ready; while :; do sleep 0.1; done";
    await dockerOk("run", "-d", "--name", name, ...options, BUSYBOX, "sh", "-c", script);
    await waitForLog(name, "ready");
    const waiting = docker(["wait", name, web]);
    await dockerOk("stop", name);
    expect(await inspect<object>(name, ".State")).toMatchObject({ Status: "exited", ExitCode: 137, OOMKilled: false });
    expect(await dockerOk("logs", name)).toBe("ready\nasked");
    await dockerOk("stop", web);
    expect(await waiting).toMatchObject({ code: 0, stdout: "137\n0\n" });
    await dockerOk("start", web);
    await removeContainers(name);
  });

  test("the image's stop signal", async () => {
    const name = uniqueName("signal");
    await dockerOk(
      "run",
      "-d",
      "--name",
      name,
      image("entrypoint"),
      "sh",
      "-c",
      "trap 'echo int; exit 9' INT; echo ready; while :; do sleep 0.1; done",
    );
    await waitForLog(name, "ready");
    await dockerOk("stop", name);
    expect(await inspect<number>(name, ".State.ExitCode")).toBe(9);
    await removeContainers(name);
  });

  test("rename; a taken name is refused with Docker's text", async () => {
    const other = uniqueName("other");
    await dockerOk("create", "--name", other, BUSYBOX, "true");
    const taken = await docker(["rename", other, web]);
    expect(taken.code).toBe(1);
    expect(taken.stderr).toContain("already in use");
    const renamed = uniqueName("renamed");
    await dockerOk("rename", other, renamed);
    expect(await inspect<string>(renamed, ".Name")).toBe(`/${renamed}`);
    await removeContainers(renamed);
  });

  test("rm refuses a running container and -f removes it", async () => {
    const name = uniqueName("force");
    await dockerOk("run", "-d", "--name", name, BUSYBOX, "sleep", "1000");
    const refused = await docker(["rm", name]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("container is running");
    await dockerOk("rm", "-f", name);
    expect((await docker(["inspect", name])).code).toBe(1);
  });

  test("attach to a running container", async () => {
    const name = uniqueName("attach");
    await dockerOk("run", "-d", "-i", "--name", name, BUSYBOX, "sh", "-c", "read line; echo got $line");
    const result = await docker(["attach", name], { input: "over\n" });
    expect(result).toMatchObject({ code: 0, stdout: "got over\n" });
    await removeContainers(name);
  });
});

describe("looking", () => {
  test("ps with -a -q -l -n -s, filters and format", async () => {
    expect(await dockerOk("ps", "--filter", `name=${web}`, "--format", "{{.Names}} {{.Image}} {{.State}}")).toBe(
      `${web} ${BUSYBOX} running`,
    );
    expect(await dockerOk("ps", "-q", "--no-trunc", "--filter", "label=tier=front")).toBe(
      await inspect<string>(web, ".Id"),
    );
    expect(await dockerOk("ps", "-aq", "--filter", "label=tier=back")).toBe("");
    const dead = uniqueName("dead");
    await docker(["run", "--name", dead, BUSYBOX, "sh", "-c", "exit 5"]);
    expect(await dockerOk("ps", "-l", "--format", "{{.Names}}")).toBe(dead);
    expect((await dockerOk("ps", "-n", "2", "-q")).split("\n")).toHaveLength(2);
    expect(
      await dockerOk("ps", "-a", "--filter", "exited=5", "--filter", `name=${dead}`, "--format", "{{.Status}}"),
    ).toMatch(/^Exited \(5\) .* ago$/);
    expect(await dockerOk("ps", "--filter", `name=${dead}`, "-q")).toBe("");
    expect(
      await dockerOk(
        "ps",
        "-a",
        "--filter",
        "status=exited",
        "--filter",
        `ancestor=${BUSYBOX}`,
        "--format",
        "{{.Names}}",
      ),
    ).toContain(dead);
    expect(await dockerOk("ps", "-s", "--filter", `name=${web}`, "--format", "{{.Size}}")).toMatch(
      /B \(virtual [\d.]+[kM]B\)$/,
    );
    await removeContainers(dead);
  });

  test("ps: table, JSON, and every column", async () => {
    const table = (await dockerOk("ps", "--filter", `name=${web}`)).split("\n");
    expect(table[0]?.split(/ {2,}/)).toEqual([
      "CONTAINER ID",
      "IMAGE",
      "COMMAND",
      "CREATED",
      "STATUS",
      "PORTS",
      "NAMES",
    ]);
    expect(table[1]).toMatch(/^[0-9a-f]{12} .* "sh -c 'trap 'echo b…" .* ago +Up .* life-/);
    const own = await dockerOk(
      "ps",
      "--filter",
      `name=${web}`,
      "--format",
      "table {{.Names}}\t{{.Networks}}\t{{.Mounts}}",
    );
    expect(own).toMatch(new RegExp(`^NAMES +NETWORKS +MOUNTS\n${web} +bridge *$`));
    const json = JSON.parse(
      await dockerOk("ps", "-s", "--no-trunc", "--filter", `name=${web}`, "--format", "json"),
    ) as object;
    expect(json).toMatchObject({
      Command: `"sh -c 'trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.2; done'"`,
      Image: BUSYBOX,
      Labels: "tier=front",
      LocalVolumes: "0",
      Names: web,
      Networks: "bridge",
      State: "running",
    });
  });

  test("top shows the container's processes", async () => {
    const lines = (await dockerOk("top", web)).split("\n");
    expect(lines[0]).toMatch(/^UID\s+PID\s+PPID\s+C\s+STIME\s+TTY\s+TIME\s+CMD$/);
    expect(lines[1]).toContain("trap");
    const chosen = (await dockerOk("top", web, "-o", "pid,comm")).split("\n");
    expect(chosen[0]).toMatch(/^PID\s+(COMMAND|COMM)$/);
    expect(chosen[1]).toMatch(/^\d+\s+sh$/);
  });

  test("stats gives real numbers", async () => {
    const [memory, name] = (await dockerOk("stats", "--no-stream", "--format", "{{.MemUsage}};{{.Name}}", web)).split(
      ";",
    );
    expect(name).toBe(web);
    expect(memory).toMatch(/[1-9].*iB \/ [1-9].*iB/);
  });

  test("events of a container's life in order", async () => {
    const since = String(Math.floor(Date.now() / 1000) - 1);
    const name = uniqueName("events");
    await dockerOk("run", "--rm", "--name", name, BUSYBOX, "true");
    const until = String(Math.floor(Date.now() / 1000) + 1);
    const actions = (
      await dockerOk(
        "events",
        "--since",
        since,
        "--until",
        until,
        "--filter",
        `container=${name}`,
        "--format",
        "{{.Action}}",
      )
    ).split("\n");
    expect(actions.filter((action) => ["create", "attach", "start", "die", "destroy"].includes(action))).toEqual([
      "create",
      "attach",
      "start",
      "die",
      "destroy",
    ]);
  });

  test("info and version describe the endpoint", async () => {
    expect(await dockerOk("info", "--format", "{{.OSType}} {{.NCPU}}")).toMatch(/^linux [1-9]/);
    expect(await dockerOk("version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}")).toMatch(/^\S+ 1\.\d+$/);
  });
});

/** Follows the log until it has the text. */
async function waitForLog(name: string, text: string): Promise<void> {
  const child = Bun.spawn(["docker", "logs", "-f", name], { stdout: "pipe", stderr: "ignore", timeout: 60_000 });
  let seen = "";
  for await (const chunk of child.stdout) {
    seen += Buffer.from(chunk).toString();
    if (seen.includes(text)) break;
  }
  child.kill("SIGKILL");
  expect(seen).toContain(text);
}
