import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { UnixSocketListener } from "bun";
import { parseBind } from "../containers/mount-plan.ts";
import { guestMounts } from "../containers/guest-document.ts";
import { bindRecord } from "./prepare.ts";
import type { BindSettings } from "./settings.ts";
import { findBindSource } from "./source.ts";

let base = "";
let listener: UnixSocketListener<undefined>;
beforeAll(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), "vch-binds-")));
  mkdirSync(join(base, "allowed/inner"), { recursive: true });
  mkdirSync(join(base, "other"));
  writeFileSync(join(base, "allowed/file"), "text");
  symlinkSync(join(base, "other"), join(base, "allowed/out"));
  symlinkSync("inner", join(base, "allowed/in"));
  listener = Bun.listen({ unix: join(base, "docker.sock"), socket: { data: () => undefined } });
});
afterAll(() => {
  listener.stop(true);
  rmSync(base, { recursive: true });
});

const settings = (roots: BindSettings["roots"]): BindSettings => ({
  roots,
  dockerSocket: join(base, "docker.sock"),
  fileServer: [],
});
const look = { create: false };

describe("which paths", () => {
  test("none unless it was allowed, and the refusal says how", async () => {
    expect(findBindSource(settings([]), join(base, "allowed"), look)).rejects.toThrow(
      `Allow one with vch up --bind-root ${base}/allowed, or use a volume`,
    );
    expect(findBindSource(settings([join(base, "allowed")]), join(base, "other"), look)).rejects.toThrow(
      `allows paths below ${base}/allowed only`,
    );
    expect(findBindSource(settings([join(base, "allowed")]), `${base}/allowed2`, look)).rejects.toThrow("only");
  });

  test("symlinks count for where they lead", async () => {
    const confined = settings([join(base, "other"), join(base, "allowed")]);
    expect(await findBindSource(confined, join(base, "allowed/in"), look)).toEqual({
      kind: "directory",
      below: join(base, "allowed"),
    });
    expect((await findBindSource(confined, join(base, "allowed/out"), look))?.below).toBe(join(base, "other"));
    expect(findBindSource(settings([join(base, "allowed")]), join(base, "allowed/out"), look)).rejects.toThrow("only");
    expect(
      findBindSource(settings([join(base, "allowed")]), join(base, "allowed/out/made"), { create: true }),
    ).rejects.toThrow("only");
    expect(existsSync(join(base, "other/made"))).toBe(false);
  });

  test("what they are", async () => {
    expect(await findBindSource(settings("any"), join(base, "allowed/file"), look)).toEqual({
      kind: "file",
      below: undefined,
    });
    const socket = await findBindSource(settings("any"), join(base, "docker.sock"), look);
    expect(socket).toMatchObject({
      kind: "socket",
      socket: { path: join(base, "docker.sock"), uid: process.getuid?.() },
    });
    expect(findBindSource(settings("any"), "/dev/null", look)).rejects.toThrow("its own kernel and devices");
    expect(findBindSource(settings("any"), "/proc", look)).rejects.toThrow("its own kernel and devices");
  });

  test("Docker's socket is the endpoint's own, also where no path is allowed", async () => {
    for (const path of ["/var/run/docker.sock", "/run/docker.sock", join(base, "docker.sock")])
      expect((await findBindSource(settings([]), path, look))?.socket?.path).toBe(join(base, "docker.sock"));
  });

  test("a missing one is made, or is missing", async () => {
    const missing = join(base, "allowed/new/deep");
    expect(await findBindSource(settings("any"), missing, look)).toBeUndefined();
    expect((await findBindSource(settings("any"), missing, { create: true }))?.kind).toBe("directory");
    expect(existsSync(missing)).toBe(true);
    expect(findBindSource(settings("any"), join(base, "allowed/file/below"), { create: true })).rejects.toThrow(
      /error while creating mount source path '.*below': mkdir .*: (not a directory|file exists)/,
    );
  });
});

test("a document keeps what was found, and the guest gets numbers for shares and sockets each", async () => {
  const plan = (text: string) => {
    const planned = parseBind(text, undefined);
    if (planned.type !== "bind") throw new Error("no bind");
    return planned;
  };
  const records = [
    await bindRecord(settings("any"), plan(`${base}/allowed:/a`)),
    await bindRecord(settings("any"), plan("/var/run/docker.sock:/var/run/docker.sock")),
    await bindRecord(settings("any"), plan(`${base}/allowed/file:/etc/file:ro`)),
    await bindRecord(settings("any"), plan(`${base}/missing:/m`)),
  ];
  expect(records.map(({ kind }) => kind)).toEqual(["directory", "socket", "file", "directory"]);
  expect(existsSync(join(base, "missing"))).toBe(false);
  expect(guestMounts(records)).toEqual([
    { type: "share", share: 0, kind: "directory", destination: "/a", readOnly: false },
    expect.objectContaining({ type: "socket", index: 0, destination: "/var/run/docker.sock" }),
    { type: "share", share: 1, kind: "file", destination: "/etc/file", readOnly: true },
    { type: "share", share: 2, kind: "directory", destination: "/m", readOnly: false },
  ]);
  const strict = { ...plan(`${base}/nope:/m`), createSource: false };
  expect(bindRecord(settings("any"), strict)).rejects.toThrow(
    `invalid mount config for type "bind": bind source path does not exist: ${base}/nope`,
  );
});
