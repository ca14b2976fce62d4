/** The real docker CLI against the API server: every stream it opens, over the unix socket and over mutual TLS. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ServerFixture, startServer } from "./server-fixture.ts";

const MEBIBYTE = 1024 * 1024;
let fixture: ServerFixture;
beforeAll(async () => {
  fixture = await startServer();
});
afterAll(async () => {
  await fixture.close();
});

const sha256 = (data: Uint8Array | string): string => createHash("sha256").update(data).digest("hex");

async function eventually(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error("the expected state did not come within 5 s");
    await Bun.sleep(10);
  }
}

for (const transport of ["unix", "tls"] as const) {
  describe(`docker CLI over ${transport}`, () => {
    const host = (): string[] =>
      transport === "unix" ? ["-H", `unix://${fixture.socket}`] : ["-H", `tcp://127.0.0.1:${fixture.port}`];
    const environment = (): Record<string, string> => ({
      PATH: process.env.PATH ?? "",
      HOME: fixture.directory,
      TERM: "xterm",
      DOCKER_CONFIG: fixture.directory,
      ...(transport === "tls" ? { DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: fixture.directory } : {}),
    });
    const start = (args: string[], stdin: "ignore" | "pipe" | Uint8Array = "ignore") =>
      Bun.spawn(["docker", ...host(), ...args], { env: environment(), stdin, stdout: "pipe", stderr: "pipe" });
    const docker = async (args: string[], stdin: "ignore" | Uint8Array = "ignore") => {
      const child = start(args, stdin);
      const [out, err, code] = await Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
      return { out: Buffer.from(out), text: Buffer.from(out).toString(), err, code };
    };
    const inTerminal = async (args: string[], typed: string, when: string) => {
      let shown = "";
      let sent = false;
      const terminal = new Bun.Terminal({
        cols: 97,
        rows: 31,
        data: (self, bytes) => {
          shown += new TextDecoder().decode(bytes);
          if (!sent && shown.includes(when)) {
            sent = true;
            self.write(typed);
          }
        },
      });
      const child = Bun.spawn(["docker", ...host(), ...args], { env: environment(), terminal });
      const code = await child.exited;
      await Bun.sleep(50);
      terminal.close();
      return { shown, code };
    };

    test("version, info, ps, images, df", async () => {
      expect((await docker(["version", "--format", "{{.Server.Version}} {{.Server.MinAPIVersion}}"])).text).toBe(
        "0.0.1 1.24\n",
      );
      expect((await docker(["info", "--format", "{{.Driver}} {{.Swarm.LocalNodeState}}"])).code).toBe(0);
      expect((await docker(["images", "-q"])).text).toBe(`${"a".repeat(12)}\n`);
      expect((await docker(["system", "df"])).text).toContain("Images");
      expect((await docker(["volume", "create", `v-${transport}`])).text).toBe(`v-${transport}\n`);
      expect((await docker(["volume", "ls", "-q", "--filter", "label=x"])).text).toContain(`v-${transport}`);
      expect(fixture.engine.lastFilters?.get("label")).toEqual(["x"]);
      expect((await docker(["network", "ls", "-q"])).text).toBe(`${"b".repeat(12)}\n`);
    });

    test("run separates stdout and stderr and returns the exit code", async () => {
      const run = await docker(["run", "--rm", "shell", "sh", "-c", "echo out; echo err >&2; exit 7"]);
      expect(run).toMatchObject({ text: "out\n", err: "err\n", code: 7 });
    });

    test("run -i passes input and its end", async () => {
      const run = await docker(["run", "-i", "--rm", "shell", "cat"], new TextEncoder().encode("hello"));
      expect(run).toMatchObject({ text: "hello", code: 0 });
    });

    test("output that comes after the end of input arrives", async () => {
      const run = await docker(
        ["run", "-i", "--rm", "shell", "sh", "-c", "cat >/dev/null; sleep 0.3; echo late"],
        new Uint8Array(10),
      );
      expect(run.text).toBe("late\n");
    });

    test("run -i carries 50 MiB there and back unharmed", async () => {
      const data = crypto.getRandomValues(new Uint8Array(65536));
      const input = Buffer.alloc(50 * MEBIBYTE);
      for (let at = 0; at < input.length; at += data.length) {
        data[0] = at >> 16;
        input.set(data, at);
      }
      const run = await docker(["run", "-i", "--rm", "shell", "cat"], input);
      expect(sha256(run.out)).toBe(sha256(input));
      const counted = await docker(["run", "-i", "--rm", "shell", "sha256sum"], input.subarray(0, 5 * MEBIBYTE));
      expect(counted.text).toStartWith(sha256(input.subarray(0, 5 * MEBIBYTE)));
    }, 60_000);

    test("run -it has the terminal's size and takes typed input", async () => {
      const script = "stty size; echo ready; read line; echo got:$line; exit 5";
      const { shown, code } = await inTerminal(
        ["run", "-it", "--rm", "shell", "sh", "-c", `sleep 0.5; ${script}`],
        "abc\n",
        "ready",
      );
      expect(shown).toContain("31 97");
      expect(shown).toContain("got:abc");
      expect(code).toBe(5);
    });

    test("exec: output, exit code, input, terminal", async () => {
      const { text } = await docker(["run", "-d", "shell", "sleep", "60"]);
      const id = text.trim();
      expect(await docker(["exec", id, "sh", "-c", "echo a; echo b >&2; exit 3"])).toMatchObject({
        text: "a\n",
        err: "b\n",
        code: 3,
      });
      expect((await docker(["exec", "-i", id, "cat"], new TextEncoder().encode("xyz"))).text).toBe("xyz");
      const tty = await inTerminal(
        ["exec", "-it", id, "sh", "-c", "stty size; echo ready; read l; echo got:$l; exit 4"],
        "q\n",
        "ready",
      );
      expect(tty.shown).toContain("31 97");
      expect(tty.shown).toContain("got:q");
      expect(tty.code).toBe(4);
      expect((await docker(["exec", "-d", id, "true"])).code).toBe(0);
      const missing = await docker(["exec", id, "no-such-program"]);
      expect(missing.code).toBe(127);
      expect(missing.text).toContain("executable file not found");
      expect((await docker(["rm", "-f", id])).code).toBe(0);
    });

    test("exec on a stopped container and unknown containers give Docker's errors", async () => {
      expect((await docker(["exec", "nobody", "true"])).err).toContain("No such container: nobody");
      expect((await docker(["rm", "nobody"])).err).toContain("No such container: nobody");
      for (const verb of ["pause", "unpause", "diff", "commit"])
        expect((await docker([verb, "nobody"])).err, verb).toContain("No such container: nobody");
      expect((await docker(["update", "--cpus", "1", "nobody"])).err).toContain("No such container: nobody");
      expect((await docker(["service", "ls"])).err).toContain("This node is not a swarm manager");
      expect((await docker(["plugin", "ls", "-q"])).code).toBe(0);
    });

    test("logs, logs -f and its abort", async () => {
      const id = (
        await docker(["run", "-d", "shell", "sh", "-c", "echo one; echo two >&2; exec sleep 60"])
      ).text.trim();
      await eventually(() => fixture.engine.find(id).process.log.length >= 2);
      expect(await docker(["logs", id])).toMatchObject({ text: "one\n", err: "two\n" });
      expect((await docker(["logs", "-t", "--tail", "1", id])).err).toMatch(
        /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z two\n$/,
      );
      const follow = start(["logs", "-f", id]);
      const first = await follow.stdout.getReader().read();
      expect(new TextDecoder().decode(first.value)).toBe("one\n");
      const { process: container } = fixture.engine.find(id);
      const before = container.detached;
      follow.kill("SIGKILL");
      await eventually(() => container.detached > before);
      await docker(["rm", "-f", id]);
    });

    test("a killed client is noticed and its container goes on", async () => {
      const name = `killed-${transport}`;
      const client = start(["run", "--name", name, "shell", "sh", "-c", "while :; do echo tick; sleep 0.05; done"]);
      const first = await client.stdout.getReader().read();
      expect(new TextDecoder().decode(first.value)).toContain("tick");
      client.kill("SIGKILL");
      await eventually(() => fixture.engine.find(name).process.detached > 0);
      expect(fixture.engine.find(name).process.running).toBe(true);
      expect((await docker(["rm", "-f", name])).code).toBe(0);
    });

    test("attach and wait", async () => {
      const id = (await docker(["run", "-d", "-i", "shell", "sh", "-c", "read l; echo got:$l; exit 9"])).text.trim();
      const waiting = docker(["wait", id]);
      const attached = await docker(["attach", id], new TextEncoder().encode("hi\n"));
      expect(attached).toMatchObject({ text: "got:hi\n", code: 9 });
      expect((await waiting).text).toBe("9\n");
    });

    test("pull: progress, early errors and late errors", async () => {
      expect((await docker(["pull", "shell"])).text).toContain(
        "Status: Downloaded newer image for docker.io/library/shell:latest",
      );
      expect((await docker(["pull", "missing"])).err).toContain(
        "manifest for docker.io/library/missing:latest not found",
      );
      const broken = await docker(["pull", "broken"]);
      expect(broken.err).toContain("layer digest does not match");
      expect(broken.code).toBe(1);
    });

    test("events arrive with their time, and the subscription ends with the client", async () => {
      const child = start(["events", "--format", "{{json .}}"]);
      await eventually(() => fixture.engine.subscribers > 0);
      fixture.engine.emit("container", "start", "c1", { image: "shell" });
      const { value } = await child.stdout.getReader().read();
      const event = JSON.parse(new TextDecoder().decode(value));
      expect(event).toMatchObject({ Type: "container", Action: "start", status: "start", id: "c1", from: "shell" });
      expect(new TextDecoder().decode(value)).toMatch(/"timeNano":\d{13}123457\b/);
      child.kill("SIGKILL");
      await eventually(() => fixture.engine.subscribers === 0);
    });

    test("cp both ways and load", async () => {
      const id = (await docker(["create", "shell", "true"])).text.trim();
      const folder = join(fixture.directory, `cp-${transport}`);
      await mkdir(folder);
      await writeFile(join(folder, "file"), "content");
      const tar = await Bun.$`tar -C ${folder} -cf - file`.arrayBuffer();
      const stat = { name: "file", size: 7, mode: 0o644, mtime: "2026-01-01T00:00:00Z", linkTarget: "" };
      fixture.engine.archives.set("/file", { stat, tar: new Uint8Array(tar) });
      fixture.engine.archives.set("/folder", {
        stat: { ...stat, name: "folder", mode: 0x80000000 + 0o755 },
        tar: new Uint8Array(tar),
      });
      expect(await docker(["cp", `${id}:/file`, join(folder, "copy")])).toMatchObject({ code: 0 });
      expect(await Bun.file(join(folder, "copy")).text()).toBe("content");
      expect(await docker(["cp", join(folder, "file"), `${id}:/folder`])).toMatchObject({ code: 0 });
      expect(fixture.engine.written.at(-1)).toMatchObject({ path: "/folder" });
      expect((await docker(["cp", `${id}:/nothing`, folder])).err).toContain("Could not find the file /nothing");
      const load = await docker(["load"], Buffer.from(tar));
      expect(load.text).toContain(sha256(new Uint8Array(tar)));
      expect((await docker(["export", id])).text).toBe("exported");
      await docker(["rm", id]);
    });

    test("login", async () => {
      const good = await docker(
        ["login", "-u", "ada", "--password-stdin", "r.example"],
        new TextEncoder().encode("secret"),
      );
      expect(good.text).toContain("Login Succeeded");
      const bad = await docker(
        ["login", "-u", "ada", "--password-stdin", "r.example"],
        new TextEncoder().encode("wrong"),
      );
      expect(bad.err).toContain("incorrect username or password");
    });
  });
}

describe("client certificates", () => {
  const version = async (certificates: string | undefined) => {
    const child = Bun.spawn(
      [
        "docker",
        "-H",
        `tcp://127.0.0.1:${fixture.port}`,
        "--tls",
        `--tlscacert=${fixture.directory}/ca.pem`,
        ...(certificates === undefined
          ? []
          : [`--tlscert=${certificates}/cert.pem`, `--tlskey=${certificates}/key.pem`]),
        "version",
      ],
      {
        env: { PATH: process.env.PATH ?? "", HOME: fixture.directory, DOCKER_CONFIG: "/nonexistent" },
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    return (await child.stderr.text()) + (await child.stdout.text());
  };

  test("none, a foreign one and a server's are refused in words; nothing reaches the engine", async () => {
    const { createAuthority, issueClient } = await import("../../src/ca/index.ts");
    const foreign = join(fixture.directory, "foreign");
    await createAuthority(foreign);
    await issueClient(foreign, { commonName: "mallory" });
    expect(await version(undefined)).toContain("client certificate required");
    expect(await version(foreign)).toContain("must be issued by this endpoint's certificate authority");
    const asServer = join(fixture.directory, "as-server");
    await mkdir(asServer);
    await Bun.write(join(asServer, "cert.pem"), Bun.file(join(fixture.directory, "server-cert.pem")));
    await Bun.write(join(asServer, "key.pem"), Bun.file(join(fixture.directory, "server-key.pem")));
    expect(await version(asServer)).toContain("bad client certificate");
    expect(await version(fixture.directory)).toContain("0.0.1");
  });

  test("the log names the client of each changing call", async () => {
    expect(fixture.logged.some(({ fields }) => fields.method === "POST" && fields.client === "ada")).toBe(true);
    expect(fixture.logged.some(({ fields }) => fields.method === "POST" && fields.client === "unix")).toBe(true);
    expect(fixture.logged.filter(({ level }) => level === "error")).toEqual([]);
  });
});
