import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { buildIso, MANIFEST_PATH } from "../../iso-builder";
import { defaultKernelPackage, defaultPackages, fetchDebianPackages } from "../../iso-builder/packages";
import { isolinuxBoot, readIso, readIsoFile } from "../../src/format/iso9660";

/** Builds a bootstrap ISO of Debian packages with a stand-in for the tether, and boots it as vSphere would. Needs apt, clang, lld and QEMU. */
const cache = process.env.VCH_PACKAGE_CACHE ?? join(tmpdir(), "vch-packages");
const BUILD_TIMEOUT_MS = 300_000;
const BOOT_TIMEOUT_MS = 200_000;

/** Prints its environment and the loaded modules, checks that a dynamic program of the medium runs, and powers off. */
const standIn = `#!/bin/sh
echo "stand-in runs as $$"
echo "phases $VCH_INIT_PHASES"
tries=0
while [ $tries -lt 150 ]; do
  busybox grep -q '^overlay ' /proc/modules && busybox grep -q '^vmxnet3 ' /proc/modules && break
  busybox usleep 200000
  tries=$((tries + 1))
done
busybox awk '{ print "module " $1 }' /proc/modules
busybox awk '$2 == "/" { print "root " $3 " " $4 }' /proc/mounts
/sbin/mke2fs -V 2>&1 | busybox head -n 1
/sbin/modprobe nf_tables && echo "modprobe works"
busybox ls / 
busybox poweroff -f
`;

let folder = "";
let iso = "";
let direct: string[] = [];
let otherMedium: Promise<string>;

/** QEMU's options to start what isolinux would start, without firmware. */
async function directBoot(): Promise<string[]> {
  const source = Bun.file(iso);
  const files = await isolinuxBoot(source);
  if (files === undefined) throw new Error("no kernel found on the medium");
  const [kernel, initrd] = [join(folder, "vmlinuz"), join(folder, "initrd")];
  await Bun.write(kernel, Buffer.concat(await Array.fromAsync(readIsoFile(source, files.kernel))));
  await Bun.write(initrd, Buffer.concat(await Array.fromAsync(readIsoFile(source, files.initrd))));
  return ["-kernel", kernel, "-initrd", initrd, "-append", files.commandLine];
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-iso-boot-"));
  const packages = await fetchDebianPackages(cache, [defaultKernelPackage(), ...defaultPackages()]);
  const [kernel, ...others] = packages.map(({ path }) => path);
  const build = Bun.spawn([resolve(import.meta.dir, "../../iso-builder/init/build.sh"), folder], { stderr: "inherit" });
  expect(await build.exited).toBe(0);
  const decoder = resolve(import.meta.dir, "../../src/format/stream/lzma2/build.sh");
  expect(await Bun.spawn([decoder, folder], { stderr: "inherit" }).exited).toBe(0);
  const options = {
    kernel: { kind: "deb" as const, path: kernel ?? "" },
    packages: others,
    tether: new Blob([standIn]),
    launcher: new Blob(["launcher"]),
    init: join(folder, "init.x86_64"),
    addFiles: [{ path: "/etc/added", content: new Blob(["added"]), mode: 0o600 }],
  };
  iso = join(folder, "first.iso");
  // The same bytes by either decoder, and in any order of packages.
  const first = await buildIso({ ...options, xzDecoder: Bun.file(join(folder, "lzma2.wasm")), out: iso });
  const second = await buildIso({ ...options, packages: others.toReversed(), out: join(folder, "second.iso") });
  expect(second.sha256).toBe(first.sha256);
  expect(first.size).toBe(Bun.file(iso).size);
  direct = await directBoot();
  await Bun.write(join(folder, "other.iso"), new Uint8Array(1024 * 1024));
  // Waits for its medium for half a minute, so it begins before the others.
  otherMedium = boot(...drive(join(folder, "other.iso")), ...direct);
}, BUILD_TIMEOUT_MS);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs QEMU until the guest powers off, and gives what it printed on its serial port. */
async function boot(...options: string[]): Promise<string> {
  const child = Bun.spawn(
    [
      "qemu-system-x86_64",
      "-M",
      "pc",
      "-accel",
      "tcg",
      "-m",
      "256",
      "-display",
      "none",
      "-nodefaults",
      "-no-reboot",
      "-serial",
      "stdio",
      "-device",
      "pvscsi",
      ...options,
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit", timeout: BOOT_TIMEOUT_MS },
  );
  const output = await child.stdout.text();
  expect(await child.exited).toBe(0);
  return output.replaceAll("\r", "");
}

const drive = (path: string): string[] => ["-drive", `if=ide,index=0,media=cdrom,format=raw,readonly=on,file=${path}`];

test(
  "the medium boots its tether as PID 1 with its drivers loaded",
  async () => {
    const output = await boot(...drive(iso));
    expect(output).toContain("stand-in runs as 1\n");
    expect(output).toMatch(/phases start=\d+,modules=\d+,medium=\d+,root=\d+(,firmware=\d+)?\n/);
    expect(output).toMatch(/root iso9660 ro/);
    expect(output).toMatch(/mke2fs 1\.\d+/);
    expect(output).toContain("modprobe works");
    for (const module of ["vmw_pvscsi", "vmxnet3", "sd_mod", "overlay"]) expect(output).toContain(`module ${module}\n`);
  },
  BOOT_TIMEOUT_MS,
);

test(
  "what isolinux starts can be found on the medium, and does not take another medium for its own",
  async () => {
    expect(await boot(...drive(iso), ...direct)).toContain("stand-in runs as 1\n");
    expect(await otherMedium).toContain(
      "vch-init: no CD-ROM drive holds the medium that this VM was booted from; powering off",
    );
  },
  2 * BOOT_TIMEOUT_MS,
);

test(
  "xorriso unpacks it to what its manifest and our reader say",
  async () => {
    const out = join(folder, "out");
    const extract = ["xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", out];
    expect(await Bun.spawn(extract, { stdout: "ignore", stderr: "ignore" }).exited).toBe(0);
    const manifest = await Bun.file(join(out, MANIFEST_PATH)).json();
    for (const [path, digest] of Object.entries<string>(manifest.files)) {
      const content = await Bun.file(join(out, path)).bytes();
      expect(`${path} ${new Bun.CryptoHasher("sha256").update(content).digest("hex")}`).toBe(`${path} ${digest}`);
    }
    const ours: string[] = [];
    for await (const entry of readIso(Bun.file(iso))) ours.push(entry.path);
    // Not readdir: it follows the image's absolute symlinks.
    const find = Bun.spawn(["find", out, "-mindepth", "1", "-printf", "/%P\\n"], { stdout: "pipe" });
    const theirs = (await find.stdout.text()).trim().split("\n");
    expect(ours.sort()).toEqual(theirs.sort());
    expect(Object.keys(manifest.files)).toEqual(expect.arrayContaining(["/usr/sbin/tether", "/etc/added"]));
  },
  BOOT_TIMEOUT_MS,
);
