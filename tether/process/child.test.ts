import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ProcessConfiguration } from "../../src/link/guest-configuration.ts";
import { MOUNT, mount, OPEN, open, unmount } from "../system/libc.ts";
import { type ChildProcess, startProcess } from "./child.ts";
import type { Placement } from "./specification.ts";

const BUSYBOX = Bun.which("busybox");
const possible = process.getuid?.() === 0 && BUSYBOX !== null && Bun.which("clang") !== null;

const linkOf = (path: string): string => {
  try {
    return readlinkSync(path);
  } catch {
    // Closed since it was listed.
    return "";
  }
};

const PROCESS: ProcessConfiguration = {
  arguments: [],
  environment: ["PATH=/bin", "LANG=C"],
  workingDirectory: "/",
  user: "",
  additionalGroups: [],
  terminal: false,
  openStdin: false,
  stdinOnce: false,
  privileged: false,
  capabilities: ["CHOWN", "NET_BIND_SERVICE", "SETUID", "SETGID", "KILL"],
  noNewPrivileges: false,
  limits: [],
};

// Needs root, busybox and clang: runs the real launcher in real namespaces.
describe.skipIf(!possible)("processes", () => {
  const directory = mkdtempSync(join(tmpdir(), "vch-process-"));
  const rootPath = join(directory, "root");
  let root = -1;

  beforeAll(() => {
    const build = Bun.spawnSync(["sh", join(import.meta.dir, "../launcher/build.sh"), directory]);
    if (build.exitCode !== 0) throw new Error(build.stderr.toString());
    for (const name of ["bin", "proc", "sys", "dev", "etc", "tmp"])
      mkdirSync(join(rootPath, name), { recursive: true });
    Bun.spawnSync(["cp", BUSYBOX ?? "", join(rootPath, "bin/busybox")]);
    for (const name of ["sh", "id", "cat", "echo", "sleep", "stty", "tty", "kill", "ps", "true", "pwd", "env"]) {
      symlinkSync("busybox", join(rootPath, "bin", name));
    }
    writeFileSync(join(rootPath, "etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n");
    writeFileSync(join(rootPath, "etc/group"), "root:x:0:\napp:x:1000:\nwheel:x:10:app\nextra:x:77:\n");
    writeFileSync(join(rootPath, "bin/plain"), "no program", { mode: 0o644 });
    writeFileSync(join(rootPath, "bin/garbage"), "\x01\x02", { mode: 0o755 });
    mkdirSync(join(rootPath, "dev/pts"));
    mount("devpts", join(rootPath, "dev/pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=0620");
    writeFileSync(join(rootPath, "dev/null"), "");
    mount("/dev/null", join(rootPath, "dev/null"), "", MOUNT.bind);
    root = open(rootPath, OPEN.readOnly);
  });

  afterAll(() => {
    closeSync(root);
    unmount(join(rootPath, "dev/pts"));
    unmount(join(rootPath, "dev/null"));
    rmSync(directory, { recursive: true, force: true });
  });

  const start = (changes: Partial<ProcessConfiguration>, placement: Partial<Placement> = {}): Promise<ChildProcess> =>
    startProcess({
      process: { ...PROCESS, ...changes },
      placement: {
        kind: "main",
        root: rootPath,
        readOnlyRoot: false,
        isolated: false,
        init: false,
        masked: ["/proc/version", "/proc/scsi"],
        readOnlyPaths: ["/proc/sys"],
        ...placement,
      } as Placement,
      root,
      hostname: "box",
      cgroup: undefined,
      launcher: join(directory, "launcher-x64"),
    });

  const collect = async (child: ChildProcess): Promise<{ exitCode: number; output: string; errors: string }> => {
    const parts: Record<number, Uint8Array[]> = { 1: [], 2: [] };
    await child.pumpOutput(async (stream, bytes) => void parts[stream]?.push(bytes));
    const exitCode = await child.exited;
    await child.release();
    const text = (stream: number): string => Buffer.concat(parts[stream] ?? []).toString();
    return { exitCode, output: text(1), errors: text(2) };
  };
  const shell = async (
    script: string,
    changes: Partial<ProcessConfiguration> = {},
    placement: Partial<Placement> = {},
  ) => collect(await start({ arguments: ["sh", "-c", script], ...changes }, placement));

  test("is PID 1 with its own /proc, and its stdout and stderr are pipes that can be reopened", async () => {
    const result = await shell("echo $$; echo err >&2; echo again > /proc/self/fd/1; exit 7");
    expect(result).toEqual({ exitCode: 7, output: "1\nagain\n", errors: "err\n" });
  });

  test("a signal ends it with 128 + n", async () => {
    const child = await start({ arguments: ["sleep", "60"] }, { init: true });
    child.signal(15);
    expect((await collect(child)).exitCode).toBe(143);
    expect(() => child.signal(9)).toThrow("the process has ended");
  });

  test("runs as the user with groups, capabilities, limits, directory and environment of the configuration", async () => {
    const script =
      "id -u; id -g; id -G; pwd; echo $HOME $HOSTNAME $LANG; ulimit -n; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status";
    const result = await shell(script.replace("grep", "busybox grep"), {
      user: "app",
      additionalGroups: ["extra", "4000"],
      workingDirectory: "/made/here",
      noNewPrivileges: true,
      limits: [{ name: "nofile", soft: 123, hard: 456 }],
    });
    const status = "CapEff:\t0000000000000000\nCapBnd:\t00000000000004e1\nNoNewPrivs:\t1\n";
    expect(result.errors).toBe("");
    expect(result.output).toBe(`1000\n1000\n1000 10 77 4000\n/made/here\n/home/app box C\n123\n${status}`);
    const asRoot = await collect(
      await start({ arguments: ["busybox", "grep", "-E", "CapEff|SigIgn|SigBlk", "/proc/self/status"] }),
    );
    expect(asRoot.output).toBe("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nCapEff:\t00000000000004e1\n");
  });

  test("masked and read-only paths, read-only root", async () => {
    const masked = await shell(
      "busybox wc -c < /proc/version; echo 1 > /proc/sys/kernel/panic && echo written; echo > /tmp/x && echo root",
    );
    expect(masked.errors).toContain("/proc/sys/kernel/panic: Read-only file system");
    expect(masked.output).toBe("0\nroot\n");
    const readOnly = await shell("echo > /tmp/y && echo written; true", {}, { readOnlyRoot: true });
    expect(readOnly.output).toBe("");
    const isolated = await shell("busybox ip link", {}, { isolated: true });
    expect(isolated.output).toMatch(/^1: lo: <LOOPBACK,UP,LOWER_UP>[^\n]*\n[^\n]*\n$/);
  });

  test("failures have Docker's text and exit code", async () => {
    const failure = async (changes: Partial<ProcessConfiguration>): Promise<unknown> =>
      start(changes).then(
        () => undefined,
        (error) => [error.failure, error.exitCode, error.message],
      );
    expect(await failure({ arguments: ["nosuch"] })).toEqual([
      "not-found",
      127,
      'exec: "nosuch": executable file not found in $PATH',
    ]);
    expect(await failure({ arguments: ["plain"] })).toEqual([
      "not-found",
      127,
      'exec: "plain": executable file not found in $PATH',
    ]);
    expect(await failure({ arguments: ["/bin/nosuch"] })).toEqual([
      "not-found",
      127,
      'exec: "/bin/nosuch": stat /bin/nosuch: no such file or directory',
    ]);
    expect(await failure({ arguments: ["/bin/plain"] })).toEqual([
      "not-executable",
      126,
      'exec: "/bin/plain": permission denied',
    ]);
    expect(await failure({ arguments: ["/bin/garbage"] })).toEqual([
      "not-executable",
      126,
      "exec /bin/garbage: exec format error",
    ]);
    expect(await failure({ arguments: ["true"], workingDirectory: "/etc/passwd" })).toMatchObject([
      "bad-working-directory",
      127,
      expect.stringContaining("not a directory"),
    ]);
    expect(await failure({ arguments: ["true"], user: "nobody" })).toMatchObject([
      "no-such-user",
      128,
      "unable to find user nobody: no matching entries in passwd file",
    ]);
  });

  test("stdin: bytes in order, then end of file; large amounts with back-pressure", async () => {
    const child = await start({ arguments: ["cat"], openStdin: true });
    const block = "0123456789abcdef".repeat(4096);
    const feeding = (async () => {
      for (let i = 0; i < 50; i++) await child.writeInput(Buffer.from(block));
      await child.endInput();
    })();
    const result = await collect(child);
    await feeding;
    expect(result.output.length).toBe(50 * block.length);
    expect(result.output).toBe(block.repeat(50));
  });

  test("a terminal: size, controlling tty, resize, interrupt key", async () => {
    const script = "tty; stty size; sleep 5; echo interrupted";
    const child = await start({
      arguments: ["sh", "-c", `trap 'stty size; exit 3' INT; ${script}`],
      terminal: true,
      openStdin: true,
      consoleSize: { rows: 33, columns: 99 },
    });
    setTimeout(() => {
      child.resize(40, 120);
      void child.writeInput(Buffer.from("\x03"));
    }, 300);
    const result = await collect(child);
    expect(result.output.replaceAll("\r", "")).toBe("/dev/pts/0\n33 99\n^C40 120\n");
    expect(result.exitCode).toBe(3);
  });

  test("exec joins the namespaces; everything ends with the main process; descendants are reaped", async () => {
    const main = await start({ arguments: ["sleep", "60"] }, { init: true });
    const exec = (script: string) => shell(script, {}, { kind: "exec", join: main.pid } as Placement);
    const listing = await exec("busybox ps -o pid,args");
    expect(listing.output).toContain("2 sleep 60");
    expect(listing.output.split("\n").length).toBeLessThan(7);
    await exec("(sleep 0.1 &) ; exit 0");
    await Bun.sleep(300);
    expect((await exec("busybox ps -o stat,args")).output).not.toMatch(/^Z/m);
    const lasting = await start({ arguments: ["sleep", "60"] }, { kind: "exec", join: main.pid } as Placement);
    main.signal(9);
    expect((await collect(main)).exitCode).toBe(137);
    expect((await collect(lasting)).exitCode).toBe(137);
    await expect(exec("true")).rejects.toMatchObject({ failure: "not-running" });
  });

  test("200 short processes: every exit code is right, no descriptor is left", async () => {
    // Pipes and memory files only: the runtime opens others of its own.
    const count = (): number =>
      readdirSync("/proc/self/fd").filter((fd) => /^(pipe:|\/memfd:)/.test(linkOf(`/proc/self/fd/${fd}`))).length;
    await shell("exit 0");
    const before = count();
    for (let round = 0; round < 20; round++) {
      const codes = await Promise.all(Array.from({ length: 10 }, (_, i) => shell(`exit ${i}`)));
      expect(codes.map(({ exitCode }) => exitCode)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    // The runtime closes its side of a pipe a little later.
    for (let wait = 0; count() > before && wait < 100; wait++) await Bun.sleep(20);
    expect(count()).toBeLessThanOrEqual(before);
  });
});
