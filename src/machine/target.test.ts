import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseTarget, requireTarget, resolveTarget } from "./target.ts";

test("addresses in all their forms", () => {
  const user = "administrator@vsphere.local";
  expect(parseTarget("https://administrator%40vsphere.local@vc.example")).toEqual({
    url: "https://vc.example/sdk",
    username: user,
  });
  expect(parseTarget("root@10.0.0.1:8443")).toEqual({ url: "https://10.0.0.1:8443/sdk", username: "root" });
  expect(parseTarget("https://root@[fd00::1]/sdk/").url).toBe("https://[fd00::1]/sdk");
});

test("what would leak or cannot work is refused, with the way that works", () => {
  expect(() => parseTarget("https://root:secret@host")).toThrow("VCH_TARGET_PASSWORD");
  expect(() => parseTarget("http://root@host")).toThrow("https only");
  expect(() => parseTarget("https://host")).toThrow("user is missing");
  expect(() => parseTarget("")).toThrow("write https://user@host");
});

test("the password comes from a file or the environment", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vch-target-"));
  try {
    const file = join(folder, "password");
    await Bun.write(file, "from file \n");
    const target = "root@host";
    expect((await resolveTarget({ target, passwordFile: file }, {})).password).toBe("from file ");
    expect((await resolveTarget({ target }, { VCH_TARGET_PASSWORD: "from environment" })).password).toBe(
      "from environment",
    );
    await expect(resolveTarget({ target }, {})).rejects.toThrow("--password-file");
    await Bun.write(file, "\n");
    await expect(resolveTarget({ target, passwordFile: file }, {})).rejects.toThrow("is empty");
    expect(await resolveTarget({ target, thumbprint: "aa", datastore: "d" }, { VCH_TARGET_PASSWORD: "x" })).toEqual({
      url: "https://host/sdk",
      username: "root",
      password: "x",
      fingerprint: "aa",
      datastore: "d",
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("only required checks stop", () => {
  const check = { id: "x", title: "thing", detail: "is bad", fix: "mend it" };
  requireTarget([{ ...check, status: "FAIL", required: false }]);
  expect(() => requireTarget([{ ...check, status: "FAIL", required: true }])).toThrow(/thing: is bad\n +fix: mend it/);
});
