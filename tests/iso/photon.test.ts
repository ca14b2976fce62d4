import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { buildIso, type IsoBuildOptions } from "../../iso-builder";
import { bootPackages, defaultKernelPackage, fetchDebianPackages } from "../../iso-builder/packages";
import { fetchPhoton, parsePhotonKernel, readKeyFiles } from "../../iso-builder/photon";
import { verifyIso } from "../../iso-builder/verify";
import { buildRpm, makeSigningKey, run } from "../../src/format/rpm/testing/build-rpm";
import { bootGuest, compileTether } from "../tether/guest";
import { boot, compileInit, efiFirmware, standIn } from "./machine";

/**
 * A package repository in Photon's shape, made by rpmbuild, rpmsign and createrepo_c around Debian's kernel, and images out
 * of it by every kind of kernel source. Needs apt, rpm, createrepo_c, clang, lld, QEMU and OVMF.
 */
const cache = process.env.VCH_PACKAGE_CACHE ?? join(tmpdir(), "vch-packages");
const PREPARE_TIMEOUT_MS = 600_000;
const TEST_TIMEOUT_MS = 240_000;

let folder = "";
let repository = "";
let kernelRoot = "";
let kernelDeb = "";
let kernelVersion = "";
let bootFiles: string[] = [];
let libraryFile = "";
let keyFile = "";
let init = "";
let key: Awaited<ReturnType<typeof makeSigningKey>>;

async function unpack(deb: string, target: string): Promise<string> {
  await mkdir(target, { recursive: true });
  await run(["dpkg-deb", "-x", deb, target]);
  return target;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-photon-"));
  repository = join(folder, "repository");
  await mkdir(join(repository, "RPMS"), { recursive: true });
  const names = [
    defaultKernelPackage(),
    ...bootPackages(),
    "e2fsprogs",
    "libc6",
    "libext2fs2",
    "libcom-err2",
    "libblkid1",
    "libuuid1",
    "libss2",
  ];
  const packages = await fetchDebianPackages(cache, names);
  const path = (name: string) => packages.find((found) => found.name.startsWith(name))?.path ?? "";
  bootFiles = bootPackages().map(path);
  libraryFile = path("libc6");
  kernelDeb = path("linux-image-");
  init = await compileInit(folder);
  kernelRoot = await unpack(kernelDeb, join(folder, "kernel"));
  await rm(join(kernelRoot, "usr"), { recursive: true, force: true });
  kernelVersion = (await readdir(join(kernelRoot, "lib/modules")))[0] ?? "";
  const esx = join(folder, "esx");
  await cp(kernelRoot, esx, { recursive: true });
  // Photon compresses its modules.
  await run(["sh", "-c", `find ${esx}/lib/modules -name '*.ko' -path '*/fs/*' -print0 | xargs -0 xz --check=crc32 -1`]);
  key = await makeSigningKey(join(folder, "keys"));
  keyFile = join(folder, "key.asc");
  await Bun.write(keyFile, key.publicKey);
  const make = async (options: Parameters<typeof buildRpm>[1]) => {
    const made = await buildRpm(join(repository, "RPMS"), options);
    await key.sign(made);
  };
  await make({
    name: "linux-esx",
    version: "6.1.9",
    release: "9.ph5",
    payload: "w1.gzdio",
    root: await unpack(bootFiles[0] ?? "", join(folder, "old")),
  });
  await make({ name: "linux-esx", version: "6.1.10", release: "2.ph5", payload: "w3.zstdio", root: esx });
  await make({
    name: "e2fsprogs",
    payload: "w6.xzdio",
    root: await unpack(path("e2fsprogs"), join(folder, "e2")),
    head: ["Requires: libext2fs.so.2", "Requires: /bin/sh", "Requires: glibc >= 2.30"],
  });
  const libraries = join(folder, "libraries");
  for (const name of ["libext2fs2", "libcom-err2", "libblkid1", "libuuid1", "libss2"])
    await unpack(path(name), libraries);
  await make({
    name: "e2fsprogs-libs",
    payload: "w6.lzdio",
    root: libraries,
    head: ["Provides: libext2fs.so.2", "Requires: (glibc or musl)"],
  });
  await make({
    name: "glibc",
    version: "2.36",
    payload: "w6.gzdio",
    root: await unpack(path("libc6"), join(folder, "libc")),
  });
  await run(["sh", "-c", `rm -rf ${repository}/RPMS/*.build && createrepo_c --quiet ${repository}`]);
}, PREPARE_TIMEOUT_MS);
afterAll(() => rm(folder, { recursive: true, force: true }));

const sources = (locations: string[]) => ({
  repositories: locations,
  keyFiles: [keyFile],
  architecture: "x86_64" as const,
  cacheFolder: join(folder, "fetched"),
  log: () => undefined,
});

async function build(name: string, options: Partial<IsoBuildOptions> & Pick<IsoBuildOptions, "kernel">) {
  const { packages = [], ...others } = options;
  const rpmKeys = await readKeyFiles([keyFile]);
  return buildIso({
    packages: [...bootFiles, ...packages],
    tether: new Blob([standIn]),
    launcher: new Blob(["launcher"]),
    init,
    out: join(folder, `${name}.iso`),
    compression: { method: "zstd", level: 3 },
    ...(rpmKeys && { rpmKeys }),
    ...others,
  });
}

async function photon(location: string, version = "") {
  const kernel = parsePhotonKernel(`photon:5.0${version}`);
  if (kernel === undefined) throw new Error("not a Photon kernel");
  return fetchPhoton(kernel, [], sources([location]));
}

test("any release, and lists of packages in any compression", async () => {
  const mirror = join(folder, "mirror");
  for (const [release, type] of [
    ["4.0", "xz"],
    ["6.0", "bz2"],
  ] as const) {
    const top = join(mirror, release, "x86_64");
    await mkdir(top, { recursive: true });
    await cp(join(repository, "RPMS"), join(top, "RPMS"), { recursive: true });
    await run(["createrepo_c", "--quiet", `--compress-type=${type}`, "--general-compress-type", type, top]);
    expect((await readdir(join(top, "repodata"))).some((name) => name.endsWith(`primary.xml.${type}`))).toBe(true);
    const kernel = parsePhotonKernel(`photon:${release}`);
    if (kernel === undefined) throw new Error("not a Photon kernel");
    const fetched = await fetchPhoton(kernel, [], sources([`file://${mirror}/$releasever/$basearch`]));
    expect(basename(fetched.kernel)).toBe("linux-esx-6.1.10-2.ph5.x86_64.rpm");
  }
  await rm(mirror, { recursive: true });
  expect(() => parsePhotonKernel("photon:five")).toThrow("write photon:RELEASE");
});

test("a repository's signature is checked where it has one", async () => {
  const signed = join(folder, "signed");
  await mkdir(join(signed, "repodata"), { recursive: true });
  await cp(join(repository, "repodata"), join(signed, "repodata"), { recursive: true });
  await cp(join(repository, "RPMS"), join(signed, "RPMS"), { recursive: true });
  const repomd = join(signed, "repodata/repomd.xml");
  const environment = { GNUPGHOME: join(folder, "keys") };
  await run(["gpg", "--batch", "--quiet", "--armor", "--detach-sign", repomd], environment);
  await run(["gpgconf", "--kill", "all"], environment);
  expect(basename((await photon(signed)).kernel)).toBe("linux-esx-6.1.10-2.ph5.x86_64.rpm");
  await Bun.write(repomd, `${await Bun.file(repomd).text()}\n`);
  await expect(photon(signed)).rejects.toThrow(/repomd.xml: openpgp: it is not signed by a known key/);
});

describe("an image out of a Photon repository", () => {
  test(
    "has the newest kernel and what it needs, boots under BIOS and UEFI, and is sound",
    async () => {
      const fetched = await photon(repository);
      expect(basename(fetched.kernel)).toBe("linux-esx-6.1.10-2.ph5.x86_64.rpm");
      expect(fetched.packages.map((path) => basename(path).replace(/-[0-9].*/, ""))).toEqual([
        "e2fsprogs",
        "e2fsprogs-libs",
        "glibc",
      ]);
      const built = await build("photon", {
        kernel: { kind: "rpm", path: fetched.kernel },
        packages: fetched.packages,
      });
      expect(built.kernelVersion).toBe(kernelVersion);
      expect(await verifyIso(Bun.file(built.path))).toEqual([]);
      for (const firmware of ["bios", "efi"] as const) {
        const output = await boot({ iso: built.path, bus: "ide", firmware });
        expect(output).toContain("stand-in runs as 1\n");
        expect(output).toContain("root squashfs ro");
        expect(output).toMatch(/mke2fs 1\.\d+/);
        expect(output).toContain(firmware === "efi" ? "started by UEFI" : "started by BIOS");
      }
      // Tools that we did not write read the same tree.
      const listed = (await run(["unsquashfs", "-l", "-d", "", built.path])).split("\n");
      expect(listed).toContain("/usr/sbin/tether");
      const iso = (await run(["isoinfo", "-R", "-f", "-i", built.path])).trim().split("\n");
      expect(iso).toEqual(
        expect.arrayContaining(["/isolinux/vmlinuz", "/isolinux/initrd", "/boot/efi.img", "/root.squashfs"]),
      );
      const extracted = join(folder, "vmlinuz");
      await run(["xorriso", "-osirrox", "on", "-indev", built.path, "-extract", "/isolinux/vmlinuz", extracted]);
      const efi = join(folder, "efi.img");
      await run(["xorriso", "-osirrox", "on", "-indev", built.path, "-extract", "/boot/efi.img", efi]);
      await run(["fsck.fat", "-n", efi]);
      expect(await run(["mdir", "-b", "-i", efi, "::/EFI/BOOT"])).toContain("::/EFI/BOOT/BOOTX64.EFI");
      const initrd = join(folder, "initrd");
      await run(["xorriso", "-osirrox", "on", "-indev", built.path, "-extract", "/isolinux/initrd", initrd]);
      const members = (await run(["sh", "-c", 'zstd -dcq "$1" | cpio -t --quiet', "sh", initrd])).trim().split("\n");
      expect(members).toEqual(expect.arrayContaining(["init", "medium.id", "modules.list", "dev/console"]));
      const original = await Bun.file(join(kernelRoot, `boot/vmlinuz-${kernelVersion}`)).bytes();
      expect(Buffer.from(original).equals(await Bun.file(extracted).bytes())).toBe(true);
    },
    TEST_TIMEOUT_MS,
  );

  test("comes over HTTP too, and a version can be named", async () => {
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        const file = Bun.file(join(repository, new URL(request.url).pathname));
        return (await file.exists()) ? new Response(file) : new Response("", { status: 404 });
      },
    });
    try {
      const fetched = await photon(`http://127.0.0.1:${server.port}`, ":6.1.9");
      expect(basename(fetched.kernel)).toBe("linux-esx-6.1.9-9.ph5.x86_64.rpm");
      await expect(photon(`http://127.0.0.1:${server.port}`, ":5.0")).rejects.toThrow(
        "the newest versions are 6.1.9-9.ph5, 6.1.10-2.ph5",
      );
    } finally {
      await server.stop(true);
    }
  });

  test(
    "is refused when a package was changed, with and without new checksums, or is not signed",
    async () => {
      const hurt = join(folder, "hurt");
      await cp(repository, hurt, { recursive: true });
      const file = join(hurt, "RPMS", "glibc-2.36-1.ph5.x86_64.rpm");
      const bytes = await Bun.file(file).bytes();
      const at = bytes.length - 5000;
      bytes[at] = (bytes[at] ?? 0) ^ 0xff;
      await Bun.write(file, bytes);
      await rm(join(folder, "fetched"), { recursive: true, force: true });
      await expect(photon(hurt)).rejects.toThrow("does not fit its sha256 checksum");
      await run(["createrepo_c", "--quiet", hurt]);
      const fetched = await photon(hurt);
      const tampered = build("hurt", { kernel: { kind: "directory", path: kernelRoot }, packages: fetched.packages });
      await expect(tampered).rejects.toThrow(/glibc-2\.36.*(digest|damaged)/);
      await run(["rpmsign", "--delsign", join(folder, "fetched", "e2fsprogs-1.0-1.ph5.x86_64.rpm")]);
      const unsigned = build("unsigned", {
        kernel: { kind: "directory", path: kernelRoot },
        packages: [join(folder, "fetched", "e2fsprogs-1.0-1.ph5.x86_64.rpm")],
      });
      await expect(unsigned).rejects.toThrow("is not signed");
    },
    TEST_TIMEOUT_MS,
  );
});

/** Boots an image until its tether has called over the control link. @returns what the console said before */
async function bootUntilTetherCalls(iso: string, firmware: "bios" | "efi"): Promise<void> {
  const flash = firmware === "efi" ? ["-drive", `if=pflash,format=raw,readonly=on,file=${efiFirmware.code}`] : [];
  const medium = { folder, iso, kernel: flash, remove: async () => undefined };
  const guest = await bootGuest(medium, { version: 1, role: "loader", id: "1".repeat(64), hostname: "guest" }, []);
  try {
    await guest.session;
  } finally {
    await guest.kill();
  }
}

test("an image on which the tether could not start is refused", async () => {
  const dynamic = build("no-library", { kernel: { kind: "directory", path: kernelRoot }, tether: process.execPath });
  await expect(dynamic).rejects.toThrow(
    "ld-linux-x86-64.so.2, which starts the tether; give the package of the C library",
  );
});

describe("the same kernel in", () => {
  let tether = "";
  beforeAll(async () => {
    tether = await compileTether(folder);
  }, TEST_TIMEOUT_MS);

  for (const kind of ["directory", "deb", "rpm"] as const) {
    test(
      `a ${kind} gives an image that BIOS and UEFI start until the tether calls`,
      async () => {
        const rpm = join(repository, "RPMS", "linux-esx-6.1.10-2.ph5.x86_64.rpm");
        const path = { directory: kernelRoot, deb: kernelDeb, rpm }[kind];
        const compression = ({ directory: "none", deb: "zstd", rpm: "gzip" } as const)[kind];
        const built = await build(kind, {
          kernel: { kind, path },
          packages: [libraryFile],
          tether,
          compression: { method: compression, level: 1 },
        });
        expect(built.kernelVersion).toBe(kernelVersion);
        expect(await verifyIso(Bun.file(built.path))).toEqual([]);
        for (const firmware of ["bios", "efi"] as const) await bootUntilTetherCalls(built.path, firmware);
        await rm(built.path);
      },
      TEST_TIMEOUT_MS,
    );
  }
});
