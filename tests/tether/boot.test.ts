import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { endOfTar, tarHeader, tarPadding } from "../../src/format/tar";
import type { Channel } from "../../src/link/contract";
import type { Session } from "../../src/link/session";
import { bootGuest, containerOf, type Guest, type Medium, makeMedium } from "./guest";

/** Boots real VMs under QEMU: needs apt packages, clang, lld and busybox. Minutes without KVM. */
const LIMIT = 240_000;
let medium: Medium;
let disk = "";
let volume = "";

const sparseFile = async (name: string): Promise<string> => {
  const path = join(medium.folder, name);
  await Bun.write(path, "");
  const child = Bun.spawn(["truncate", "-s", "1G", path]);
  expect(await child.exited).toBe(0);
  return path;
};

beforeAll(async () => {
  medium = await makeMedium();
  disk = await sparseFile("root.raw");
  volume = await sparseFile("volume.raw");
}, LIMIT);
afterAll(() => medium.remove());

const collect = async (channel: Channel) => {
  const result = { out: "", err: "", controls: [] as Record<string, unknown>[] };
  for await (const message of channel) {
    if (message.kind === "control") result.controls.push(message.message);
    if (message.kind === "data") result[message.stream === 2 ? "err" : "out"] += Buffer.from(message.bytes).toString();
  }
  return result;
};

const busyboxLayer = async (): Promise<Uint8Array> => {
  const busybox = await Bun.file(Bun.which("busybox") ?? "").bytes();
  const parts: Uint8Array[] = [];
  for (const name of ["bin", "etc", "tmp", "data", "root"])
    parts.push(tarHeader({ name: `${name}/`, type: "directory", mode: 0o755 }));
  parts.push(tarHeader({ name: "bin/busybox", type: "file", mode: 0o755, size: busybox.length }));
  parts.push(busybox, tarPadding(busybox.length));
  for (const name of [
    "sh",
    "echo",
    "cat",
    "sleep",
    "id",
    "ls",
    "hostname",
    "ip",
    "mount",
    "stty",
    "nc",
    "kill",
    "dd",
  ]) {
    parts.push(tarHeader({ name: `bin/${name}`, type: "link", linkName: "bin/busybox" }));
  }
  for (const [name, text] of Object.entries({
    "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
    "data/seed": "from image\n",
  })) {
    parts.push(
      tarHeader({ name, type: "file", mode: 0o644, size: text.length }),
      Buffer.from(text),
      tarPadding(text.length),
    );
  }
  parts.push(endOfTar);
  return Buffer.concat(parts);
};

const exec = (session: Session, id: string, ...command: string[]): Channel =>
  session.open("exec", { id, detach: false, process: { ...containerOf("").process, arguments: command } });

test(
  "a loader formats disks and fills one with an image layer",
  async () => {
    const guest = await bootGuest(medium, { version: 1, role: "loader", id: "loader", hostname: "loader" }, [
      disk,
      volume,
    ]);
    const session = await guest.session;
    await session.call("diskFormat", { disk: { bus: 0, unit: 0 }, label: "root" });
    await session.call("diskFormat", { disk: { bus: 0, unit: 1 }, label: "volume" });
    const { mount } = await session.call("diskMount", { disk: { bus: 0, unit: 0 }, readOnly: false });
    const channel = session.open("layerApply", { mount });
    await channel.send(0, await busyboxLayer());
    await channel.end(0);
    expect((await collect(channel)).controls).toMatchObject([{ entries: 21 }]);
    expect(await session.call("diskState", { mount })).toBeNull();
    const usage = await session.call("diskUsage", { mount });
    expect(usage.totalBytes).toBeGreaterThan(900_000_000);
    await session.call("diskUnmount", { mount });
    await session.call("shutdown", {});
    await guest.off;
    console.log("loader", guest.times, guest.state()?.phases);
  },
  LIMIT,
);

test(
  "a container runs, its output and exit code arrive, and the VM goes off",
  async () => {
    const script =
      "echo pid $$; hostname; cat /etc/hosts /etc/resolv.conf; ip -o -4 addr show eth0; echo err >&2; exit 3";
    const guest = await bootGuest(medium, { ...containerOf(script), awaitAttach: true }, [disk]);
    const session = await guest.session;
    const attached = session.open("attach", { stdin: false, stdout: true, stderr: true, fromStart: true });
    const { out, err, controls } = await collect(attached);
    expect(out).toContain("pid 1\nbox\n");
    expect(out).toContain("10.0.2.15\tbox\n");
    expect(out).toContain("nameserver 10.0.2.3\nsearch example.test\n");
    expect(out).toContain("inet 10.0.2.15/24");
    expect(err).toBe("err\n");
    expect(controls).toEqual([{ exited: 3 }]);
    await session.call("acknowledgeExit", {});
    await guest.off;
    expect(guest.state()).toMatchObject({ status: "exited", exitCode: 3 });
    console.log("container", guest.times, guest.state()?.phases, guest.console());
  },
  LIMIT,
);

test(
  "a command that does not exist is told as Docker tells it",
  async () => {
    const container = containerOf("");
    const process = { ...container.process, arguments: ["nosuch"] };
    const guest = await bootGuest(medium, { ...container, process, linked: false }, [disk]);
    await guest.off;
    expect(guest.state()).toMatchObject({
      status: "failed",
      failure: "not-found",
      exitCode: 127,
      error: 'exec: "nosuch": executable file not found in $PATH',
    });
  },
  LIMIT,
);

describe("a long running container", () => {
  let guest: Guest;
  let session: Session;
  beforeAll(async () => {
    const script = "trap 'echo bye; exit 5' TERM; echo up; cat /data/seed; while :; do sleep 0.1; done";
    guest = await bootGuest(
      medium,
      containerOf(script, {
        mounts: [
          { type: "volume", disk: { bus: 0, unit: 1 }, destination: "/data", readOnly: false, copyUp: true },
          { type: "tmpfs", destination: "/scratch", readOnly: false, sizeBytes: 1 << 20, options: [] },
        ],
        limits: { pids: 100 },
        sysctls: { "net.ipv4.ip_forward": "1" },
        health: {
          test: ["CMD-SHELL", "echo probed"],
          intervalNanoseconds: 500_000_000,
          timeoutNanoseconds: 10_000_000_000,
          startPeriodNanoseconds: 0,
          startIntervalNanoseconds: 0,
          retries: 3,
        },
      }),
      [disk, volume],
    );
    session = await guest.session;
  }, LIMIT);
  afterAll(() => guest.kill());

  test(
    "exec: output, input, exit code, terminal, failure",
    async () => {
      const plain = await collect(exec(session, "e1", "sh", "-c", "mount | grep -c scratch; cat /data/seed; exit 9"));
      expect(plain.out).toBe("1\nfrom image\n");
      expect(plain.controls.at(-1)).toEqual({ exited: 9 });
      const cat = session.open("exec", {
        id: "e2",
        detach: false,
        process: { ...containerOf("").process, arguments: ["cat"], openStdin: true },
      });
      await cat.send(0, Buffer.from("through\n"));
      await cat.end(0);
      expect((await collect(cat)).out).toBe("through\n");
      await expect(collect(exec(session, "e3", "nosuch"))).rejects.toMatchObject({ code: "not-found" });
      const tty = session.open("exec", {
        id: "e4",
        detach: false,
        process: {
          ...containerOf("").process,
          arguments: ["stty", "size"],
          terminal: true,
          consoleSize: { rows: 7, columns: 70 },
        },
      });
      expect((await collect(tty)).out).toBe("7 70\r\n");
    },
    LIMIT,
  );

  test(
    "top, statistics, logs, archives",
    async () => {
      const top = await session.call("top", { arguments: "-o pid,args" });
      expect(top.titles).toEqual(["PID", "COMMAND"]);
      expect(JSON.stringify(top.processes)).toContain("trap");
      const statistics = await session.call("statistics", {});
      expect(statistics.pids).toBeGreaterThan(0);
      expect(statistics.cpu.totalNanoseconds).toBeGreaterThan(0);
      expect(statistics.networks.eth0?.txBytes).toBeGreaterThan(0);
      const logs = session.open("logs", { tree: "container", tail: 1, follow: false, stdout: true, stderr: true });
      expect((await collect(logs)).out).toEndWith("from image\n");
      const stat = await session.call("pathStat", { tree: "container", path: "/data/seed" });
      expect(stat).toMatchObject({ name: "seed", size: 11 });
      const archive = await collect(session.open("archiveRead", { tree: "container", path: "/data" }));
      expect(archive.out).toContain("from image\n");
      await expect(session.call("pathStat", { tree: "container", path: "/none" })).rejects.toMatchObject({
        code: "not-found",
      });
    },
    LIMIT,
  );

  test(
    "the health check is reported",
    async () => {
      await guest.waitFor((state) => state.health?.status === "healthy");
    },
    LIMIT,
  );

  test(
    "output through the link is fast",
    async () => {
      const begun = performance.now();
      const channel = exec(session, "bulk", "dd", "if=/dev/zero", "bs=64k", "count=512");
      let bytes = 0;
      for await (const message of channel)
        if (message.kind === "data" && message.stream === 1) bytes += message.bytes.length;
      expect(bytes).toBe(32 * 1024 * 1024);
      console.log(`exec output ${(32_000 / (performance.now() - begun)).toFixed(1)} MB/s under emulation`);
    },
    LIMIT,
  );

  test(
    "stop sends the stop signal, the last output is logged, the state is final",
    async () => {
      const attached = session.open("attach", { stdin: false, stdout: true, stderr: true, fromStart: true });
      const output = collect(attached);
      const state = await session.call("stop", {});
      expect(state).toMatchObject({ status: "exited", exitCode: 5 });
      expect((await output).out).toBe("up\nfrom image\nbye\n");
      await session.call("acknowledgeExit", {});
      await guest.off;
      expect(guest.console()).not.toContain("tether:");
    },
    LIMIT,
  );
});
