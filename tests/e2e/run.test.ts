import { beforeAll, describe, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, image, inspect, removeContainers, run, uniqueName } from "./docker.ts";

beforeAll(async () => {
  for (const name of ["busybox", "nonroot", "entrypoint"]) await dockerOk("pull", "-q", image(name));
});

describe("docker run", () => {
  test("boots a kernel of its own and passes output and exit code", async () => {
    const result = await docker(["run", "--rm", BUSYBOX, "sh", "-c", "uname -r; echo problem >&2; exit 7"]);
    expect(result.code).toBe(7);
    expect(result.stdout.trim()).not.toBe((await run(["uname", "-r"])).stdout.trim());
    expect(result.stdout).toMatch(/^\d+\.\d+.*\n$/);
    expect(result.stderr).toBe("problem\n");
  });

  test("-i with a half-closed stdin", async () => {
    expect(await docker(["run", "--rm", "-i", BUSYBOX, "cat"], { input: "hi\n" })).toEqual({
      code: 0,
      stdout: "hi\n",
      stderr: "",
    });
  });

  test("-i carries megabytes both ways unharmed", async () => {
    const input = new Uint8Array(3 * 1024 * 1024).map((_, index) => (index * 31) % 251);
    const digest = new Bun.CryptoHasher("sha256").update(input).digest("hex");
    const result = await docker(
      ["run", "--rm", "-i", BUSYBOX, "sh", "-c", "cat | tee /tmp/copy | sha256sum; sha256sum </tmp/copy >&2"],
      { input },
    );
    expect(result).toEqual({ code: 0, stdout: `${digest}  -\n`, stderr: `${digest}  -\n` });
  });

  test("-t gives a terminal with the client's size, also with -i", async () => {
    const command = `stty rows 33 cols 111; docker run --rm -it ${BUSYBOX} sh -c 'tty; stty size; echo $TERM'`;
    const result = await run(["script", "-qec", command, "/dev/null"], { environment: { TERM: "xterm" } });
    expect(result.stdout.replaceAll("\r", "")).toContain("/dev/pts/0\n33 111\nxterm\n");
    expect(result.code).toBe(0);
  });

  test("-d prints the id; -a attaches only what is named; wait gives the exit code", async () => {
    const name = uniqueName("detached");
    const id = await dockerOk("run", "-d", "--name", name, BUSYBOX, "sh", "-c", "sleep 1; exit 3");
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(await dockerOk("wait", name)).toBe("3");
    await removeContainers(name);
    const result = await docker(["run", "--rm", "-a", "stderr", BUSYBOX, "sh", "-c", "echo out; echo err >&2"]);
    expect(result).toEqual({ code: 0, stdout: "", stderr: "err\n" });
  });

  test("--rm leaves nothing behind", async () => {
    const name = uniqueName("gone");
    const volumes = await dockerOk("volume", "ls", "-q");
    await dockerOk("run", "--rm", "--name", name, "-v", "/anonymous", BUSYBOX, "true");
    expect(await dockerOk("ps", "-aq", "--filter", `name=${name}`)).toBe("");
    expect(await dockerOk("volume", "ls", "-q")).toBe(volumes);
  });

  test("-e -w -h -l --entrypoint, domain name and process ids", async () => {
    const name = uniqueName("options");
    const output = await dockerOk(
      ...[
        "run",
        "--name",
        name,
        "-e",
        "A=b|c=d e",
        "-e",
        "FROM_HOST",
        "-w",
        "/made/here",
        "-h",
        "box.example.org",
        "-l",
        "team=x",
        "--entrypoint",
        "sh",
      ],
      ...[BUSYBOX, "-c", 'echo "$A"; pwd; hostname; echo $$; cat /etc/hostname; grep -c box /etc/hosts'],
    );
    expect(output).toBe("b|c=d e\n/made/here\nbox.example.org\n1\nbox.example.org\n1");
    expect(await inspect<Record<string, string>>(name, ".Config.Labels")).toEqual({ team: "x" });
    await removeContainers(name);
  });

  test("users by name, by id and from the image's own passwd", async () => {
    const script = 'id -u; id -g; id -G; echo "$HOME"; pwd';
    expect(await dockerOk("run", "--rm", image("nonroot"), "sh", "-c", script)).toBe(
      "1234\n2345\n2345 3000\n/srv/app\n/srv/app",
    );
    expect(await dockerOk("run", "--rm", "-u", "daemon", BUSYBOX, "sh", "-c", "id -u; id -G")).toBe("1\n1 100");
    expect(
      await dockerOk(
        "run",
        "--rm",
        "-u",
        "4711:4712",
        "--group-add",
        "users",
        BUSYBOX,
        "sh",
        "-c",
        "id -u; id -g; id -G",
      ),
    ).toBe("4711\n4712\n4712 100");
  });

  test("an entrypoint script with its default and with given arguments", async () => {
    expect(await dockerOk("run", "--rm", image("entrypoint"))).toBe("entrypoint: 2: echo default\ndefault");
    expect(await dockerOk("run", "--rm", image("entrypoint"), "sh", "-c", "echo $GREETING")).toBe(
      "entrypoint: 3: sh -c echo $GREETING\nhello",
    );
  });

  test("-m and --cpus size the virtual machine", async () => {
    const name = uniqueName("sized");
    const output = await dockerOk(
      "run",
      "--name",
      name,
      "-m",
      "200m",
      "--cpus",
      "2",
      BUSYBOX,
      "sh",
      "-c",
      "nproc; awk '/MemTotal/{print $2}' /proc/meminfo",
    );
    const [cpus, memory] = output.split("\n").map(Number);
    expect(cpus).toBe(2);
    expect(memory).toBeGreaterThan(200 * 1024 * 0.95);
    expect(await inspect<number>(name, ".HostConfig.Memory")).toBe(200 * 1024 * 1024);
    expect(await inspect<number>(name, ".HostConfig.NanoCpus")).toBe(2e9);
    await removeContainers(name);
  });

  test("--init reaps and forwards signals", async () => {
    const name = uniqueName("init");
    await dockerOk("run", "-d", "--init", "--name", name, BUSYBOX, "sleep", "1000");
    expect(await dockerOk("exec", name, "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline")).not.toStartWith("sleep");
    const before = Date.now();
    await dockerOk("stop", "-t", "60", name);
    // sleep has no handler for SIGTERM: as PID 1 it would ignore it for the whole minute.
    expect(Date.now() - before).toBeLessThan(40_000);
    expect(await inspect<number>(name, ".State.ExitCode")).toBe(143);
    await removeContainers(name);
  });

  test("a read-only root, tmpfs, shm size and ulimits hold", async () => {
    const result = await docker([
      ...[
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/scratch:size=1m",
        "--shm-size",
        "8m",
        "--ulimit",
        "nofile=123:456",
        BUSYBOX,
        "sh",
        "-c",
      ],
      "echo x >/scratch/ok && echo tmpfs; echo y >/no 2>/dev/null || echo refused; df -k /dev/shm | awk 'NR==2{print $2}'; ulimit -n; ulimit -Hn",
    ]);
    expect(result.stdout).toBe("tmpfs\nrefused\n8192\n123\n456\n");
  });
});
