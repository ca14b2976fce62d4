import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { ATTRIBUTES_LENGTH, decodeAttributes } from "../../src/format/file-share/attributes.ts";
import {
  encodeRequest,
  OPEN,
  OPERATIONS,
  type OperationName,
  TRANSFER_LIMIT,
} from "../../src/format/file-share/messages.ts";
import { ERRNO } from "../../src/share/system-calls.ts";
import { bytes, contained, ServerFixture } from "./server-fixture.ts";

/** What a guest that has taken over its kernel and tether may send. Nothing of it may reach beyond the share. */

let fixture: ServerFixture;
beforeEach(() => {
  if (!contained) return;
  fixture = new ServerFixture();
  writeFileSync(join(fixture.outside, "secret"), "secret");
});
afterEach(async () => {
  if (contained) await fixture.close();
});

const OWNER = { uid: 0, gid: 0 };
const CREATE = { flags: OPEN.write | OPEN.read, mode: 0o644, ...OWNER };
const outsideIsUntouched = (): void => {
  expect(readdirSync(fixture.outside)).toEqual(["secret"]);
  expect(readFileSync(join(fixture.outside, "secret"), "utf8")).toBe("secret");
};

describe.skipIf(!contained)("a hostile guest", () => {
  const escapes: [title: string, path: string][] = [
    "..",
    "../outside/secret",
    "a/../../outside/secret",
    "/etc/passwd",
    "./x",
    "a//b",
    "a/",
    ".",
    "\0",
    "a\0b",
  ].map((path): [string, string] => [JSON.stringify(path), path]);
  escapes.push(["with a long name", "x".repeat(256)], ["that is long", `${"x/".repeat(2100)}y`]);
  test.each(escapes)("path %s", async (_title, path) => {
    mkdirSync(join(fixture.shared, "a"));
    fixture.serve();
    const wrong = bytes(path);
    const results = [
      await fixture.errno("stat", { path: wrong }),
      await fixture.errno("open", { path: wrong, flags: OPEN.read }),
      await fixture.errno("openDirectory", { path: wrong }),
      await fixture.errno("create", { path: wrong, ...CREATE }),
      await fixture.errno("makeDirectory", { path: wrong, mode: 0o755, ...OWNER }),
      await fixture.errno("unlink", { path: wrong }),
      await fixture.errno("rename", { path: bytes("a"), to: wrong, flags: 0 }),
      await fixture.errno("rename", { path: wrong, to: bytes("b"), flags: 0 }),
      await fixture.errno("link", { path: wrong, to: bytes("b") }),
      await fixture.errno("makeSymlink", { path: wrong, target: bytes("t"), ...OWNER }),
    ];
    for (const errno of results) expect(errno).not.toBe(0);
    expect(readdirSync(fixture.shared)).toEqual(["a"]);
    outsideIsUntouched();
  });

  test("a symlink is never followed, neither as last component nor on the way", async () => {
    symlinkSync(fixture.outside, join(fixture.shared, "out"));
    symlinkSync(join(fixture.outside, "secret"), join(fixture.shared, "file"));
    symlinkSync("/proc/self/root", join(fixture.shared, "magic"));
    fixture.serve();
    for (const path of ["out/secret", "magic/etc/passwd", "out/new"].map(bytes)) {
      expect(await fixture.errno("stat", { path })).toBe(ERRNO.ELOOP);
      expect(await fixture.errno("open", { path, flags: OPEN.read })).toBe(ERRNO.ELOOP);
      expect(await fixture.errno("create", { path, ...CREATE })).toBe(ERRNO.ELOOP);
      expect(await fixture.errno("unlink", { path })).toBe(ERRNO.ELOOP);
    }
    const path = bytes("file");
    expect(await fixture.errno("open", { path, flags: OPEN.read })).toBe(ERRNO.ELOOP);
    expect(await fixture.errno("create", { path, ...CREATE })).toBe(ERRNO.ELOOP);
    expect(await fixture.errno("openDirectory", { path: bytes("out") })).not.toBe(0);
    expect((await fixture.call("readLink", { path })).target.toString()).toBe(join(fixture.outside, "secret"));
    const change = {
      path,
      handle: 0,
      which: 1,
      mode: 0o777,
      ...OWNER,
      size: 0,
      accessed: 0n,
      accessedNanoseconds: 0,
      modified: 0n,
      modifiedNanoseconds: 0,
    };
    expect(await fixture.errno("change", change)).toBe(ERRNO.EOPNOTSUPP);
    expect(await fixture.errno("change", { ...change, which: 8 })).toBe(ERRNO.EINVAL);
    // Owner and times are the symlink's own.
    await fixture.call("change", { ...change, which: 2 | 4 | 32, uid: 12, gid: 13, modified: 5n });
    expect(lstatSync(join(fixture.shared, "file"))).toMatchObject({ uid: 12, gid: 13, mtimeMs: 5000 });
    expect(lstatSync(join(fixture.outside, "secret")).uid).toBe(0);
    outsideIsUntouched();
  });

  test("a directory that is exchanged for a symlink all the time lets nothing out", async () => {
    mkdirSync(join(fixture.shared, "d"));
    writeFileSync(join(fixture.shared, "d", "secret"), "own");
    symlinkSync(fixture.outside, join(fixture.shared, "l"));
    fixture.serve();
    const exchange = (): void => {
      renameSync(join(fixture.shared, "d"), join(fixture.shared, "x"));
      renameSync(join(fixture.shared, "l"), join(fixture.shared, "d"));
      renameSync(join(fixture.shared, "x"), join(fixture.shared, "l"));
    };
    const seen = new Set<string>();
    for (let round = 0; round < 300; round++) {
      const work = (async () => {
        try {
          const { handle } = await fixture.call("open", { path: bytes("d/secret"), flags: OPEN.read });
          const { data } = await fixture.call("read", { handle, offset: 0, size: 100 });
          seen.add(data.toString());
          await fixture.call("close", { handle });
        } catch (error) {
          seen.add(String(error));
        }
      })();
      exchange();
      await work;
    }
    expect(seen).not.toContain("secret");
    expect(seen).toContain("own");
    outsideIsUntouched();
  });

  test("devices are neither made nor opened, and a fifo does not block the server", async () => {
    execFileSync("mknod", [join(fixture.shared, "zero"), "c", "1", "5"]);
    execFileSync("mkfifo", [join(fixture.shared, "fifo")]);
    fixture.serve();
    for (const name of ["zero", "fifo"])
      expect(await fixture.errno("open", { path: bytes(name), flags: OPEN.read })).toBe(ERRNO.EACCES);
    for (const mode of [0o020666, 0o060666, 0o040755, 0o120777])
      expect(await fixture.errno("makeNode", { path: bytes("node"), mode, ...OWNER })).toBe(ERRNO.EPERM);
    await fixture.call("makeNode", { path: bytes("pipe"), mode: 0o010644, uid: 5, gid: 6 });
    expect(lstatSync(join(fixture.shared, "pipe"))).toMatchObject({ uid: 5, gid: 6 });
  });

  test("files of the kernel below a share are not opened", async () => {
    mkdirSync(join(fixture.shared, "proc"));
    execFileSync("mount", ["-t", "proc", "proc", join(fixture.shared, "proc")]);
    try {
      fixture.serve([{}, { oneFileSystem: true }]);
      expect(await fixture.errno("open", { path: bytes("proc/uptime"), flags: OPEN.read })).toBe(ERRNO.EACCES);
      expect(await fixture.errno("stat", { path: bytes("proc/uptime") })).toBe(0);
      expect(await fixture.errno("stat", { path: bytes("proc/uptime") }, 1)).toBe(ERRNO.EXDEV);
    } finally {
      execFileSync("umount", [join(fixture.shared, "proc")]);
    }
  });

  test("a read-only share takes no change, whatever is asked", async () => {
    writeFileSync(join(fixture.shared, "f"), "text");
    const before = lstatSync(join(fixture.shared, "f"), { bigint: true });
    fixture.serve([{ readOnly: true }]);
    const { handle } = await fixture.call("open", { path: bytes("f"), flags: OPEN.read });
    const path = bytes("f");
    const name = bytes("user.x");
    const change = {
      path,
      handle,
      which: 0,
      mode: 0,
      ...OWNER,
      size: 0,
      accessed: 0n,
      accessedNanoseconds: 0,
      modified: 0n,
      modifiedNanoseconds: 0,
    };
    const attempts = [
      fixture.errno("write", { handle, offset: 0, flags: 0, data: bytes("x") }),
      fixture.errno("open", { path, flags: OPEN.write }),
      fixture.errno("open", { path, flags: OPEN.read | OPEN.truncate }),
      fixture.errno("open", { path, flags: OPEN.append }),
      fixture.errno("create", { path: bytes("n"), ...CREATE }),
      fixture.errno("unlink", { path }),
      fixture.errno("rename", { path, to: bytes("g"), flags: 0 }),
      fixture.errno("link", { path, to: bytes("g") }),
      fixture.errno("makeDirectory", { path: bytes("g"), mode: 0o755, ...OWNER }),
      fixture.errno("removeDirectory", { path: bytes("g") }),
      fixture.errno("makeNode", { path: bytes("g"), mode: 0o100644, ...OWNER }),
      fixture.errno("makeSymlink", { path: bytes("g"), target: bytes("t"), ...OWNER }),
      fixture.errno("setAttribute", { path, name, value: bytes("v"), flags: 0 }),
      fixture.errno("removeAttribute", { path, name }),
      fixture.errno("allocate", { handle, mode: 0, offset: 0, length: 100 }),
      ...[1, 2, 8, 32, 64, 256 | 8, 256 | 1].map((which) => fixture.errno("change", { ...change, which })),
    ];
    expect(new Set(await Promise.all(attempts))).toEqual(new Set([ERRNO.EROFS]));
    const after = lstatSync(join(fixture.shared, "f"), { bigint: true });
    expect([after.mtimeNs, after.ctimeNs, after.mode]).toEqual([before.mtimeNs, before.ctimeNs, before.mode]);
    expect(readdirSync(fixture.shared)).toEqual(["f"]);
  });

  test("a handle is good for its share, its direction and its life", async () => {
    writeFileSync(join(fixture.shared, "f"), "text");
    fixture.serve([{}, { readOnly: true }]);
    const { handle } = await fixture.call("open", { path: bytes("f"), flags: OPEN.write });
    expect(await fixture.errno("read", { handle, offset: 0, size: 4 })).toBe(ERRNO.EBADF);
    expect(await fixture.errno("statHandle", { handle }, 1)).toBe(ERRNO.EBADF);
    expect(await fixture.errno("statHandle", { handle: handle + 1 })).toBe(ERRNO.EBADF);
    expect(await fixture.errno("list", { handle, cookie: 0n, size: 4096, attributes: 0 })).toBe(ERRNO.ENOTDIR);
    const work = [
      fixture.errno("write", { handle, offset: 0, flags: 0, data: bytes("late") }),
      fixture.errno("close", { handle }),
    ];
    expect(await Promise.all(work)).toEqual([0, 0]);
    expect(await fixture.errno("write", { handle, offset: 0, flags: 0, data: bytes("x") })).toBe(ERRNO.EBADF);
    expect(readFileSync(join(fixture.shared, "f"), "utf8")).toBe("late");
    expect(await fixture.errno("stat", { path: bytes("f") }, 2)).toBe(ERRNO.ENOENT);
  });

  test("numbers out of bounds", async () => {
    writeFileSync(join(fixture.shared, "f"), "text");
    fixture.serve();
    const { handle } = await fixture.call("open", { path: bytes("f"), flags: OPEN.read | OPEN.write });
    expect(await fixture.errno("read", { handle, offset: 0, size: TRANSFER_LIMIT + 1 })).toBe(ERRNO.EINVAL);
    expect(await fixture.errno("read", { handle, offset: Number.MAX_SAFE_INTEGER, size: 10 })).toBe(0);
    expect(
      await fixture.errno("list", { handle: 0, cookie: 0xffff_ffff_ffff_ffffn, size: 0xffff_ffff, attributes: 9 }),
    ).toBe(ERRNO.EBADF);
    const directory = await fixture.call("openDirectory", { path: bytes("") });
    await fixture.errno("list", {
      handle: directory.handle,
      cookie: 0xffff_ffff_ffff_ffffn,
      size: 0xffff_ffff,
      attributes: 1,
    });
    expect(
      (await fixture.call("list", { handle: directory.handle, cookie: 0n, size: 0, attributes: 1 })).entries.length,
    ).toBeGreaterThan(0);
    expect(await fixture.errno("seek", { handle, offset: 0, whence: 0 })).toBe(ERRNO.EINVAL);
    expect(await fixture.errno("allocate", { handle, mode: 0x08, offset: 0, length: 1 })).toBe(ERRNO.EOPNOTSUPP);
    expect(await fixture.errno("rename", { path: bytes("f"), to: bytes("g"), flags: 4 })).toBe(ERRNO.EINVAL);
    for (const name of ["trusted.x", "security.selinux", "system.posix_acl_access"])
      expect(
        await fixture.errno("setAttribute", { path: bytes("f"), name: bytes(name), value: bytes("v"), flags: 0 }),
      ).toBe(ERRNO.EOPNOTSUPP);
  });

  test("any request is answered, and changes nothing outside", async () => {
    fixture.serve();
    mkdirSync(join(fixture.shared, "d"));
    symlinkSync("../outside", join(fixture.shared, "s"));
    const path = fc.constantFrom("", "d", "s", "d/f", "s/secret", "../outside/secret", "x", "d/..", "/").map(bytes);
    const kinds = {
      u32: fc.oneof(fc.nat(8), fc.nat(0xffff)),
      offset: fc.nat(1 << 20),
      cookie: fc.bigInt(0n, 100n),
      bytes: path,
    };
    const names = Object.keys(OPERATIONS) as OperationName[];
    const request = fc.constantFrom(...names).chain((operation) => {
      const fields = Object.entries(OPERATIONS[operation].request).map(([name, kind]) => [name, kinds[kind]]);
      return fc.record({ operation: fc.constant(operation), fields: fc.record(Object.fromEntries(fields)) });
    });
    await fc.assert(
      fc.asyncProperty(request, fc.nat(2), async ({ operation, fields }, share) => {
        await fixture.errno(operation, fields as never, share);
        outsideIsUntouched();
      }),
      { numRuns: 1500 },
    );
  });

  test("what is no message ends the server, with nothing left open", async () => {
    fixture.serve();
    fixture.raw(Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
    await expect(fixture.served).rejects.toThrow("a message of");
    fixture.serve();
    fixture.raw(encodeRequest(1, "stat", 0, { path: bytes("") }).fill(99, 8, 9));
    await expect(fixture.served).rejects.toThrow("unknown operation");
  });
});

describe.skipIf(!contained)("what is shared", () => {
  test("a single file, also after it was replaced, and nothing beside it", async () => {
    writeFileSync(join(fixture.shared, "one"), "first");
    writeFileSync(join(fixture.shared, "two"), "other");
    fixture.serve([{ path: join(fixture.shared, "one") }]);
    const read = async (): Promise<string> => {
      const { handle } = await fixture.call("open", { path: bytes(""), flags: OPEN.read });
      return (await fixture.call("read", { handle, offset: 0, size: 100 })).data.toString();
    };
    expect(await read()).toBe("first");
    writeFileSync(join(fixture.shared, "new"), "second");
    renameSync(join(fixture.shared, "new"), join(fixture.shared, "one"));
    expect(await read()).toBe("second");
    for (const path of ["two", "one", "../two"].map(bytes)) {
      expect(await fixture.errno("stat", { path })).not.toBe(0);
      expect(await fixture.errno("unlink", { path })).toBe(
        path.toString().startsWith("..") ? ERRNO.EINVAL : ERRNO.EACCES,
      );
    }
    expect(await fixture.errno("openDirectory", { path: bytes("") })).toBe(ERRNO.ENOTDIR);
    rmSync(join(fixture.shared, "one"));
    symlinkSync(join(fixture.outside, "secret"), join(fixture.shared, "one"));
    expect(await fixture.errno("open", { path: bytes(""), flags: OPEN.read })).toBe(ERRNO.ELOOP);
  });

  test("only what is below the allowed directory, also through symlinks", async () => {
    symlinkSync(fixture.outside, join(fixture.shared, "out"));
    mkdirSync(join(fixture.shared, "real"));
    symlinkSync("real", join(fixture.shared, "in"));
    writeFileSync(join(fixture.shared, "real", "f"), "text");
    const below = fixture.shared;
    fixture.serve([
      { path: join(fixture.shared, "out"), below },
      { path: join(fixture.shared, "out", "secret"), below },
      { path: fixture.outside, below },
      { path: join(fixture.shared, "in"), below },
      { path: join(fixture.shared, "in", "f"), below },
      { path: join(fixture.shared, "missing"), below },
      { path: fixture.shared, refused: true },
      { path: below, below },
    ]);
    const results: number[] = [];
    for (let share = 0; share < 8; share++) results.push(await fixture.errno("stat", { path: bytes("") }, share));
    expect(results).toEqual([ERRNO.EACCES, ERRNO.EACCES, ERRNO.EACCES, 0, 0, ERRNO.ENOENT, ERRNO.EACCES, 0]);
    // Shares that could not be opened do not shift the numbers of the others.
    expect(await fixture.errno("open", { path: bytes("f"), flags: OPEN.read }, 3)).toBe(0);
  });

  test("owner, mode and set-ID bits of what is made are the client's; a directory's group is inherited", async () => {
    fixture.serve();
    const { handle } = await fixture.call("create", {
      path: bytes("f"),
      flags: OPEN.write,
      mode: 0o4755,
      uid: 7,
      gid: 8,
    });
    const file = join(fixture.shared, "f");
    expect(lstatSync(file)).toMatchObject({ mode: 0o104755, uid: 7, gid: 8 });
    await fixture.call("write", { handle, offset: 0, flags: 1, data: bytes("x") });
    expect(lstatSync(file).mode).toBe(0o100755);
    await fixture.call("makeDirectory", { path: bytes("d"), mode: 0o2775, uid: 7, gid: 9 });
    await fixture.call("makeDirectory", { path: bytes("d/e"), mode: 0o755, uid: 7, gid: 10 });
    expect(lstatSync(join(fixture.shared, "d"))).toMatchObject({ mode: 0o042775, gid: 9 });
    expect(lstatSync(join(fixture.shared, "d", "e"))).toMatchObject({ mode: 0o042755, gid: 9 });
  });

  test("attributes are those that the kernel tells", async () => {
    writeFileSync(join(fixture.shared, "f"), "12345");
    linkSync(join(fixture.shared, "f"), join(fixture.shared, "g"));
    fixture.serve();
    const { attributes } = await fixture.call("stat", { path: bytes("g") });
    expect(attributes.length).toBe(ATTRIBUTES_LENGTH);
    const known = lstatSync(join(fixture.shared, "g"), { bigint: true });
    const told = decodeAttributes(attributes);
    expect(told).toMatchObject({
      inode: known.ino,
      size: 5n,
      links: 2,
      mode: Number(known.mode),
      modified: known.mtimeNs / 1_000_000_000n,
    });
    expect(BigInt(told.modifiedNanoseconds)).toBe(known.mtimeNs % 1_000_000_000n);
    expect(existsSync(join(fixture.shared, "f"))).toBe(true);
  });
});
