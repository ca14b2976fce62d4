import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIso } from "../../iso-builder";
import { openIso } from "../../iso-builder/inspect";
import { defaultKernelPackage, defaultPackages, fetchDebianPackages } from "../../iso-builder/packages";
import { verifyIso } from "../../iso-builder/verify";
import { bootArm64, compileInit, standIn } from "./machine";

/** An image for arm64 of Debian's arm64 packages. Needs apt, clang, lld, qemu-system-arm and qemu-efi-aarch64. */
const cache = process.env.VCH_PACKAGE_CACHE ?? join(tmpdir(), "vch-packages");
const ARCHITECTURE = "aarch64";
const PREPARE_TIMEOUT_MS = 600_000;
const BOOT_TIMEOUT_MS = 240_000;

let folder = "";
let kernel = "";
let others: string[] = [];
let iso = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-arm64-"));
  const names = [defaultKernelPackage(ARCHITECTURE), ...defaultPackages(ARCHITECTURE)];
  const [first, ...rest] = (await fetchDebianPackages(cache, names, ARCHITECTURE)).map(({ path }) => path);
  kernel = first ?? "";
  others = rest;
  iso = join(folder, "arm64.iso");
  await buildIso(options(iso, await compileInit(folder, ARCHITECTURE)));
}, PREPARE_TIMEOUT_MS);
afterAll(() => rm(folder, { recursive: true, force: true }));

const options = (out: string, init: string) => ({
  kernel: { kind: "deb" as const, path: kernel },
  packages: others,
  tether: new Blob([standIn]),
  launcher: new Blob(["launcher"]),
  init,
  out,
  architecture: ARCHITECTURE as "aarch64",
  compression: { method: "zstd" as const, level: 1 },
});

test(
  "UEFI starts the image, and its tether runs from a SATA drive",
  async () => {
    const output = await bootArm64(iso);
    expect(output).toContain("stand-in runs as 1\n");
    expect(output).toContain("root squashfs ro");
    expect(output).toMatch(/mke2fs 1\.\d+/);
    expect(output).toContain("started by UEFI");
  },
  BOOT_TIMEOUT_MS,
);

test("it is sound and says what it is for, and packages for other machines are refused", async () => {
  expect(await verifyIso(Bun.file(iso))).toEqual([]);
  const { manifest } = await openIso(Bun.file(iso));
  expect(manifest).toMatchObject({ architecture: "aarch64", cdrom: ["sata"] });
  expect(manifest.boot.bios).toBeUndefined();
  const mixed = { ...options(join(folder, "mixed.iso"), join(folder, "init.x86_64")), architecture: "x86_64" as const };
  expect(buildIso(mixed)).rejects.toThrow(/is for arm64, but the image is for amd64, x86_64/);
});
