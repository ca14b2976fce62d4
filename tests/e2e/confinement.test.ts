/** What holds a process back inside of its VM: system calls, hidden paths, devices, limits of disk and of speed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, removeContainers, uniqueName } from "./docker.ts";

const SECCOMP = "awk '/^Seccomp:/{print $2}' /proc/self/status";
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-confinement-"));
  await dockerOk("pull", "-q", BUSYBOX);
});
afterAll(() => rm(directory, { recursive: true }));

test("Docker's profile and hidden paths hold for the process and for exec; devices, size and speed of the disk", async () => {
  const name = uniqueName("confined");
  await dockerOk(
    ...["run", "-d", "--name", name, "--device", "/dev/sda:/dev/disk/root", "--device", "/dev/rtc0"],
    ...["--device-write-bps", "/dev/sda:1mb", "--storage-opt", "size=64m"],
    ...[BUSYBOX, "sh", "-c", `${SECCOMP}; exec sleep 100000`],
  );
  const shell = (script: string) => docker(["exec", name, "sh", "-c", script]);

  expect((await shell(SECCOMP)).stdout).toBe("2\n");
  expect(await dockerOk("logs", name)).toBe("2");
  // The profile lets nobody without CAP_SYS_ADMIN make a namespace, not even of users.
  expect((await shell("unshare -U true")).stderr).toContain("Operation not permitted");
  expect((await shell("head -c 4 /proc/kcore | wc -c; ls /sys/firmware | wc -l")).stdout).toBe("0\n0\n");
  expect((await shell("echo 0 >/proc/sys/kernel/sysrq")).stderr).toContain("Read-only file system");

  expect((await shell("ls -l /dev/disk/root | awk '{print substr($1,1,1) $5 $6}'; test -c /dev/rtc0")).stdout).toBe(
    "b8,0\n",
  );
  const slow = await shell("date +%s; dd if=/dev/zero of=/six bs=1M count=6 conv=fsync 2>&1; date +%s");
  const [begun, ended] = slow.stdout.match(/^\d{9,}$/gm)?.map(Number) ?? [];
  expect((ended ?? 0) - (begun ?? 0), slow.stdout + slow.stderr).toBeGreaterThan(3);
  const full = await shell("fallocate -l 80m /much 2>&1; rm /much");
  expect(full.stdout).toContain("No space left on device");
  await removeContainers(name);
});

test("profiles of one's own, none, and a privileged container", async () => {
  const profile = join(directory, "profile.json");
  await writeFile(
    profile,
    JSON.stringify({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }],
    }),
  );
  const runs = {
    own: ["--security-opt", `seccomp=${profile}`, BUSYBOX, "sh", "-c", `${SECCOMP}; mkdir /x`],
    none: ["--security-opt", "seccomp=unconfined", BUSYBOX, "sh", "-c", `${SECCOMP}; head -c 4 /proc/kcore | wc -c`],
    privileged: [
      ...["--privileged", BUSYBOX, "sh", "-c"],
      `${SECCOMP}; head -c 4 /proc/kcore | wc -c; cat /proc/sys/kernel/sysrq >/proc/sys/kernel/sysrq && echo written`,
    ],
  };
  const [own, none, privileged] = await Promise.all(
    [runs.own, runs.none, runs.privileged].map((words) => docker(["run", "--rm", ...words])),
  );
  expect(own?.stdout).toBe("2\n");
  expect(own?.stderr).toContain("No space left on device");
  expect(none).toMatchObject({ code: 0, stdout: "0\n0\n" });
  expect(privileged).toMatchObject({ code: 0, stdout: "0\n4\nwritten\n" });
});

test("what cannot be is refused, at create or at start, with the reason", async () => {
  const refused = async (...words: string[]) => {
    const { code, stderr } = await docker(["create", ...words, BUSYBOX, "true"]);
    expect(code).not.toBe(0);
    return stderr;
  };
  expect(await refused("--device", "/dev/sda:/dev/x:r")).toContain("permissions");
  expect(await refused("--device-read-bps", "/etc:1mb")).toContain("/etc");
  expect(await refused("--storage-opt", "size=100t")).toContain("more than the root disk's");
  expect(await refused("--storage-opt", "size=1k")).toContain("less than the image's");
  expect(await refused("--storage-opt", "colour=blue")).toContain("colour");
  expect(await refused("--security-opt", "apparmor=own")).toContain("AppArmor");
  const bad = join(directory, "bad.json");
  await writeFile(bad, JSON.stringify({ defaultAction: "SCMP_ACT_MAYBE" }));
  expect(await refused("--security-opt", `seccomp=${bad}`)).toContain("SCMP_ACT_MAYBE");

  const name = uniqueName("nodevice");
  const started = await docker(["run", "--name", name, "--device", "/dev/absent", BUSYBOX, "true"]);
  // As of dockerd: the CLI takes any "no such file or directory" for a command that is not there.
  expect(started.code).toBe(127);
  expect(started.stderr).toContain('error gathering device information while adding custom device "/dev/absent"');
  await removeContainers(name);
});
