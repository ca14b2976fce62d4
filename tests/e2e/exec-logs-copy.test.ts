import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, inspect, removeContainers, run, uniqueName } from "./docker.ts";

/** One running and one ended container serve most of these checks: none of them changes what another looks at. */
const running = uniqueName("running");
const ended = uniqueName("ended");
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-e2e-"));
  await dockerOk("pull", "-q", BUSYBOX);
  await dockerOk("run", "-d", "--name", running, "-e", "BASE=1", BUSYBOX, "sleep", "100000");
  await docker([
    "run",
    "--name",
    ended,
    BUSYBOX,
    "sh",
    "-c",
    "for n in 1 2 3 4; do echo line $n; done; echo wrong >&2; mkdir /left; echo here >/left/file; ln -s file /left/link",
  ]);
});

afterAll(async () => {
  await removeContainers(running, ended);
  await rm(folder, { recursive: true, force: true });
});

describe("docker exec", () => {
  test("output apart, exit code, environment, user, directory", async () => {
    const result = await docker([
      "exec",
      "-e",
      "MORE=2",
      "-u",
      "daemon",
      "-w",
      "/tmp",
      running,
      "sh",
      "-c",
      "echo $BASE$MORE; id -un; pwd; echo bad >&2; exit 21",
    ]);
    expect(result).toEqual({ code: 21, stdout: "12\ndaemon\n/tmp\n", stderr: "bad\n" });
  });
  test("-i", async () => {
    expect(await docker(["exec", "-i", running, "wc", "-c"], { input: "12345" })).toMatchObject({
      code: 0,
      stdout: "5\n",
    });
  });
  test("users by number, a file of variables, and more privileges", async () => {
    await writeFile(join(folder, "variables"), "# a comment\nFROM_FILE=a b=c\nBASE=2\n");
    const script = 'id -u; id -g; echo "$FROM_FILE $BASE"; awk "/CapEff/{print \\$2}" /proc/self/status';
    const words = ["exec", "-u", "4711:4712", "--env-file", join(folder, "variables"), running, "sh", "-c", script];
    expect(await dockerOk(...words)).toBe("4711\n4712\na b=c 2\n0000000000000000");
    const privileged = await dockerOk(
      "exec",
      "--privileged",
      running,
      "awk",
      "/CapEff/{print $2}",
      "/proc/self/status",
    );
    expect(BigInt(`0x${privileged}`) & (1n << 21n)).toBe(1n << 21n);
  });
  test("-d", async () => {
    await dockerOk("exec", "-d", running, "sh", "-c", "echo done >/tmp/detached");
    expect(
      await dockerOk(
        "exec",
        running,
        "sh",
        "-c",
        "n=0; until [ -s /tmp/detached ] || [ $n = 50 ]; do sleep 0.1; n=$((n+1)); done; cat /tmp/detached",
      ),
    ).toBe("done");
  });
  test("what cannot be executed", async () => {
    const missing = await docker(["exec", running, "nosuch"]);
    expect(missing.code).toBe(127);
    // As dockerd does, the reason comes in the output stream: the connection is hijacked by then.
    expect(missing.stdout + missing.stderr).toContain("executable file not found in $PATH");
    expect((await docker(["exec", running, "/etc/passwd"])).code).toBe(126);
    const stopped = await docker(["exec", ended, "true"]);
    expect(stopped.code).toBe(1);
    expect(stopped.stderr).toContain("is not running");
  });
});

describe("docker logs", () => {
  test("of an ended container: streams apart, --tail, -t, --since, --until", async () => {
    expect(await docker(["logs", ended])).toEqual({
      code: 0,
      stdout: "line 1\nline 2\nline 3\nline 4\n",
      stderr: "wrong\n",
    });
    expect(
      (await docker(["logs", "--tail", "2", ended])).stdout + (await docker(["logs", "--tail", "2", ended])).stderr,
    ).toBe("line 4\nwrong\n");
    const stamped = await docker(["logs", "-t", ended]);
    expect(stamped.stdout).toMatch(/^(\d{4}-\d\d-\d\dT[\d:.]+Z line \d\n){4}$/);
    const future = new Date(Date.now() + 3_600_000).toISOString();
    expect((await docker(["logs", "--since", future, ended])).stdout).toBe("");
    expect((await docker(["logs", "--until", future, ended])).stdout).toContain("line 4");
    expect((await docker(["logs", "--until", "2001-01-01T00:00:00Z", ended])).stdout).toBe("");
  });
  test("-f ends with the container", async () => {
    const name = uniqueName("follow");
    await dockerOk("run", "-d", "--name", name, BUSYBOX, "sh", "-c", "for n in 1 2 3 4 5; do echo $n; sleep 0.3; done");
    expect(await docker(["logs", "-f", name])).toEqual({ code: 0, stdout: "1\n2\n3\n4\n5\n", stderr: "" });
    // Lines that are read together have times a nanosecond apart. Both limits include what has their very time.
    const times = (await dockerOk("logs", "-t", name)).split("\n").map((line) => line.split(" ")[0] ?? "");
    const [, , third = "", fourth = ""] = times;
    expect((await docker(["logs", "--since", fourth, name])).stdout).toBe("4\n5\n");
    expect((await docker(["logs", "--until", third, name])).stdout).toBe("1\n2\n3\n");
    expect((await docker(["logs", "--since", fourth, "--tail", "1", name])).stdout).toBe("5\n");
    expect((await docker(["logs", "--since", "1h", "--until", "0s", "-n", "2", name])).stdout).toBe("4\n5\n");
    expect((await docker(["logs", "--until", "1h", name])).stdout).toBe("");
    expect(await docker(["logs", "-f", "--tail", "0", name])).toEqual({ code: 0, stdout: "", stderr: "" });
    await removeContainers(name);
  });
});

describe("docker cp", () => {
  test.each([
    ["a running container", () => running],
    ["an ended container", () => ended],
  ])("into and out of %s", async (_title, target) => {
    const name = target();
    const content = `text ${Math.random()}\n`;
    await writeFile(join(folder, "source"), content, { mode: 0o640 });
    await dockerOk("cp", join(folder, "source"), `${name}:/tmp/copied`);
    await dockerOk("cp", `${name}:/tmp/copied`, join(folder, "back"));
    expect(await readFile(join(folder, "back"), "utf8")).toBe(content);
    const tar = await docker(["cp", `${name}:/etc`, "-"]);
    expect(tar.stdout).toContain("etc/passwd");
  });
  test("directories: where they land, what is in them, owners and modes", async () => {
    const tree = `mkdir -p tree/deep; echo a >tree/a; echo b >tree/deep/b; ln -s a tree/link; chmod 700 tree/deep
      chmod 600 tree/a; chown 12:34 tree/a`;
    expect(await run(["sh", "-c", `cd ${folder} && rm -rf tree && ${tree}`])).toMatchObject({ code: 0 });
    const look = (path: string): Promise<string> =>
      dockerOk("exec", running, "sh", "-c", `cd ${path} && find . | sort | tr '\\n' ' '; stat -c '%u:%g %a' a`);
    const all = ". ./a ./deep ./deep/b ./link ";
    // Owners stay as dockerd keeps them. A directory that is not there yet becomes the copy; into one that is there the copy goes; "/." means its content.
    await dockerOk("cp", join(folder, "tree"), `${running}:/tmp/made`);
    expect(await look("/tmp/made")).toBe(`${all}12:34 600`);
    await dockerOk("cp", "-a", join(folder, "tree"), `${running}:/tmp/made`);
    expect(await look("/tmp/made/tree")).toBe(`${all}12:34 600`);
    await dockerOk("exec", running, "mkdir", "/tmp/content");
    await dockerOk("cp", `${folder}/tree/.`, `${running}:/tmp/content`);
    expect(await look("/tmp/content")).toBe(`${all}12:34 600`);
    await dockerOk("cp", `${running}:/tmp/made/tree`, join(folder, "returned"));
    const compared = await run(["diff", "-r", "--no-dereference", join(folder, "tree"), join(folder, "returned")]);
    expect(compared).toMatchObject({ code: 0, stdout: "" });
    const wrong = await docker(["cp", join(folder, "tree"), `${running}:/etc/passwd`]);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/not a directory|cannot copy directory/);
  });
  test("an archive on standard input", async () => {
    const archive = `tar -C ${folder} -cf - tree | docker cp - ${running}:/root && docker exec ${running} cat /root/tree/deep/b`;
    expect(await run(["sh", "-c", archive])).toMatchObject({ code: 0, stdout: "b\n" });
  });
  test("links and missing paths", async () => {
    await dockerOk("cp", "-L", `${ended}:/left/link`, join(folder, "followed"));
    expect(await readFile(join(folder, "followed"), "utf8")).toBe("here\n");
    const missing = await docker(["cp", `${ended}:/nowhere`, folder]);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain("Could not find the file /nowhere in container");
  });
  test("the copied file is there when the container runs again", async () => {
    const name = uniqueName("copied");
    await dockerOk("create", "--name", name, BUSYBOX, "cat", "/given");
    await writeFile(join(folder, "given"), "before start\n");
    await dockerOk("cp", join(folder, "given"), `${name}:/given`);
    expect((await docker(["start", "-a", name])).stdout).toBe("before start\n");
    await removeContainers(name);
  });
  test("export has the changed tree", async () => {
    const result = await run(["sh", "-c", `docker export ${ended} | tar -tf - | grep -x left/file`]);
    expect(result.stdout).toBe("left/file\n");
  });
});

test("inspect tells the truth about the ended container", async () => {
  expect(await inspect<{ Status: string; ExitCode: number }>(ended, ".State")).toMatchObject({
    Status: "exited",
    ExitCode: 0,
  });
});
