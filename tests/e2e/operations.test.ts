/** Pause, update, diff, commit, export and health checks, on few VMs: one container serves most of it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, inspect, removeContainers, run, uniqueName } from "./docker.ts";

const subject = uniqueName("operations");
const IMAGE = `${subject}:changed`;
let since = "";

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  since = String(Math.floor(Date.now() / 1000) - 1);
  const health = ["--health-cmd", "echo looked; test -f /tmp/well", "--health-interval", "1s", "--health-retries", "2"];
  const limits = ["-m", "256m", "--cpus", "1", "--pids-limit", "64", "--cpuset-cpus", "0", "--oom-score-adj", "300"];
  const script = "mkdir -p /made/deep; echo one > /made/file; while :; do date +%s%N > /tick; sleep 0.1; done";
  await dockerOk("run", "-d", "--name", subject, ...health, ...limits, "-v", "/data", BUSYBOX, "sh", "-c", script);
});

afterAll(async () => {
  await removeContainers(subject);
  await docker(["rmi", "-f", IMAGE, `${subject}:stopped`]);
});

const read = (path: string): Promise<string> => dockerOk("exec", subject, "cat", path);
const actions = async (): Promise<string[]> =>
  (
    await dockerOk(
      "events",
      "--since",
      since,
      "--until",
      String(Math.floor(Date.now() / 1000) + 1),
      "--filter",
      `container=${subject}`,
      "--format",
      "{{.Action}}",
    )
  ).split("\n");

/** Resolves when the events of the container have the action; they are replayed from the start. */
async function waitForAction(action: string): Promise<void> {
  const child = Bun.spawn(
    ["docker", "events", "--since", since, "--filter", `container=${subject}`, "--format", "{{.Action}}"],
    { stdout: "pipe", stderr: "ignore", timeout: 60_000 },
  );
  let seen = "";
  for await (const chunk of child.stdout) {
    seen += Buffer.from(chunk).toString();
    if (seen.split("\n").includes(action)) break;
  }
  child.kill("SIGKILL");
  expect(seen.split("\n")).toContain(action);
}

describe("health", () => {
  test("unhealthy, then healthy; log, event and filter", async () => {
    await waitForAction("health_status: unhealthy");
    const before = await inspect<{
      Status: string;
      FailingStreak: number;
      Log: { ExitCode: number; Output: string }[];
    }>(subject, ".State.Health");
    expect(before.Status).toBe("unhealthy");
    expect(before.FailingStreak).toBeGreaterThanOrEqual(2);
    expect(before.Log.length).toBeLessThanOrEqual(5);
    expect(before.Log.at(-1)).toMatchObject({ ExitCode: 1, Output: "looked\n" });
    expect(await dockerOk("ps", "-q", "--filter", "health=unhealthy", "--filter", `name=${subject}`)).not.toBe("");
    await dockerOk("exec", subject, "touch", "/tmp/well");
    await waitForAction("health_status: healthy");
    expect(await dockerOk("ps", "--filter", `name=${subject}`, "--format", "{{.Status}}")).toContain("(healthy)");
  });
});

describe("pause", () => {
  test("the processes stand still, and go on", async () => {
    await dockerOk("pause", subject);
    expect(await inspect<object>(subject, ".State")).toMatchObject({ Status: "paused", Paused: true, Running: true });
    expect(await dockerOk("ps", "--filter", "status=paused", "--format", "{{.Names}} {{.Status}}")).toMatch(
      new RegExp(`^${subject} Up .* \\(Paused\\)$`),
    );
    const copied = async (): Promise<string> => (await docker(["cp", `${subject}:/tick`, "-"])).stdout;
    const first = await copied();
    await Bun.sleep(500);
    expect(await copied()).toBe(first);
    const refused = await docker(["exec", subject, "true"]);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("is paused, unpause the container before exec");
    expect((await docker(["pause", subject])).stderr).toContain("is already paused");
    await dockerOk("unpause", subject);
    expect(await read("/tick")).not.toBe(first);
    expect((await docker(["unpause", subject])).stderr).toContain("is not paused");
    expect(await actions()).toEqual(expect.arrayContaining(["pause", "unpause"]));
  });
});

describe("update", () => {
  const cgroup = (file: string): Promise<string> => read(`/sys/fs/cgroup/${file}`);

  test("limits hold in the guest, and change while it runs", async () => {
    expect(await cgroup("memory.max")).toBe(String(256 * 1024 * 1024));
    expect(await cgroup("pids.max")).toBe("64");
    expect(await read("/proc/self/oom_score_adj")).toBe("300");
    expect(await dockerOk("exec", subject, "grep", "-c", "^processor", "/proc/cpuinfo")).toBe("1");
    await dockerOk(
      "update",
      "--memory",
      "128m",
      "--pids-limit",
      "32",
      "--cpus",
      "0.5",
      "--restart",
      "unless-stopped",
      subject,
    );
    expect(await cgroup("memory.max")).toBe(String(128 * 1024 * 1024));
    expect(await cgroup("pids.max")).toBe("32");
    expect(await cgroup("cpu.max")).toBe("50000 100000");
    expect(await inspect<object>(subject, ".HostConfig")).toMatchObject({
      Memory: 128 * 1024 * 1024,
      PidsLimit: 32,
      NanoCpus: 500_000_000,
      RestartPolicy: { Name: "unless-stopped", MaximumRetryCount: 0 },
    });
  });

  test("what the VM cannot take while it runs is refused with the way out", async () => {
    const memory = await docker(["update", "--memory", "2g", subject]);
    expect(memory.code).not.toBe(0);
    expect(memory.stderr).toContain("Stop the container, update it, and start it again");
    expect(await inspect<number>(subject, ".HostConfig.Memory")).toBe(128 * 1024 * 1024);
    expect((await docker(["update", "--cpuset-mems", "1", subject])).stderr).toContain("not supported");
  });
});

describe("diff, commit, export", () => {
  const changes = async (): Promise<string[]> => (await dockerOk("diff", subject)).split("\n");

  test("diff of a running container", async () => {
    await dockerOk(
      "exec",
      subject,
      "sh",
      "-c",
      "rm -r /home; echo x >> /etc/passwd; ln -s /etc /made/link; chmod 700 /root",
    );
    const found = await changes();
    for (const line of [
      "A /made",
      "A /made/deep",
      "A /made/file",
      "A /made/link",
      "C /etc",
      "C /etc/passwd",
      "D /home",
      "C /root",
      "A /tick",
      "A /data",
    ])
      expect(found).toContain(line);
    expect(found.filter((line) => /(hosts|resolv|\/dev|\/proc|\/sys)/.test(line))).toEqual([]);
  });

  test("commit of the running container: content, whiteouts, configuration and history", async () => {
    const options = ["-m", "what was done", "-a", "Somebody", "-c", 'CMD ["cat", "/made/file"]', "-c", "ENV MADE=yes"];
    const id = await dockerOk("commit", ...options, subject, IMAGE);
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    const image = await inspect<{
      Id: string;
      Author: string;
      Comment: string;
      Config: { Env: string[]; Cmd: string[] };
    }>(IMAGE);
    expect(image).toMatchObject({ Id: id, Author: "Somebody", Comment: "what was done" });
    expect(image.Config.Cmd).toEqual(["cat", "/made/file"]);
    expect(image.Config.Env).toContain("MADE=yes");
    expect(await dockerOk("history", "--format", "{{.Comment}}", IMAGE)).toStartWith("what was done");
    // It goes on afterwards.
    expect(await inspect<string>(subject, ".State.Status")).toBe("running");
    expect(await dockerOk("exec", subject, "true")).toBe("");
    const look =
      "cat /made/file; readlink /made/link; test -e /home || echo gone; stat -c %a /root; echo $MADE; ls /data";
    expect(await dockerOk("run", "--rm", IMAGE, "sh", "-c", look)).toBe("one\n/etc\ngone\n700\nyes");
  });

  test("export of the running container has its files and not its mounts", async () => {
    const folder = await mkdtemp(join(tmpdir(), "vch-export-"));
    try {
      const archive = join(folder, "container.tar");
      await dockerOk("export", "-o", archive, subject);
      const names = (await run(["tar", "-tf", archive])).stdout.split("\n");
      expect(names).toContain("made/file");
      expect(names).toContain("bin/");
      expect(names.filter((name) => /^(sys|proc|dev)\/./.test(name))).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("stop of a paused container; diff and commit of the stopped one; the limits at the next start", async () => {
    await dockerOk("pause", subject);
    await dockerOk("stop", "-t", "1", subject);
    expect(await inspect<string>(subject, ".State.Status")).toBe("exited");
    expect(await changes()).toContain("A /made/file");
    await dockerOk("commit", subject, `${subject}:stopped`);
    expect(await dockerOk("images", "-q", `${subject}:stopped`)).not.toBe("");
    await dockerOk("update", "--memory", "320m", subject);
    await dockerOk("start", subject);
    expect(await dockerOk("exec", subject, "cat", "/sys/fs/cgroup/memory.max")).toBe(String(320 * 1024 * 1024));
    const kilobytes = Number(/MemTotal:\s+(\d+)/.exec(await read("/proc/meminfo"))?.[1]);
    expect(kilobytes).toBeGreaterThan(320 * 1024);
  });
});
