import { readPublicKeys } from "../openpgp/keys";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { link, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FormatError } from "../format-error";
import { compareRpmText, type RpmFile, type RpmPackage, readPrimary, readRepomd, readRpm, verifyRpmSignature } from ".";
import { buildRpm, makeSigningKey, run } from "./testing/build-rpm";

let folder = "";
let root = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-rpm-"));
  root = join(folder, "root");
  await mkdir(join(root, "usr/share/thing"), { recursive: true });
  await Bun.write(join(root, "usr/share/thing/text"), "some text\n".repeat(5000));
  await Bun.write(join(root, "usr/share/thing/empty"), "");
  await link(join(root, "usr/share/thing/text"), join(root, "usr/share/thing/other-name"));
  await symlink("text", join(root, "usr/share/thing/link"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(bytes: Blob | Uint8Array, onPackage: (read: RpmPackage) => void | Promise<void> = () => undefined) {
  const files: (Omit<RpmFile, "body"> & { digest: string })[] = [];
  for await (const { body, ...file } of readRpm(new Blob([bytes as Uint8Array<ArrayBuffer>]).stream(), onPackage)) {
    const hash = new Bun.CryptoHasher("sha256");
    for await (const piece of body) hash.update(piece);
    files.push({ ...file, digest: hash.digest("hex") });
  }
  return files;
}

describe("RPM packages", () => {
  for (const payload of ["w6.gzdio", "w19.zstdio", "w6.xzdio", "w9T2.xzdio", "w6.lzdio", "w9.bzdio"]) {
    test(`of rpmbuild with ${payload} have the files that rpm2cpio gives`, async () => {
      const path = await buildRpm(folder, { name: "thing", payload, release: `1.${payload.replace(/\W/g, "")}`, root });
      let described: RpmPackage | undefined;
      const files = await read(Bun.file(path), (read) => {
        described = read;
      });
      const query = await run(["rpm", "-qp", "--nosignature", "--qf", "%{NAME} %{VERSION} %{RELEASE} %{ARCH}", path]);
      expect(`${described?.name} ${described?.version} ${described?.release} ${described?.architecture}`).toBe(query);
      expect(described?.isSource).toBe(false);
      const out = join(folder, `out-${payload}`);
      await mkdir(out);
      const extract = Bun.spawnSync(["sh", "-c", `rpm2cpio "${path}" | cpio -idm --quiet`], { cwd: out });
      expect(extract.exitCode).toBe(0);
      for (const file of files.filter(({ type, size }) => type === "file" && size > 0)) {
        const bytes = await Bun.file(join(out, file.path)).bytes();
        expect(new Bun.CryptoHasher("sha256").update(bytes).digest("hex")).toBe(file.digest);
      }
      const listed = (await run(["sh", "-c", `rpm2cpio "$1" | cpio -t --quiet`, "sh", path])).trim().split("\n");
      expect(files.map(({ path }) => path).sort()).toEqual(listed.map((name) => name.replace(/^\.\//, "")).sort());
      expect(files.find(({ type }) => type === "symlink")?.target).toBe("text");
      const linked = files.filter(({ linkGroup }) => linkGroup !== undefined);
      expect(linked.map(({ size }) => size)).toEqual([0, 50_000]);
      expect(new Set(linked.map(({ linkGroup }) => linkGroup)).size).toBe(1);
    });
  }

  test("are trusted by signature, and not when anything was changed", async () => {
    const path = await buildRpm(folder, { name: "signed", root });
    const key = await makeSigningKey(join(folder, "keys"));
    const stranger = await makeSigningKey(join(folder, "stranger"));
    const unsigned = await Bun.file(path).bytes();
    await key.sign(path);
    const signed = await Bun.file(path).bytes();
    const keys = await readPublicKeys(Buffer.from(key.publicKey));
    const check = async (bytes: Uint8Array, trusted = keys) =>
      read(bytes, async (described) => {
        await verifyRpmSignature(described, trusted);
      });
    expect((await check(signed)).length).toBeGreaterThan(3);
    expect(check(unsigned)).rejects.toThrow("is not signed");
    expect(check(signed, await readPublicKeys(Buffer.from(stranger.publicKey)))).rejects.toThrow(
      "not signed by a given key",
    );
    const both = await readPublicKeys(Buffer.from(stranger.publicKey + key.publicKey));
    expect((await check(signed, both)).length).toBeGreaterThan(3);
    // With the plain digest of the header put right, only the signature can tell.
    const tampered = Buffer.from(signed);
    const magic = Buffer.from([0x8e, 0xad, 0xe8, 0x01]);
    const headerStart = tampered.indexOf(magic, tampered.indexOf(magic) + 4);
    const sizes = new DataView(tampered.buffer, tampered.byteOffset + headerStart);
    const header = tampered.subarray(headerStart, headerStart + 16 + sizes.getUint32(8) * 16 + sizes.getUint32(12));
    const digest = (algorithm: "sha1" | "sha256") => new Bun.CryptoHasher(algorithm).update(header).digest("hex");
    const before = [digest("sha1"), digest("sha256")];
    header.write("singed", header.indexOf("signed"));
    for (const [index, after] of [digest("sha1"), digest("sha256")].entries()) {
      const at = tampered.indexOf(before[index] ?? "");
      expect(at).toBeGreaterThan(0);
      tampered.write(after, at);
    }
    expect((await read(tampered)).length).toBeGreaterThan(3);
    expect(check(tampered)).rejects.toThrow("not signed by a given key");
    const late = signed.slice();
    late[late.length - 20] = (late[late.length - 20] ?? 0) ^ 1;
    expect(check(late)).rejects.toThrow(FormatError);
    expect(check(Buffer.concat([signed, new Uint8Array(100)]))).rejects.toThrow(FormatError);
    expect(readPublicKeys(Buffer.from("no key"))).rejects.toThrow("not a public key");
  });

  test("that are cut short or damaged give a FormatError, in time", async () => {
    const bytes = await Bun.file(await buildRpm(folder, { name: "damaged", root })).bytes();
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(255), fc.boolean(), async (at, value, cut) => {
        const hurt = cut ? bytes.slice(0, at) : bytes.slice();
        if (!cut) hurt[at] = value;
        const result = await read(hurt).catch((error: unknown) => error);
        if (cut) return result instanceof FormatError;
        return Array.isArray(result) || result instanceof FormatError;
      }),
      { numRuns: 150 },
    );
  });
});

test("versions are ordered as rpm orders them", async () => {
  const pieces = fc.constantFrom("0", "1", "01", "10", "2", "a", "b", "ph5", "rc", ".", "+", "~", "^", "_", "");
  const rest = fc.array(pieces, { maxLength: 6 }).map((parts) => parts.join(""));
  const text = fc.tuple(fc.constantFrom("0", "1", "a"), rest).map(([first, others]) => first + others);
  const pairs = fc.sample(fc.tuple(text, text), 250);
  const script = pairs.map(([one, two]) => `print(rpm.vercmp("${one}", "${two}"), "")`).join(" ");
  const answers = (await run(["rpm", "--eval", `%{lua: ${script}}`])).trim().split(/\s+/).map(Number);
  expect(answers).toHaveLength(pairs.length);
  for (const [index, [one, two]] of pairs.entries()) {
    expect(`${one} ${two} ${Math.sign(compareRpmText(one, two))}`).toBe(`${one} ${two} ${answers[index]}`);
  }
});

test("a repository of createrepo_c is read", async () => {
  const repository = join(folder, "repository");
  await mkdir(repository);
  const head = ["Requires: base >= 2:1.0-3", "Requires: /usr/bin/tool", "Provides: capability = 7"];
  await buildRpm(repository, { name: "one", root, head });
  await buildRpm(repository, { name: "two", architecture: "aarch64", root });
  await run(["createrepo_c", "--quiet", repository]);
  const files = readRepomd(await Bun.file(join(repository, "repodata/repomd.xml")).bytes());
  const primary = files.find(({ type }) => type === "primary");
  const stored = await Bun.file(join(repository, primary?.location ?? "")).bytes();
  expect(primary?.checksum).toEqual({
    algorithm: "sha256",
    value: new Bun.CryptoHasher("sha256").update(stored).digest("hex"),
  });
  const xml = Bun.gunzipSync(stored as Uint8Array<ArrayBuffer>);
  const packages = await readPrimary(new Blob([xml]).stream(), ["x86_64", "noarch"]);
  expect(packages.map(({ name }) => name)).toEqual(["one"]);
  const [one] = packages;
  expect(one).toMatchObject({ version: "1.0", release: "1.ph5", epoch: 0, architecture: "x86_64" });
  expect(one?.requires).toContainEqual({
    name: "base",
    comparison: "GE",
    version: { epoch: 2, version: "1.0", release: "3" },
  });
  expect(one?.requires.map(({ name }) => name)).toContain("/usr/bin/tool");
  expect(one?.provides.map(({ name }) => name)).toContain("capability");
  const cut = readPrimary(new Blob([xml.slice(0, xml.length - 30)]).stream(), ["x86_64"]);
  expect(cut).rejects.toThrow(FormatError);
  const typed = new Blob(['<!DOCTYPE x [<!ENTITY a "b">]><metadata/>']).stream();
  expect(readPrimary(typed, [])).rejects.toThrow("document type");
});
