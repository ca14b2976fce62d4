import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIso } from "../../iso-builder";
import { defaultPackages, fetchDebianPackages } from "../../iso-builder/packages";
import { run } from "../../src/format/rpm/testing/build-rpm";
import { boot, compileInit, efiFirmware, standIn } from "./machine";

/** SATA and Secure Boot, with Debian's general kernel, which has AHCI. Needs apt, clang, lld, QEMU and OVMF. */
const cache = process.env.VCH_PACKAGE_CACHE ?? join(tmpdir(), "vch-packages");
const PREPARE_TIMEOUT_MS = 600_000;
const TEST_TIMEOUT_MS = 240_000;

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-firmware-"));
  const packages = await fetchDebianPackages(cache, ["linux-image-amd64", ...defaultPackages()]);
  const [kernel, ...others] = packages.map(({ path }) => path);
  const testKey = ["openssl", "rsa", "-in", efiFirmware.testKey, "-passin", "pass:snakeoil"];
  const options = {
    kernel: { kind: "deb" as const, path: kernel ?? "" },
    packages: others,
    tether: new Blob([standIn]),
    launcher: new Blob(["launcher"]),
    init: await compileInit(folder),
    compression: { method: "zstd" as const, level: 1 },
  };
  await buildIso({ ...options, out: join(folder, "unsigned.iso") });
  const secureBoot = {
    privateKeyPem: await run(testKey),
    certificatePem: await Bun.file(efiFirmware.testCertificate).text(),
  };
  await buildIso({ ...options, secureBoot, out: join(folder, "signed.iso") });
}, PREPARE_TIMEOUT_MS);
afterAll(() => rm(folder, { recursive: true, force: true }));

const secure = async () => {
  const variables = join(folder, "variables.fd");
  await copyFile(efiFirmware.secureVariables, variables);
  return { variables };
};

test(
  "the medium boots from SATA under BIOS",
  async () => {
    const output = await boot({ iso: join(folder, "unsigned.iso"), bus: "sata", firmware: "bios" });
    expect(output).toContain("stand-in runs as 1\n");
    expect(output).toContain("started by BIOS");
  },
  TEST_TIMEOUT_MS,
);

test(
  "the signed medium boots from SATA under UEFI with Secure Boot",
  async () => {
    const output = await boot({ iso: join(folder, "signed.iso"), bus: "sata", firmware: await secure() });
    expect(output).toContain("stand-in runs as 1\n");
    expect(output).toContain("started by UEFI");
    expect(output.toLowerCase()).toContain("secure boot enabled");
  },
  TEST_TIMEOUT_MS,
);

test(
  "an unsigned medium is not started where Secure Boot is on",
  async () => {
    const refused = /Access Denied|Security Violation|No bootable option/;
    const output = await boot({
      iso: join(folder, "unsigned.iso"),
      bus: "sata",
      firmware: await secure(),
      until: refused,
    });
    expect(output).toMatch(refused);
    expect(output).not.toContain("stand-in runs");
  },
  TEST_TIMEOUT_MS,
);
