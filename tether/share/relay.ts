import { closeSync } from "node:fs";
import { MessageSplitter } from "../../src/format/file-share/framing.ts";
import { PATHS } from "../paths.ts";
import { shareRelays, spawned } from "../process/reaper.ts";
import { makePipe, SystemError } from "../system/libc.ts";

/** Longest request of the kernel: a write with what is around it. */
const REQUEST_LIMIT = 256 * 1024;
/** Longest name of a failed step. */
const STEP_LIMIT = 256;

export interface RelayOptions {
  /** Open directory: the container's root. */
  root: number;
  destination: string;
  kind: "directory" | "file";
  /** Flags of mount(2). */
  flags: number;
  /** Gets how to reply, and answers what takes the requests of the guest's kernel. */
  serve(reply: (bytes: Buffer) => void): (message: Buffer) => void;
  launcher?: string;
}

/** The mount of a share: the launcher passes requests of the guest's kernel on to us, and our replies back. */
export class Relay {
  readonly #child: Bun.Subprocess;
  readonly #sink: Bun.FileSink;
  #queue: Buffer[] = [];
  #flushing = false;

  private constructor(child: Bun.Subprocess, replies: number, requests: number, serve: RelayOptions["serve"]) {
    this.#child = child;
    this.#sink = Bun.file(replies).writer();
    void this.#pump(
      requests,
      serve((bytes) => this.#reply(bytes)),
    );
    shareRelays.add(child.pid);
    void child.exited.then(() => {
      shareRelays.delete(child.pid);
      closeSync(replies);
    });
  }

  /** Mounts the share. Throws SystemError naming the step that failed. */
  static async mount(options: RelayOptions): Promise<Relay> {
    const replies = makePipe("write");
    const requests = makePipe("read");
    const errors = makePipe("read");
    const report = makePipe("read");
    const kind = options.kind === "file" ? "f" : "d";
    const type = options.kind === "file" ? "100000" : "40000";
    const data = `,rootmode=${type},user_id=0,group_id=0,default_permissions,allow_other`;
    const child = spawned(
      Bun.spawn([options.launcher ?? PATHS.launcher, "share", kind, options.destination, String(options.flags), data], {
        stdio: [replies.read, requests.write, errors.write, options.root, report.write],
        env: {},
        cwd: "/",
      }),
    );
    for (const fd of [replies.read, requests.write, errors.write, report.write]) closeSync(fd);
    try {
      if ((await readAll(report.read)).length === 0) {
        const step = (await readAll(errors.read)).toString();
        closeSync(requests.read);
        closeSync(replies.write);
        throw new SystemError(step === "" ? "share" : step, await child.exited);
      }
    } finally {
      closeSync(report.read);
      closeSync(errors.read);
    }
    return new Relay(child, replies.write, requests.read, options.serve);
  }

  #reply(bytes: Buffer): void {
    this.#queue.push(bytes);
    if (!this.#flushing) void this.#flush();
  }

  /** Ends the mount's service: whoever still uses it gets errors. */
  async close(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  async #flush(): Promise<void> {
    this.#flushing = true;
    try {
      while (this.#queue.length > 0) {
        for (const bytes of this.#queue.splice(0)) this.#sink.write(bytes);
        await this.#sink.flush();
      }
    } catch {
      // The mount is gone, and with it everybody who waited for an answer.
      this.#queue = [];
    } finally {
      this.#flushing = false;
    }
  }

  async #pump(requests: number, receive: (message: Buffer) => void): Promise<void> {
    const splitter = new MessageSplitter(REQUEST_LIMIT, true);
    try {
      for await (const bytes of Bun.file(requests).stream())
        for (const message of splitter.push(bytes)) receive(message);
    } catch (error) {
      console.error(`shares: ${error}`);
    } finally {
      closeSync(requests);
    }
  }
}

const readAll = async (fd: number): Promise<Buffer> => {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of Bun.file(fd).stream()) {
    parts.push(part);
    length += part.length;
    if (length > STEP_LIMIT) break;
  }
  return Buffer.concat(parts);
};
