/** The two servers that are compared: the endpoint, and podman's Docker-compatible service with as many containers. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

export interface ApiServer {
  name: string;
  socket: string;
  pid: number;
  stop(): Promise<void>;
}

/** Creates under way at a time while podman's store is filled. */
const AT_ONCE = 4;
/** The kernel's clock ticks per second in /proc: USER_HZ. */
const TICKS = 100;
const IMAGE = "bench/busybox:latest";

export async function startEndpoint(directory: string, containers: number): Promise<ApiServer> {
  const socket = join(directory, "endpoint.sock");
  const child = Bun.spawn(["bun", join(import.meta.dir, "server.ts"), socket, String(containers)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  for await (const _ of child.stdout) break;
  return {
    name: "vch",
    socket,
    pid: child.pid,
    stop: async () => {
      child.kill();
      await child.exited;
    },
  };
}

/** A store of its own, thrown away at the end. Resolves to undefined where podman is not installed. */
export async function startPodman(directory: string, containers: number): Promise<ApiServer | undefined> {
  if (Bun.which("podman") === null) return undefined;
  const socket = join(directory, "podman.sock");
  const store = ["--root", join(directory, "root"), "--runroot", join(directory, "run")];
  await Bun.$`mkdir -p rootfs/bin && cp /bin/busybox rootfs/bin/`.cwd(directory);
  await Bun.$`tar -C rootfs -c . | podman ${store} import - ${IMAGE}`.cwd(directory).quiet();
  const child = Bun.spawn(["podman", ...store, "system", "service", "--time", "0", `unix://${socket}`], {
    stdout: "ignore",
    stderr: "ignore",
  });
  while ((await fetch("http://d/_ping", { unix: socket }).catch(() => undefined))?.ok !== true) await Bun.sleep(100);
  const rest = Array.from({ length: containers }, (_, index) => index).values();
  const create = async (): Promise<void> => {
    for (const index of rest) {
      const response = await fetch(`http://d/v1.40/containers/create?name=c${index}`, {
        unix: socket,
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ Image: IMAGE, Cmd: ["/bin/busybox", "true"], Labels: { number: String(index) } }),
      });
      if (!response.ok) throw new Error(`podman: ${await response.text()}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, create));
  return {
    name: "podman",
    socket,
    pid: child.pid,
    stop: async () => {
      child.kill();
      await child.exited;
      await Bun.$`podman ${store} rm -a -f`.quiet().nothrow();
      await Bun.$`podman ${store} system reset -f`.quiet().nothrow();
      // It binds its store onto itself, and leaves that behind.
      await Bun.$`umount ${join(directory, "root/overlay")}`.quiet().nothrow();
    },
  };
}

/** Milliseconds of CPU that a process has used, and the resident MiB it has. */
export async function usage(pid: number): Promise<{ cpu: number; resident: number }> {
  const [stat, status] = await Promise.all([
    readFile(`/proc/${pid}/stat`, "utf8"),
    readFile(`/proc/${pid}/status`, "utf8"),
  ]);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // Fields 14 and 15 of proc(5), which begins to count at the process id.
  const ticks = Number(fields[11]) + Number(fields[12]);
  return { cpu: (ticks * 1000) / TICKS, resident: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024 };
}
