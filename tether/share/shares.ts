import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { ShareConfiguration } from "../../src/link/guest-configuration.ts";
import type { LinkSession } from "../../src/link/contract.ts";
import type { LaterMount } from "../boot/later-mount.ts";
import { PATHS } from "../paths.ts";
import { spawned } from "../process/reaper.ts";
import { MOUNT } from "../system/libc.ts";
import { ShareClient } from "./client.ts";
import { FuseServer } from "./fuse-server.ts";
import { runLauncher } from "./launcher.ts";
import { Relay } from "./relay.ts";
import { SocketRelay } from "./socket-relay.ts";

/** Milliseconds that writes of a process that has ended may take to arrive at the endpoint. */
const SETTLE_LIMIT = 5_000;
/** Milliseconds for unmounting one mount. */
const UNMOUNT_LIMIT = 5_000;

/** Bind mounts of this container: files and sockets that the endpoint serves. */
export class Shares {
  readonly #root: number;
  readonly #client = new ShareClient();
  readonly #servers: FuseServer[] = [];
  readonly #relays: Relay[] = [];
  readonly #sockets: SocketRelay[] = [];
  readonly #mounted: string[] = [];
  #session: LinkSession | undefined;

  readonly #paths: { root: string; launcher: string; sockets: string };

  /** `root` is an open directory, the container's root. */
  constructor(root: number, paths: { root: string; launcher: string; sockets: string } = PATHS) {
    this.#root = root;
    this.#paths = paths;
  }

  useSession(session: LinkSession): void {
    this.#session = session;
    this.#client.useSession(session);
  }

  /** Makes the mounts in their order, each of which may be in one before. Throws SystemError. */
  async mount(mounts: LaterMount[]): Promise<void> {
    if (mounts.some(({ type }) => type === "share")) await loadFuse();
    for (const entry of mounts) {
      this.#mounted.push(entry.destination);
      if (entry.type === "share") await this.#mountShare(entry);
      else if (entry.type === "socket") await this.#mountSocket(entry);
      else await this.#mountOther(entry);
    }
    raiseReadAhead();
  }

  /** Resolves when all writes of processes that have ended are at the endpoint, or after a limit. */
  async settled(): Promise<void> {
    if (!this.#client.available) return;
    await withinLimit(SETTLE_LIMIT, Promise.all(this.#servers.map((server) => server.idle())));
  }

  /** Unmounts, last mount first. Afterwards nothing of the container's root waits for the endpoint. */
  async close(): Promise<void> {
    // Without an endpoint there is nobody to write to: what is left fails at once.
    if (!this.#client.available) await this.#endRelays();
    await this.settled();
    for (const destination of this.#mounted.reverse()) {
      const command = [PATHS.busybox, "umount", `${this.#paths.root}${destination}`];
      const child = spawned(Bun.spawn(command, { stdio: ["ignore", "ignore", "ignore"], env: {}, cwd: "/" }));
      await withinLimit(UNMOUNT_LIMIT, child.exited);
    }
    for (const socket of this.#sockets) socket.close();
    await this.#endRelays();
  }

  async #endRelays(): Promise<void> {
    await Promise.all(this.#relays.map((relay) => withinLimit(UNMOUNT_LIMIT, relay.close())));
  }

  async #mountShare({ share, kind, destination, readOnly }: ShareConfiguration): Promise<void> {
    const relay = await Relay.mount({
      root: this.#root,
      destination,
      kind,
      launcher: this.#paths.launcher,
      flags: MOUNT.noDev | MOUNT.noAtime | (readOnly ? MOUNT.readOnly : 0),
      serve: (reply) => {
        const server = new FuseServer(this.#client, share, reply);
        this.#servers.push(server);
        return (message) => server.receive(message);
      },
    });
    this.#relays.push(relay);
  }

  async #mountSocket(entry: Extract<LaterMount, { type: "socket" }>): Promise<void> {
    mkdirSync(this.#paths.sockets, { recursive: true, mode: 0o700 });
    const path = `${this.#paths.sockets}/${entry.index}`;
    this.#sockets.push(new SocketRelay(path, entry, () => this.#session));
    await this.#launch(["mount", "f", entry.destination, String(MOUNT.bind), "", path, "", "0"]);
  }

  #launch(command: string[]): Promise<Buffer> {
    return runLauncher(command, this.#root, this.#paths.launcher);
  }

  async #mountOther(entry: Extract<LaterMount, { type: "mount" }>): Promise<void> {
    const { kind, destination, flags, data, source, fileSystem, remount, done } = entry;
    const command = ["mount", kind === "file" ? "f" : "d", destination, String(flags), data, source, fileSystem];
    try {
      await this.#launch([...command, String(remount)]);
    } finally {
      done?.();
    }
  }
}

/**
 * A request to the endpoint takes long, so that reading needs several under way: eight of 128 KiB. The kernel lets a FUSE file
 * system ask for less than its default of 128 KiB, not for more.
 */
const READ_AHEAD_KIB = 1024;
const raiseReadAhead = (): void => {
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [mount = "", source = ""] = line.split(" - ");
    const setting = `/sys/class/bdi/${mount.split(" ")[2]}/read_ahead_kb`;
    if (!source.startsWith("fuse share ") || !existsSync(setting)) continue;
    try {
      writeFileSync(setting, String(READ_AHEAD_KIB));
    } catch (error) {
      // It costs speed alone.
      console.error(`shares: read-ahead: ${error instanceof Error ? error.message : error}`);
    }
  }
};

const withinLimit = async (milliseconds: number, work: Promise<unknown>): Promise<void> => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  await Promise.race([work, limit]);
  clearTimeout(timer);
};

/** FUSE is a module in the kernels that we know; where it is built in there is nothing to load. */
const loadFuse = async (): Promise<void> => {
  if (existsSync("/dev/fuse")) return;
  const child = spawned(
    Bun.spawn(["/sbin/modprobe", "fuse"], {
      stdio: ["ignore", "ignore", "ignore"],
      env: { PATH: "/sbin:/bin" },
      cwd: "/",
    }),
  );
  await child.exited;
  if (!existsSync("/dev/fuse"))
    throw new Error(
      "the kernel of this bootstrap ISO has no FUSE, which bind mounts need: use one that has (CONFIG_FUSE_FS)",
    );
};
