/**
 * What a bootstrap ISO costs a container VM: its size, the time until the tether speaks, the memory that is left for the
 * workload, and the smallest VM in which busybox runs. In the tether's place, a static program that does nothing gives the
 * floor. `--iso FILE` measures an ISO that is there instead of those built here; `--boots N` sets the boots per figure.
 */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildIso, type MediumCompression } from "../../iso-builder/index.ts";
import { defaultKernelPackage, defaultPackages, fetchDebianPackages } from "../../iso-builder/packages.ts";
import { DISK_LAYOUT } from "../../src/link/guest-configuration.ts";
import { compileInit } from "../iso/machine.ts";
import { bootGuest, compileTether, containerOf } from "../tether/guest.ts";
import { median } from "./table.ts";

const { values: given } = parseArgs({
  options: { iso: { type: "string" }, boots: { type: "string", default: "3" } },
});
const BOOTS = Number(given.boots);
const SIZES_MB = [128, 256];
/** Where the search for the smallest VM begins and ends, and how exact it is. */
const [SMALLEST_MB, LARGEST_MB, STEP_MB] = [32, 256, 4];
const BOOT_TIMEOUT_MS = 60_000;
const PACKAGE_CACHE = process.env.VCH_PACKAGE_CACHE ?? join(tmpdir(), "vch-packages");

const folder = await mkdtemp(join(tmpdir(), "vch-guest-memory-"));

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
  return output;
}

interface Boot {
  /** Milliseconds from QEMU's start until the program in the tether's place spoke. */
  firstLine: number;
  totalMB: number;
  availableMB: number;
}

const meminfo = (text: string, key: string): number =>
  Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(text)?.[1]) / 1024;

/** Boots the static program. @returns `undefined` when the VM is too small for it */
async function bootStatic(iso: string, memoryMB: number): Promise<Boot | undefined> {
  const begun = performance.now();
  const child = Bun.spawn(
    // biome-ignore format: option and value belong together
    [
      "qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-cpu", "max", "-m", String(memoryMB), "-display", "none", "-nodefaults",
      "-no-reboot", "-serial", "stdio", "-device", "pvscsi", "-netdev", "user,id=net", "-device", "vmxnet3,netdev=net",
      "-drive", `if=ide,index=0,media=cdrom,format=raw,readonly=on,file=${iso}`,
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit", timeout: BOOT_TIMEOUT_MS },
  );
  let output = "";
  let firstLine = Number.NaN;
  for await (const bytes of child.stdout) {
    output += Buffer.from(bytes).toString();
    if (Number.isNaN(firstLine) && output.includes("MemTotal:")) firstLine = performance.now() - begun;
  }
  await child.exited;
  if (Number.isNaN(firstLine)) return undefined;
  return { firstLine, totalMB: meminfo(output, "MemTotal"), availableMB: meminfo(output, "MemAvailable") };
}

/** Boots a container of busybox that writes down what memory it sees. @returns `undefined` when it does not run */
async function bootTether(iso: string, memoryMB: number): Promise<Boot | undefined> {
  const root = join(folder, "root");
  const disk = join(folder, "root.raw");
  await run(
    "sh",
    "-c",
    `mkdir -p "$1/bin" && cp "$(command -v busybox)" "$1/bin/busybox" && ln -sf busybox "$1/bin/sh"`,
    "sh",
    join(root, DISK_LAYOUT.content),
  );
  await rm(disk, { force: true });
  await run("mke2fs", "-q", "-t", "ext4", "-d", root, disk, "256M");
  const medium = { folder, iso, kernel: [], remove: async () => undefined };
  const script = "busybox cat /proc/meminfo > /memory; busybox sync";
  const guest = await bootGuest(medium, { ...containerOf(script), linked: false }, [disk], memoryMB);
  const limit = setTimeout(() => void guest.kill(), BOOT_TIMEOUT_MS);
  try {
    const ended = await guest
      .waitFor(({ status }) => status === "exited" || status === "failed")
      .catch(() => undefined);
    if (ended?.status !== "exited" || ended.exitCode !== 0) return undefined;
    const text = await run("debugfs", "-R", `cat /${DISK_LAYOUT.content}/memory`, disk);
    return {
      firstLine: guest.times.tether ?? Number.NaN,
      totalMB: meminfo(text, "MemTotal"),
      availableMB: meminfo(text, "MemAvailable"),
    };
  } finally {
    clearTimeout(limit);
    await guest.kill();
  }
}

type Booting = (iso: string, memoryMB: number) => Promise<Boot | undefined>;

/** Halves the range until it is one step wide. */
async function smallest(boot: Booting, iso: string): Promise<number | undefined> {
  let [tooSmall, enough] = [SMALLEST_MB / STEP_MB - 1, LARGEST_MB / STEP_MB];
  if ((await boot(iso, LARGEST_MB)) === undefined) return undefined;
  while (enough - tooSmall > 1) {
    const middle = Math.floor((tooSmall + enough) / 2);
    if ((await boot(iso, middle * STEP_MB)) === undefined) tooSmall = middle;
    else enough = middle;
  }
  return enough * STEP_MB;
}

async function report(name: string, iso: string, boot: Booting): Promise<void> {
  const size = ((await stat(iso)).size / 2 ** 20).toFixed(1);
  const cells: string[] = [];
  for (const memoryMB of SIZES_MB) {
    const boots: Boot[] = [];
    for (let index = 0; index < BOOTS; index++) {
      const one = await boot(iso, memoryMB);
      if (one !== undefined) boots.push(one);
    }
    const of = (key: keyof Boot): string => Math.round(median(boots.map((one) => one[key]))).toString();
    cells.push(
      boots.length === 0 ? "does not run | | " : `${of("firstLine")} | ${of("totalMB")} | ${of("availableMB")}`,
    );
  }
  console.log(`| ${name} | ${size} | ${cells.join(" | ")} | ${(await smallest(boot, iso)) ?? "-"} |`);
}

async function build(name: string, tether: string, compression: MediumCompression): Promise<string> {
  const packages = (await fetchDebianPackages(PACKAGE_CACHE, [defaultKernelPackage(), ...defaultPackages()])).map(
    ({ path }) => path,
  );
  const [kernel = "", ...others] = packages;
  const out = join(folder, `${name}.iso`);
  const init = await compileInit(folder);
  await run(resolve(import.meta.dir, "../../tether/launcher/build.sh"), folder);
  await buildIso({
    kernel: { kind: "deb", path: kernel },
    packages: others,
    tether,
    launcher: join(folder, "launcher-x64"),
    init,
    compression,
    out,
  });
  return out;
}

try {
  const header = SIZES_MB.map((size) => `first line at ${size} MB, ms | total | available`).join(" | ");
  console.log(`| ISO | MiB | ${header} | smallest VM, MB |\n|${"---|".repeat(3 + 3 * SIZES_MB.length)}`);
  if (given.iso !== undefined) {
    await report(given.iso.slice(given.iso.lastIndexOf("/") + 1), resolve(given.iso), bootTether);
  } else {
    const floor = join(folder, "floor");
    const flags = ["-std=c11", "-Os", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-pic"];
    const link = ["-nostdlib", "-static", "-fuse-ld=lld", "-Wl,--build-id=none,--strip-all,-z,noexecstack"];
    await run(
      "clang",
      "--target=x86_64-linux-gnu",
      ...flags,
      ...link,
      "-o",
      floor,
      join(import.meta.dir, "bare/memory.c"),
    );
    await report("static program", await build("static", floor, { method: "none" }), bootStatic);
    const tether = await compileTether(folder);
    await report("tether, not compressed", await build("plain", tether, { method: "none" }), bootTether);
    await report("tether, zstd", await build("zstd", tether, { method: "zstd" }), bootTether);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
