import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFile, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { defaultKernelPackage, defaultPackages, fetchDebianPackages } from "../../iso-builder/packages";
import { run } from "../../src/format/rpm/testing/build-rpm";
import { readIso } from "../../src/format/iso9660";
import { standIn } from "./machine";

/** `vch iso` as an administrator uses it, with every option at once. Nothing is booted. Needs dist/vch, apt's sources and unsquashfs. */
const VCH = resolve(import.meta.dir, "../../dist/vch");
const cache = process.env.VCH_PACKAGE_CACHE ?? join(tmpdir(), "vch-packages");
const TIMEOUT_MS = 240_000;

let folder = "";
let iso = "";
let said = "";
const file = (name: string): string => join(folder, name);

async function vch(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([VCH, "iso", ...words], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-iso-command-"));
  iso = file("all.iso");
  const names = [defaultKernelPackage(), ...defaultPackages(), "tzdata"];
  const [kernel = "", ...others] = (await fetchDebianPackages(cache, names)).map(({ path }) => path);
  const subject = ["-subj", "/CN=test", "-days", "2", "-newkey", "rsa:2048", "-nodes", "-x509"];
  await run(["openssl", "req", ...subject, "-keyout", file("sb.key"), "-out", file("sb.crt")]);
  await run(["openssl", "req", ...subject, "-keyout", file("ca.key"), "-out", file("ca.crt")]);
  await Bun.write(file("tether"), standIn);
  await Bun.write(file("motd"), "hello\n");
  const built = await vch(
    ...["build", "--state", file("state"), "--out", iso, "--kernel", kernel, "--compression", "gzip:1"],
    ...others.flatMap((path) => ["--package", path]),
    ...[
      "--kernel-arg",
      "mitigations=auto",
      "--kernel-arg",
      "vch.test",
      "--module",
      "dummy",
      "--timezone",
      "Europe/Berlin",
    ],
    ...["--ca-certificate", file("ca.crt"), "--add-file", `${file("motd")}:/etc/motd:0640`, "--tether", file("tether")],
    ...["--secure-boot-key", file("sb.key"), "--secure-boot-certificate", file("sb.crt")],
  );
  expect(built).toMatchObject({ code: 0 });
  said = built.stdout;
}, TIMEOUT_MS);
afterAll(() => rm(folder, { recursive: true, force: true }));

test("every option is on the image", async () => {
  const digest = await run(["sha256sum", iso]);
  expect(said).toContain(`SHA-256 ${digest.slice(0, 64)}`);
  const root = file("root");
  await run(["unsquashfs", "-no-progress", "-quiet", "-d", root, iso]);
  const zone = await run(["readlink", join(root, "etc/localtime")]);
  expect(zone.trim()).toBe("/usr/share/zoneinfo/Europe/Berlin");
  // The only zone: the others are left out.
  expect((await run(["find", join(root, "usr/share/zoneinfo"), "-type", "f"])).trim().split("\n")).toHaveLength(1);
  expect(await run(["stat", "-c", "%a", join(root, "etc/motd")])).toBe("640\n");
  expect(await Bun.file(join(root, "etc/motd")).text()).toBe("hello\n");
  const authority = await run(["openssl", "x509", "-in", file("ca.crt"), "-noout", "-fingerprint"]);
  const stored = ["openssl", "x509", "-in", join(root, "etc/ssl/certs/ca-certificates.crt"), "-noout", "-fingerprint"];
  expect(await run(stored)).toBe(authority);
  expect(await Bun.file(join(root, "modules.late.list")).text()).toMatch(/\/dummy\.ko\n/);
  expect(await Bun.file(join(root, "usr/sbin/tether")).text()).toBe(standIn);
  const efi = file("efi.img");
  await run(["xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/boot/efi.img", efi]);
  await run(["mcopy", "-i", efi, "::/EFI/BOOT/BOOTX64.EFI", file("boot.efi")]);
  await run(["sbverify", "--cert", file("sb.crt"), file("boot.efi")]);
});

test("inspect says what is on it, as text, as the manifest and as CycloneDX", async () => {
  const text = (await vch("inspect", iso)).stdout;
  expect(text).toMatch(/^Firmware +BIOS \(isolinux\); UEFI, signed by certificate [0-9a-f]{64}$/m);
  expect(text).toMatch(/^Command line .* mitigations=auto vch\.test$/m);
  expect(text).toMatch(/^Root +squashfs, gzip, blocks of 131072 bytes/m);
  expect(text).toMatch(/^ {2}e2fsprogs \S+ amd64 [0-9a-f]{64}$/m);
  const manifest = JSON.parse((await vch("inspect", "--json", iso)).stdout);
  expect(manifest.kernel).toMatchObject({
    version: expect.any(String),
    package: { name: expect.stringMatching(/^linux-image-/) },
  });
  const sbom = JSON.parse((await vch("inspect", "--sbom", iso)).stdout);
  expect(sbom).toMatchObject({
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    serialNumber: expect.stringMatching(/^urn:uuid:[0-9a-f-]{36}$/),
  });
  const digest = await run(["sha256sum", file("tether")]);
  const tether = sbom.components.find(({ name }: { name: string }) => name === "vch-tether");
  expect(tether.hashes).toEqual([{ alg: "SHA-256", content: digest.slice(0, 64) }]);
  const references: string[] = sbom.components.map((component: Record<string, string>) => component["bom-ref"]);
  expect(new Set(references).size).toBe(references.length);
  expect(references.filter((one) => one.startsWith("pkg:deb/debian/"))).toHaveLength(manifest.packages.length + 1);
});

describe("verify", () => {
  test("finds nothing wrong with what was built, and knows its digest", async () => {
    expect(await vch("verify", iso)).toMatchObject({ code: 0, stdout: expect.stringContaining("everything fits") });
    const [, digest = ""] = /SHA-256 ([0-9a-f]{64})/.exec(said) ?? [];
    expect((await vch("verify", "--sha256", digest, iso)).code).toBe(0);
    expect((await vch("verify", "--sha256", "0".repeat(64), iso)).code).not.toBe(0);
    expect((await vch("verify", file("motd"))).code).not.toBe(0);
  });

  test(
    "names what was changed",
    async () => {
      const places = new Map<string, number>();
      for await (const entry of readIso(Bun.file(iso))) if (entry.type === "file") places.set(entry.path, entry.offset);
      const changed: [path: string, offset: number, problem: RegExp][] = [
        ["/isolinux/vmlinuz", 100_000, /the kernel does not fit its digest/],
        ["/isolinux/isolinux.cfg", 20, /isolinux starts something else/],
        ["/isolinux/isolinux.bin", 500, /isolinux does not fit its digest/],
        ["/root.squashfs", 200_000, /is not sound|damaged|does not fit its digest/],
        ["/etc/vch/manifest.json", 3000, /./],
      ];
      const damaged = file("damaged.iso");
      for (const [path, offset, problem] of changed) {
        const start = places.get(path);
        expect(start, path).toBeNumber();
        await copyFile(iso, damaged);
        const handle = await open(damaged, "r+");
        const byte = Buffer.alloc(1);
        await handle.read(byte, 0, 1, (start ?? 0) + offset);
        byte.writeUInt8(byte.readUInt8() ^ 1);
        await handle.write(byte, 0, 1, (start ?? 0) + offset);
        await handle.close();
        const answer = await vch("verify", damaged);
        expect(answer.code, path).toBe(1);
        expect(answer.stderr, path).toMatch(problem);
      }
    },
    TIMEOUT_MS,
  );
});

test(
  "what cannot be done is refused, and leaves nothing",
  async () => {
    const refusals: [words: string[], why: RegExp][] = [
      [["--kernel", "nowhere.deb"], /there is no such file or folder/],
      [["--kernel", "photon:"], /write photon:RELEASE/],
      [["--kernel", "photon:5.0"], /must be signed: give the repository's public key with --rpm-key/],
      [["--arch", "riscv64"], /images are made for x86_64 and aarch64/],
      [["--arch", "aarch64"], /give the one for aarch64 with --tether/],
      [["--compression", "rar"], /write none, auto, gzip or zstd/],
      [["--secure-boot-key", file("sb.key")], /go together/],
      [["--add-file", "x:y"], /write FILE:\/PATH/],
      [["--kernel", folder, "--package", file("motd")], /exactly one kernel image/],
      [["--add-package", "a/b"], /not the name of a Debian package/],
    ];
    const out = file("refused.iso");
    for (const [words, why] of refusals) {
      const answer = await vch("build", "--state", file("state"), "--out", out, ...words);
      expect(answer.code, words.join(" ")).not.toBe(0);
      expect(answer.stderr, words.join(" ")).toMatch(why);
    }
    expect(await Array.fromAsync(new Bun.Glob("refused*").scan({ cwd: folder, onlyFiles: false }))).toEqual([]);
  },
  TIMEOUT_MS,
);
