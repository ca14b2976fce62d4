import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { type TarHeaderInput, type TarMember, writeTar } from "../../src/format/tar/index.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { applyLayer } from "./apply-layer.ts";
import { writeArchive } from "./write-archive.ts";

// Hostile archives are unpacked as root only where an escape could do no harm: tests/contained makes everything but /tmp read-only.
const isRoot = process.getuid?.() === 0 && process.env.VCH_CONTAINED === "1";
let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "vch-tree-"));
  mkdirSync(join(base, "root"));
});
afterEach(() => rmSync(base, { recursive: true }));

const shell = (script: string): string => execFileSync("bash", ["-ec", script], { cwd: base, encoding: "utf8" });
const inRoot = (path: string): string => join(base, "root", path);

/** Everything that matters of a tree, by tools that are not ours. Times of directories only when wanted. */
const describeTree = (name: string): string =>
  shell(`cd ${name}
    find . -printf '%p %y %m %U %G %s %T@ %n %l\\n' | LC_ALL=C sort
    getfattr -R -P -h -d -m '^(user|security\\.capability)' . 2>/dev/null || true
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
    find . \\( -type b -o -type c \\) -print0 | LC_ALL=C sort -z | xargs -0 -r stat -c '%n %t %T'`);

async function* fileBytes(path: string): AsyncGenerator<Uint8Array> {
  for await (const chunk of Bun.file(path).stream()) yield chunk;
}
const layer = (...members: (TarHeaderInput | [TarHeaderInput, string])[]): AsyncIterable<Uint8Array> =>
  writeTar(
    members.map((member): TarMember => {
      if (!Array.isArray(member)) return { header: member };
      const body = Buffer.from(member[1]);
      return { header: { ...member[0], size: body.length }, body: [body] };
    }),
  );
const file = (name: string, content = name): [TarHeaderInput, string] => [{ name, type: "file" }, content];
const directory = (name: string): TarHeaderInput => ({ name, type: "directory" });
const symlink = (name: string, linkName: string): TarHeaderInput => ({ name, type: "symlink", linkName });
const paths = (): string[] => shell("cd root && find . -mindepth 1 | LC_ALL=C sort").split("\n").filter(Boolean);
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "none",
    (error: unknown) => (error instanceof LinkError ? error.code : String(error)),
  );

describe.if(isRoot)("against GNU tar", () => {
  const makeSource = (): void => {
    shell(`mkdir -p src/usr/bin src/deep/a/b/c src/empty; cd src
      echo hello > usr/bin/tool; chmod 6755 usr/bin/tool; chown 12:34 usr/bin/tool; chmod 6755 usr/bin/tool
      cp /bin/true usr/bin/ping; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 usr/bin/ping || true
      setfattr -n user.note -v text deep || true
      ln usr/bin/tool deep/hard; ln -s ../usr/bin/tool deep/soft; ln -s /nowhere deep/a/dangling; ln deep/a/dangling deep/link-to-link
      mknod deep/null c 1 3; mknod deep/disk b 259 70000; mkfifo -m 640 deep/fifo; chmod 602 deep/null; chown 5:6 deep/fifo
      printf 'x' > "$(printf 'deep/not\\xff\\xfeutf8')"; printf 'x' > deep/ünïcode
      mkdir "$(printf 'deep/d\\xe9')"; echo y > "$(printf 'deep/d\\xe9/f')"
      head -c 700000 /dev/urandom > deep/big
      truncate -s 5M deep/holes; echo mid | dd of=deep/holes bs=1 seek=3000000 conv=notrunc status=none
      truncate -s 3M deep/all-hole
      chmod 1777 empty; chown -h 7:8 deep/soft
      n=$(printf 'n%.0s' $(seq 120)); mkdir -p deep/$n/$n; echo long > deep/$n/$n/$n
      find . -print0 | xargs -0 touch -h -d '2001-02-03 04:05:06.123456789'
      touch -d '1965-01-01 00:00:00.25' usr/bin/ping; touch -h -d '2030-01-01' deep/soft`);
  };
  for (const [name, options] of [
    ["pax", "--format=pax"],
    ["sparse pax", "--format=pax --sparse --xattrs --xattrs-include='*'"],
    ["GNU", "--format=gnu --sparse"],
  ] as const) {
    test(name, async () => {
      makeSource();
      shell(
        `tar -C src ${options} -cf a.tar . && mkdir oracle && tar -C oracle --xattrs --xattrs-include='*' --same-owner -pxf a.tar`,
      );
      await applyLayer(join(base, "root"), fileBytes(join(base, "a.tar")));
      expect(describeTree("root")).toBe(describeTree("oracle"));
    });
  }

  test("a file of 1 GiB in flat memory", async () => {
    const size = 2 ** 30;
    const chunk = Buffer.alloc(65536);
    const body = function* () {
      for (let sent = 0; sent < size; sent += chunk.length) yield chunk;
    };
    const before = process.memoryUsage().rss;
    const tar = writeTar([{ header: { name: "big", type: "file", size }, body: body() }]);
    const { bytes } = await applyLayer(join(base, "root"), tar);
    expect(bytes).toBe(size);
    expect(statSync(inRoot("big"))).toMatchObject({ size, blocks: 0 });
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024);
  });

  test("runs of zeros and holes take no blocks", async () => {
    makeSource();
    shell("tar -C src -cf a.tar .");
    await applyLayer(join(base, "root"), fileBytes(join(base, "a.tar")));
    expect(statSync(inRoot("deep/holes")).blocks * 512).toBeLessThan(600_000);
    expect(statSync(inRoot("deep/all-hole"))).toMatchObject({ blocks: 0, size: 3 * 1024 * 1024 });
  });
});

describe.if(isRoot)("layers", () => {
  const root = (): string => join(base, "root");

  test("a whiteout removes files and whole directories, and nothing when there is nothing", async () => {
    shell("mkdir -p root/a/b/c; touch root/a/b/c/d root/a/keep root/f");
    await applyLayer(root(), layer(file("a/.wh.b", ""), file(".wh.f", ""), file(".wh.none", ""), file("no/.wh.x", "")));
    expect(paths()).toEqual(["./a", "./a/keep"]);
  });

  test("an opaque whiteout hides lower layers only, wherever it comes", async () => {
    shell("mkdir -p root/d/old/deep root/d/sub; touch root/d/x root/d/sub/low root/d/old/deep/y");
    await applyLayer(root(), layer(file("d/new"), file("d/sub/up"), file("d/.wh..wh..opq", ""), file("d/late")));
    expect(paths()).toEqual(["./d", "./d/late", "./d/new", "./d/sub", "./d/sub/up"]);
  });

  test("whiteouts of . and .. are refused", async () => {
    for (const name of ["a/.wh...", "a/.wh..", "a/.wh."]) {
      expect(await codeOf(applyLayer(root(), layer(directory("a"), file(name, ""))))).toBe("invalid");
    }
  });

  test("kinds replace each other; directories merge", async () => {
    shell("mkdir -p root/dir/in root/merge; touch root/file root/merge/low; ln -s merge root/link");
    await applyLayer(
      root(),
      layer(
        file("dir", "now a file"),
        directory("file"),
        file("file/x"),
        directory("merge"),
        directory("link"),
        file("link/y"),
      ),
    );
    expect(paths()).toEqual(["./dir", "./file", "./file/x", "./link", "./link/y", "./merge", "./merge/low"]);
  });

  test("a removed directory in the middle of its own members leaves no stale descriptor", async () => {
    await applyLayer(
      root(),
      layer(
        file("a/b/one"),
        file("a/b", "file"),
        file("a/b2/x"),
        symlink("a/c", "b2"),
        file("a/c/via"),
        file("a/c", "f"),
      ),
    );
    expect(paths()).toEqual(["./a", "./a/b", "./a/b2", "./a/b2/via", "./a/b2/x", "./a/c"]);
    expect(readFileSync(inRoot("a/b"), "utf8")).toBe("file");
  });

  test("implicit parents are 0755 of root, the root member sets the root", async () => {
    await applyLayer(root(), layer({ ...directory("./"), mode: 0o711, uid: 3, mtime: 5n }, file("x/y/z")));
    expect(shell("stat -c '%a %u %Y' root")).toBe("711 3 0\n");
    expect(shell("stat -c '%a %u' root/x/y")).toBe("755 0\n");
  });

  test("many directories at once", async () => {
    const members = Array.from({ length: 300 }, (_, index) => file(`d${index}/f`));
    const links = members.map(
      (_, index): TarHeaderInput => ({
        name: `d${299 - index}/l`,
        type: "link",
        linkName: `/d${index}/f`,
      }),
    );
    const statistics = await applyLayer(root(), layer(...members, ...links));
    expect(statistics.entries).toBe(600);
    expect(statSync(inRoot("d7/f")).nlink).toBe(2);
  });

  test("an absolute symlink and a dangling one are followed inside", async () => {
    await applyLayer(root(), layer(symlink("var/run", "../../gone/here"), file("var/run/pid")));
    expect(paths()).toContain("./gone/here/pid");
  });

  test("bad archives are invalid", async () => {
    const cut = (async function* () {
      yield new Uint8Array(512).fill(65);
    })();
    expect(await codeOf(applyLayer(root(), cut))).toBe("invalid");
    expect(await codeOf(applyLayer(root(), layer({ name: "l", type: "link", linkName: "none" })))).toBe("invalid");
    expect(await codeOf(applyLayer(root(), layer(file("f"), file("f/below"))))).toBe("invalid");
    expect(await codeOf(applyLayer(root(), layer(symlink("s", "s"), file("s/below"))))).toBe("invalid");
    expect(await codeOf(applyLayer(root(), layer(file("n".repeat(300)))))).toBe("invalid");
    expect(await codeOf(applyLayer(root(), layer(file("n/".repeat(2100)))))).toBe("invalid");
  });
});

describe.if(isRoot)("nothing escapes", () => {
  const name = fc
    .array(fc.constantFrom("a", "b", "l", "..", ".", "", "outside", ".wh.a", ".wh.l", ".wh..wh..opq"), {
      minLength: 1,
      maxLength: 5,
    })
    .map((parts) => parts.join("/") || "a");
  const target = fc.oneof(
    name,
    fc.constantFrom(
      "/",
      "/../..",
      "../../../../..",
      "../outside",
      "/proc/self/root",
      "/proc/self/cwd",
      "a/../../outside",
    ),
  );
  const member = fc.record({
    name: fc.oneof(
      name,
      name.map((value) => `/${value}`),
      name.map((value) => `../../${value}`),
    ),
    type: fc.constantFrom<TarHeaderInput["type"]>("file", "directory", "symlink", "link", "fifo"),
    linkName: target,
    mode: fc.constantFrom(0o777, 0o4755, 0),
    uid: fc.constantFrom(0, 77),
  });

  // A hole in the confinement would let these archives delete what is outside, as root. So they run only where every
  // mount but a tmpfs of their own is read-only, in a mount namespace of another process.
  const caged = process.env.VCH_TEST_CAGE !== undefined;
  const CAGE = `set -e; mount --make-rprivate /; mount -t tmpfs none "$1"
    cut -d ' ' -f 2 /proc/self/mounts | sort -u | while read -r at; do
      if [ "$at" != "$1" ]; then mount -o remount,bind,ro "$at"; fi
    done
    TMPDIR="$1" VCH_TEST_CAGE=1 exec "$2" test "$3" -t "property: hostile"`;

  const runInCage = (): void =>
    test("hostile archives, in a cage", async () => {
      const argv = ["unshare", "--mount", "bash", "-c", CAGE, "cage", base, process.execPath, import.meta.path];
      const child = Bun.spawn(argv, { stdout: "pipe", stderr: "pipe" });
      const [output, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
      expect(code, output).toBe(0);
      expect(output).toContain("(pass) nothing escapes > property: hostile");
    }, 60_000);

  const propertyOfNamesAndLinks = (): void =>
    test("property: hostile names and links", async () => {
      for (const place of ["/", "/etc", "/dev", "/var", process.cwd()].filter((each) => existsSync(each))) {
        expect(() => mkdirSync(join(place, "vch-cage-probe"))).toThrow("EROFS");
      }
      mkdirSync(join(base, "outside"));
      writeFileSync(join(base, "outside", "a"), "untouched");
      symlinkSync("../outside", inRoot("l"));
      const seen = (): string =>
        shell("find . -path ./root -prune -o -printf '%p %y %m %U %s %n %T@\\n' | sort | grep -v '^\\. '");
      const before = seen();
      await fc.assert(
        fc.asyncProperty(fc.array(member, { maxLength: 12 }), fc.boolean(), async (members, asLayer) => {
          const valid = members.map((each): TarHeaderInput | [TarHeaderInput, string] =>
            each.type === "file" ? [each, "evil"] : { ...each, name: each.name || "a", linkName: each.linkName || "a" },
          );
          const tar = layer(...valid);
          const work = asLayer
            ? applyLayer(join(base, "root"), tar)
            : writeArchive(join(base, "root"), "/", tar, { noOverwriteDirNonDir: false, copyOwner: false });
          expect(["none", "invalid"]).toContain(await codeOf(work));
        }),
        { numRuns: 400 },
      );
      expect(seen()).toBe(before);
    });

  (caged ? propertyOfNamesAndLinks : runInCage)();

  test("a process that swaps a directory for a symlink out of the tree", async () => {
    shell("mkdir -p outside/sub; touch outside/keep outside/sub/keep");
    // renameat2 with RENAME_EXCHANGE: the name always leads somewhere, in turn inside and outside.
    const renameat2 = process.arch === "arm64" ? 276 : 316;
    const script = `chdir $ARGV[0]; my ($d, $up) = ("d", "up");
      while (1) { mkdir "d"; mkdir "d/sub"; symlink "../outside", "up"; syscall(${renameat2}, -100, $d, -100, $up, 2) }`;
    const racer = Bun.spawn(["perl", "-e", script, inRoot("")], { stdout: "ignore", stderr: "ignore" });
    let written = 0;
    try {
      for (let round = 0; round < 600; round++) {
        const tar = layer(directory("d/sub"), { ...file("d/evil")[0], mode: 0o666 }, file("d/sub"), file("d"));
        const options = { noOverwriteDirNonDir: false, copyOwner: false };
        if ((await codeOf(writeArchive(join(base, "root"), "/", tar, options))) === "none") written++;
      }
    } finally {
      racer.kill("SIGKILL");
      await racer.exited;
    }
    expect(written).toBeGreaterThan(0);
    expect(shell("find outside | LC_ALL=C sort").split("\n")).toEqual([
      "outside",
      "outside/keep",
      "outside/sub",
      "outside/sub/keep",
      "",
    ]);
  });
});

describe.if(isRoot)("docker cp into a container", () => {
  const options = { noOverwriteDirNonDir: false, copyOwner: false };
  const root = (): string => join(base, "root");

  test("the directory must exist and is not changed itself", async () => {
    shell("mkdir -p root/a root/real; touch root/f; chmod 700 root/real; ln -s /real root/a/link");
    expect(await codeOf(writeArchive(root(), "/none", layer(), options))).toBe("not-found");
    expect(await codeOf(writeArchive(root(), "/f", layer(), options))).toBe("not-a-directory");
    await writeArchive(root(), "a/link", layer({ ...directory("."), mode: 0o777 }, file(".wh.x"), file("y")), options);
    expect(paths()).toContain("./real/.wh.x");
    expect(shell("stat -c %a root/real")).toBe("700\n");
  });

  test("noOverwriteDirNonDir", async () => {
    shell("mkdir root/d; touch root/f");
    const keep = { ...options, noOverwriteDirNonDir: true };
    const overDirectory = writeArchive(root(), "/", layer(file("d")), keep);
    expect(overDirectory).rejects.toThrow('cannot overwrite directory "/d" with non-directory "d"');
    const overFile = writeArchive(root(), "/", layer(directory("f")), keep);
    expect(overFile).rejects.toThrow('cannot overwrite non-directory "/f" with directory "f/"');
    await writeArchive(root(), "/", layer(directory("d"), file("f", "new")), keep);
    expect(readFileSync(inRoot("f"), "utf8")).toBe("new");
  });

  test("owners", async () => {
    const archive = () => layer([{ name: "f", type: "file", uid: 5, gid: 6 }, "x"]);
    const owner = () => shell("stat -c %u:%g root/f").trim();
    const containerOwner = { uid: 1000, gid: 50 };
    await writeArchive(root(), "/", archive(), { ...options, containerOwner });
    expect(owner()).toBe("5:6");
    await writeArchive(root(), "/", archive(), { ...options, copyOwner: true, containerOwner });
    expect(owner()).toBe("1000:50");
    await writeArchive(root(), "/", archive(), { ...options, copyOwner: true });
    expect(owner()).toBe("5:6");
  });

  test("a read-only root", async () => {
    shell("mount -t tmpfs -o ro none root");
    try {
      expect(await codeOf(writeArchive(root(), "/", layer(file("f")), options))).toBe("read-only");
    } finally {
      shell("umount root");
    }
  });

  test("a full filesystem", async () => {
    shell("mount -t tmpfs -o size=64k none root");
    try {
      expect(await codeOf(writeArchive(root(), "/", layer(file("f", "x".repeat(200_000))), options))).toBe("no-space");
    } finally {
      shell("umount root");
    }
  });
});
