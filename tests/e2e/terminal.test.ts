/** Terminals: size and its changes, keys that interrupt and detach, several clients, and what the log keeps of it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, inspect, removeContainers, uniqueName } from "./docker.ts";
import { dockerOnTerminal } from "./terminal.ts";

const CONTROL_C = "\x03";
const CONTROL_P = "\x10";
const CONTROL_Q = "\x11";
const CONTROL_X = "\x18";

const box = uniqueName("terminal");

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
});
afterAll(() => removeContainers(box));

test("run -it: the window's size and its changes, an interrupting key, detaching", async () => {
  const session = dockerOnTerminal({ rows: 33, cols: 111 }, "run", "-it", "--name", box, BUSYBOX, "sh");
  await session.find("# ");
  session.type("stty size; tty; echo $TERM\n");
  await session.find("33 111\n/dev/pts/0\nxterm\n");
  session.type("until stty size | grep '44 122'; do sleep 0.1; done\n");
  session.resize(44, 122);
  await session.find("\n44 122\n");
  // A key counts as a signal when the shell's own line editing is over.
  session.type("echo begun; sleep 1000\n");
  await session.find("\nbegun\n");
  session.type(CONTROL_C);
  await session.find("# ");
  session.type("echo interrupted $?\n");
  await session.find("\ninterrupted 130\n");
  session.type(CONTROL_P + CONTROL_Q);
  expect(await session.exited).toBe(0);
  expect(await inspect<object>(box, ".State")).toMatchObject({ Running: true, ExitCode: 0 });
});

test("exec -it: a terminal of its own, with its own size", async () => {
  const session = dockerOnTerminal({ rows: 20, cols: 77 }, "exec", "-it", box, "sh");
  await session.find("# ");
  session.type("stty size; tty\n");
  await session.find("20 77\n/dev/pts/1\n");
  session.resize(21, 78);
  session.type("until [ \"$(stty size)\" = '21 78' ]; do sleep 0.1; done; echo seen\n");
  await session.find("\nseen\n");
  session.type("exit 9\n");
  expect(await session.exited).toBe(9);
});

test("attach: the same terminal again, for two clients, with other keys for detaching", async () => {
  const first = dockerOnTerminal({ rows: 24, cols: 80 }, "attach", "--detach-keys", "ctrl-x,d", box);
  const second = dockerOnTerminal({ rows: 24, cols: 80 }, "attach", "--no-stdin", box);
  first.type("while sleep 0.2; do echo both-$((10+1)); done\n");
  await first.find("\nboth-11\n");
  await second.find("\nboth-11\n");
  first.type(CONTROL_C);
  await first.find("# ");
  first.type(`${CONTROL_X}d`);
  await first.find("read escape sequence");
  await first.exited;
  expect(await inspect<boolean>(box, ".State.Running")).toBe(true);
  const last = dockerOnTerminal({ rows: 24, cols: 80 }, "attach", box);
  last.type("exit 5\n");
  expect(await last.exited).toBe(5);
  expect(await second.exited).toBe(5);
});

test("the log of a terminal is one stream", async () => {
  const { stdout, stderr } = await docker(["logs", box]);
  expect(stdout).toContain("33 111\r\n/dev/pts/0\r\nxterm\r\n");
  expect(stdout).toContain("exit 5");
  expect(stderr).toBe("");
});

test("signals to the client reach the container, and -a chooses the streams", async () => {
  const name = uniqueName("proxied");
  const script = "trap 'echo terminated; exit 6' TERM; echo ready; echo unseen >&2; while :; do sleep 0.1; done";
  const words = ["docker", "run", "--rm", "-a", "stdout", "--name", name, BUSYBOX, "sh", "-c", script];
  const client = Bun.spawn(words, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  let output = "";
  for await (const chunk of client.stdout) {
    output += Buffer.from(chunk).toString();
    if (output === "ready\n") client.kill("SIGTERM");
  }
  expect({ output, code: await client.exited }).toEqual({ output: "ready\nterminated\n", code: 6 });
  expect(await client.stderr.text()).toBe("");
});

test("-a stdin with -a stdout and -a stderr, and -a stdin alone", async () => {
  const script = "read line; echo out $line; echo err >&2";
  const both = ["run", "--rm", "-i", "-a", "stdin", "-a", "stdout", "-a", "stderr", BUSYBOX, "sh", "-c", script];
  expect(await docker(both, { input: "given\n" })).toEqual({ code: 0, stdout: "out given\n", stderr: "err\n" });
  const name = uniqueName("only-input");
  const alone = await docker(["run", "-i", "-a", "stdin", "--name", name, BUSYBOX, "sh", "-c", script], {
    input: "given\n",
  });
  expect(alone).toMatchObject({ code: 0, stderr: "" });
  // Versions of the CLI differ in whether they print the id then.
  expect(alone.stdout).toMatch(/^([0-9a-f]{64}\n)?$/);
  expect(await dockerOk("wait", name)).toBe("0");
  expect(await docker(["logs", name])).toEqual({ code: 0, stdout: "out given\n", stderr: "err\n" });
  await removeContainers(name);
});
