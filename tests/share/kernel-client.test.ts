import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Channel } from "../../src/link/contract.ts";
import { STREAM } from "../../src/link/operations.ts";
import { Session } from "../../src/link/session.ts";
import { serveShares } from "../../src/share/serve.ts";
import type { LaterMount } from "../../tether/boot/later-mount.ts";
import { Shares } from "../../tether/share/shares.ts";
import { MOUNT, OPEN, open } from "../../tether/system/libc.ts";
import { contained } from "./server-fixture.ts";

/**
 * The tether's side with the real FUSE client of this machine's kernel and the real launcher, over a link in memory to a file
 * server in this process. This process serves the mounts, so that only others may use them: everything is asked by `bash`.
 */
const possible = contained && existsSync("/dev/fuse");
const ROOT = resolve(import.meta.dir, "../..");

let programs = "";
beforeAll(async () => {
  if (!possible) return;
  programs = mkdtempSync(join(tmpdir(), "vch-launcher-"));
  const build = Bun.spawn([join(ROOT, "tether/launcher/build.sh"), programs], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  expect(await build.exited).toBe(0);
});
afterAll(() => {
  if (possible) rmSync(programs, { recursive: true });
});

/** A container's root with shares in it, and an endpoint that can be killed. */
class Guest {
  readonly base = mkdtempSync(join(tmpdir(), "vch-kernel-"));
  readonly source = join(this.base, "source");
  readonly root = join(this.base, "root");
  readonly shares: Shares;
  #engine: Session | undefined;

  constructor() {
    mkdirSync(this.source);
    mkdirSync(this.root);
    const launcher = join(programs, `launcher-${process.arch}`);
    const paths = { root: this.root, launcher, sockets: join(this.base, "sockets") };
    this.shares = new Shares(open(this.root, OPEN.path), paths);
  }

  /** A first endpoint, or the next one. */
  connect(sources = [this.source], readOnly = false): void {
    const make = (role: "engine" | "tether", peer: () => Session): Session =>
      new Session(
        {
          write: (bytes) => {
            const copy = bytes.slice();
            setImmediate(() => peer().received(copy));
            return bytes.length;
          },
          end: () => setImmediate(() => peer().ended("closed")),
        },
        role,
      );
    const engine: Session = make("engine", () => tether);
    const tether: Session = make("tether", () => engine);
    engine.onChannel((channel) => {
      if (channel.request.op === "share") void this.#serve(channel, sources, readOnly);
      else void echo(channel);
    });
    this.#engine = engine;
    this.shares.useSession(tether);
  }

  async #serve(channel: Channel, sources: string[], readOnly: boolean): Promise<void> {
    await channel.control({ serving: true });
    const input = async function* () {
      try {
        for await (const message of channel) if (message.kind === "data") yield message.bytes;
      } catch {
        // Killed by the test.
      }
    };
    await serveShares(
      sources.map((path) => ({ path, readOnly, oneFileSystem: false })),
      { input: input(), output: (bytes) => channel.send(STREAM.stdout, bytes) },
    );
  }

  kill(): void {
    this.#engine?.close("the endpoint was killed");
  }

  share(
    destination: string,
    more: { kind?: "directory" | "file"; share?: number; readOnly?: boolean } = {},
  ): LaterMount {
    return { type: "share", share: 0, kind: "directory", destination, readOnly: false, ...more };
  }

  /** Output of a script that runs in the container's root directory. */
  async run(script: string): Promise<string> {
    const child = Bun.spawn(["bash", "-c", script], { cwd: this.root, stdio: ["ignore", "pipe", "pipe"] });
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (code !== 0) throw new Error(`exit code ${code}: ${errors}${output}`);
    return (output + errors).trim();
  }

  async end(): Promise<void> {
    await this.shares.close();
    const rest = Bun.spawn([
      "bash",
      "-c",
      `umount -l ${this.root}/x 2>/dev/null; rm -rf --one-file-system ${this.base}`,
    ]);
    await rest.exited;
  }
}

const echo = async (channel: Channel): Promise<void> => {
  await channel.control({ connected: true });
  for await (const message of channel) {
    if (message.kind === "data") await channel.send(STREAM.stdout, message.bytes);
    if (message.kind === "end") break;
  }
  channel.close();
};

let guest: Guest;
beforeEach(() => {
  if (possible) guest = new Guest();
});
afterEach(async () => {
  if (possible) await guest.end();
});

describe.skipIf(!possible)("a share", () => {
  test("files, directories, links, modes and owners are those of the endpoint", async () => {
    writeFileSync(join(guest.source, "a"), "hello\n");
    symlinkSync("/etc/shadow", join(guest.source, "link"));
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    expect(await guest.run("cat x/a; readlink x/link")).toBe("hello\n/etc/shadow");
    await guest.run(
      "mkdir x/d; echo one > x/d/f; ln x/d/f x/hard; ln -s d/f x/soft; chmod 640 x/d/f; chown 12:34 x/d/f; mkfifo x/pipe",
    );
    const file = lstatSync(join(guest.source, "d/f"));
    expect(file).toMatchObject({ mode: 0o100640, uid: 12, gid: 34, nlink: 2 });
    expect(lstatSync(join(guest.source, "pipe")).isFIFO()).toBe(true);
    expect(await guest.run("cat x/soft; stat -c %i x/hard x/d/f | uniq | wc -l; ls x/d x")).toBe(
      "one\n1\nx:\na\nd\nhard\nlink\npipe\nsoft\n\nx/d:\nf",
    );
    await guest.run("mv x/d x/e; mv x/e/f x/a; rm x/hard; rmdir x/e; echo two >> x/a; touch -d @1000000000 x/a");
    expect(readFileSync(join(guest.source, "a"), "utf8")).toBe("one\ntwo\n");
    expect(lstatSync(join(guest.source, "a")).mtimeMs).toBe(1e12);
    expect(await guest.run("mknod x/null c 1 3 || echo refused; ls x/none || true; rmdir x/a || true")).toMatch(
      /refused[\s\S]*No such file[\s\S]*Not a directory/,
    );
    expect(await guest.run("mkdir -p x/full/er; rmdir x/full || true")).toContain("not empty");
  });

  test("large files, sparse files, truncation, append, mapped memory, extended attributes, programs", async () => {
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    await guest.run(`head -c 9000000 /dev/urandom > x/big; cp x/big x/copy; cmp x/big x/copy; cmp x/big ${guest.source}/copy
      truncate -s 100M x/sparse; echo end >> x/sparse; test $(stat -c %s x/sparse) = $((100 * 1024 * 1024 + 4)); test $(du -k x/sparse | cut -f1) -lt 100
      cp --sparse=always x/sparse x/sparse2; : > x/copy; test ! -s x/copy; fallocate -l 100000 x/copy; test $(stat -c %s x/copy) = 100000
      setfattr -n user.note -v text x/big; getfattr --only-values -n user.note ${guest.source}/big | grep -q text
      setfattr -x user.note x/big; ! getfattr -n user.note x/big 2>/dev/null
      cp /bin/true x/program; x/program; flock x/big true`);
    await guest.run(`python3 - <<'END'
import mmap, os
with open("x/mapped", "w+b") as file:
    file.truncate(8192)
    with mmap.mmap(file.fileno(), 8192) as memory:
        memory[4096:4101] = b"hello"
END`);
    await guest.shares.settled();
    expect(readFileSync(join(guest.source, "mapped")).toString("latin1", 4096, 4101)).toBe("hello");
    await guest.run("for i in 1 2 3 4; do (for j in $(seq 50); do echo line $i $j >> x/log; done) & done; wait");
    expect(readFileSync(join(guest.source, "log"), "utf8").trim().split("\n")).toHaveLength(200);
  });

  test("a directory of many files is listed whole, also while it changes", async () => {
    for (let index = 0; index < 1200; index++)
      writeFileSync(join(guest.source, `a file with a long name ${index}`), "");
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    expect(await guest.run("ls x | wc -l; ls -l x | wc -l; find x -name '*99' | wc -l")).toBe("1200\n1201\n12");
    expect(await guest.run("rm x/*; ls x | wc -l")).toBe("0");
  });

  test("what changes at the endpoint shows after a second", async () => {
    writeFileSync(join(guest.source, "f"), "old");
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    expect(await guest.run("cat x/f")).toBe("old");
    writeFileSync(join(guest.source, "f"), "newer");
    writeFileSync(join(guest.source, "g"), "just made");
    expect(await guest.run("cat x/g; sleep 1.1; cat x/f")).toBe("just madenewer");
    renameSync(join(guest.source, "g"), join(guest.source, "f"));
    expect(await guest.run("sleep 1.1; cat x/f; ls x")).toBe("just madef");
  });

  test("an open file that was deleted is still read, written and changed", async () => {
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    expect(
      await guest.run(
        "exec 5>>x/f 6<x/f; echo text >&5; rm x/f; echo more >&5; chmod 600 /proc/self/fd/5; stat -L -c '%s %h %a' /proc/self/fd/5; cat <&6",
      ),
    ).toBe("10 0 600\ntext\nmore");
  });

  test("a read-only one takes nothing", async () => {
    writeFileSync(join(guest.source, "f"), "text");
    guest.connect([guest.source], true);
    await guest.shares.mount([guest.share("/x", { readOnly: true })]);
    expect(await guest.run("cat x/f; echo y > x/f || touch x/new || rm x/f || true")).toMatch(
      /text[\s\S]*Read-only file system/,
    );
    await guest.run("mount -o remount,rw x");
    // Also when the guest's kernel has forgotten that it is read-only.
    expect(await guest.run("echo y > x/f || touch x/new || rm x/f || chmod 0 x/f || true")).toMatch(
      /Read-only file system/,
    );
    expect(readFileSync(join(guest.source, "f"), "utf8")).toBe("text");
  });

  test("a single file, which an editor at the endpoint replaces", async () => {
    writeFileSync(join(guest.source, "f"), "first\n");
    guest.connect([join(guest.source, "f")]);
    await guest.shares.mount([guest.share("/etc/conf", { kind: "file" })]);
    expect(await guest.run("cat etc/conf; echo second >> etc/conf; stat -c %F etc/conf")).toBe("first\nregular file");
    expect(readFileSync(join(guest.source, "f"), "utf8")).toBe("first\nsecond\n");
    writeFileSync(join(guest.source, "new"), "third\n");
    renameSync(join(guest.source, "new"), join(guest.source, "f"));
    expect(await guest.run("sleep 1.1; cat etc/conf")).toBe("third");
  });

  test("mounts in one another, in the order of their depth", async () => {
    const other = join(guest.base, "other");
    const volume = join(guest.base, "volume");
    mkdirSync(other);
    mkdirSync(volume);
    writeFileSync(join(other, "o"), "other");
    guest.connect([guest.source, other]);
    const bind = (destination: string, remount: number): LaterMount => ({
      type: "mount",
      kind: "directory",
      destination,
      source: volume,
      fileSystem: "",
      flags: MOUNT.bind,
      data: "",
      remount,
    });
    await guest.shares.mount([
      guest.share("/x"),
      bind("/x/volume", 0),
      bind("/x/read/only", MOUNT.bind | MOUNT.remount | MOUNT.readOnly),
      guest.share("/x/other", { share: 1 }),
      { ...bind("/x/memory", 0), source: "tmpfs", fileSystem: "tmpfs", flags: 0, data: "size=1m" } as LaterMount,
    ]);
    expect(
      await guest.run("echo v > x/volume/v; cat x/other/o; touch x/read/only/n || true; echo m > x/memory/m; ls x"),
    ).toMatch(/^othermemory\nother\nread\nvolume\n.*Read-only file system$/);
    // Mount points were made at the endpoint, as by Docker; what was written in them is elsewhere.
    expect(await guest.run(`cat ${volume}/v; ls -A ${guest.source}/volume ${guest.source}/memory | wc -w`)).toBe(
      "v\n2",
    );
  });

  test("a share that cannot be mounted names the step", async () => {
    guest.connect();
    writeFileSync(join(guest.root, "file"), "");
    const failure = guest.shares.mount([guest.share("/file/x")]);
    expect(failure).rejects.toThrow("mount point: not a directory");
    await failure.catch(() => undefined);
  });
});

describe.skipIf(!possible)("an endpoint that is started again", () => {
  test("goes on with open files, directories and whoever waits", async () => {
    for (let index = 0; index < 2000; index++) writeFileSync(join(guest.source, `file ${index}`), "");
    writeFileSync(join(guest.source, "f"), "");
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    const work = guest.run(
      `cd x; exec 5>>f; echo before >&5; echo ready > ../ready; while [ ! -e ../killed ]; do sleep 0.05; done
       echo during >&5; mkdir d; mv d e; ls | wc -l; cat f`,
    );
    while (!existsSync(join(guest.root, "ready"))) await Bun.sleep(20);
    guest.kill();
    writeFileSync(join(guest.root, "killed"), "");
    await Bun.sleep(300);
    expect(existsSync(join(guest.source, "d"))).toBe(false);
    guest.connect();
    expect(await work).toBe("2002\nbefore\nduring");
    expect(existsSync(join(guest.source, "e"))).toBe(true);
  });

  test("many at work while it is killed again and again lose nothing", async () => {
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    let over = false;
    const work = guest
      .run(
        `cd x; for i in 1 2 3; do (
           mkdir w$i; for j in $(seq 60); do echo $i $j > w$i/t; mv w$i/t w$i/$j; ln -s $j w$i/l$j; rm w$i/l$j; done ) & done; wait; cat */* | wc -l`,
      )
      .finally(() => {
        over = true;
      });
    for (let round = 0; !over; round++) {
      await Bun.sleep(40 + (round % 5) * 25);
      guest.kill();
      await Bun.sleep(10);
      guest.connect();
    }
    expect(await work).toBe("180");
  }, 60_000);

  test("a process that waits for it can be killed", async () => {
    writeFileSync(join(guest.source, "f"), "text");
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    await guest.run("ls x");
    guest.kill();
    expect(await guest.run("timeout -s KILL 1 cat x/f || echo $?")).toMatch(/^137\b/);
    guest.connect();
    expect(await guest.run("cat x/f")).toBe("text");
  });

  test("a file that was replaced meanwhile is another one", async () => {
    writeFileSync(join(guest.source, "f"), "text");
    guest.connect();
    await guest.shares.mount([guest.share("/x")]);
    const work = guest.run(
      "exec 5<x/f; echo > ready; while [ ! -e replaced ]; do sleep 0.05; done; head -c 1 <&5; sleep 1.1; cat x/f",
    );
    while (!existsSync(join(guest.root, "ready"))) await Bun.sleep(20);
    guest.kill();
    linkSync(join(guest.source, "f"), join(guest.base, "kept"));
    rmSync(join(guest.source, "f"));
    writeFileSync(join(guest.source, "f"), "other");
    guest.connect();
    writeFileSync(join(guest.root, "replaced"), "");
    expect(await work).toMatch(/^other.*Stale file handle$/);
  });
});

describe.skipIf(!possible)("a socket", () => {
  test("connections go on at the endpoint; there is none without it", async () => {
    guest.connect();
    await guest.shares.mount([
      { type: "socket", index: 0, destination: "/run/some.sock", mode: 0o660, uid: 0, gid: 5 },
    ]);
    const talk = `python3 - <<'END'
import socket
s = socket.socket(socket.AF_UNIX); s.connect("run/some.sock")
data = bytes(range(256)) * 4000
import threading
got = bytearray()
def read():
    while True:
        part = s.recv(65536)
        if not part: return
        got.extend(part)
t = threading.Thread(target=read); t.start()
try:
    s.sendall(data); s.shutdown(socket.SHUT_WR)
except OSError: pass
t.join()
print(got == data, len(got))
END`;
    expect(await guest.run(`stat -c '%a %g %F' run/some.sock; ${talk}`)).toBe("660 5 socket\nTrue 1024000");
    guest.kill();
    expect(await guest.run(talk)).toBe("False 0");
  });
});
