/**
 * `vch iso build` from local packages against the programs that others use for the same bytes: mksquashfs, cpio with zstd, and
 * xorriso, given the finished trees. They need not read packages, choose modules or write a manifest. Both sides take turns.
 */
import { mkdir, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { openIso } from "../../iso-builder/inspect.ts";
import { defaultKernelPackage, defaultPackages, fetchDebianPackages } from "../../iso-builder/packages.ts";
import { printTable } from "./table.ts";

const { values: given } = parseArgs({
  options: { runs: { type: "string", default: "3" }, compression: { type: "string", multiple: true } },
});
const RUNS = Number(given.runs);
const VCH = resolve(import.meta.dir, "../../dist/vch");
const PACKAGE_CACHE = process.env.VCH_PACKAGE_CACHE ?? join(tmpdir(), "vch-packages");

const folder = await mkdtemp(join(tmpdir(), "vch-iso-build-"));

/** Milliseconds. */
interface Cost {
  wall: number;
  /** Of all its threads and children: what other work on the machine changes least. */
  cpu: number;
}

async function run(command: string[], cwd = folder): Promise<Cost> {
  const begun = performance.now();
  const child = Bun.spawn(command, { cwd, stdout: "ignore", stderr: "pipe" });
  const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
  const used = child.resourceUsage();
  return { wall: performance.now() - begun, cpu: Number(used?.cpuTime.total ?? 0) / 1000 };
}

const sum = (one: Cost, two: Cost): Cost => ({ wall: one.wall + two.wall, cpu: one.cpu + two.cpu });
const shell = (script: string, ...words: string[]): Promise<Cost> => run(["sh", "-ec", script, "sh", ...words]);

/** What mksquashfs and xorriso are given: the trees of a finished ISO. */
async function unpack(iso: string, name: string): Promise<{ root: string; medium: string; initramfs: string }> {
  const [root, medium, initramfs] = ["root", "medium", "initramfs"].map((part) => join(folder, `${name}-${part}`)) as [
    string,
    string,
    string,
  ];
  await mkdir(initramfs);
  await run(["xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", medium]);
  const { manifest } = await openIso(Bun.file(iso));
  if (manifest.root.fileSystem === "squashfs") await run(["unsquashfs", "-no-progress", "-d", root, iso]);
  await shell('cd "$1" && zstd -dcq "$2/isolinux/initrd" | cpio -idu --quiet', initramfs, medium);
  await rm(join(medium, "root.squashfs"), { force: true });
  return { root, medium, initramfs };
}

try {
  const packages = (await fetchDebianPackages(PACKAGE_CACHE, [defaultKernelPackage(), ...defaultPackages()])).map(
    ({ path }) => path,
  );
  const [kernel = "", ...others] = packages;
  for (const compression of given.compression ?? ["none", "zstd"]) {
    const ours = join(folder, `${compression}.iso`);
    const build = (): Promise<Cost> =>
      run([
        ...[VCH, "iso", "build", "--state", join(folder, "state"), "--kernel", kernel, "--compression", compression],
        ...["--out", ours, ...others.flatMap((path) => ["--package", path])],
      ]);
    await build();
    const { root, medium, initramfs } = await unpack(ours, compression);
    const theirs = join(folder, `${compression}-theirs.iso`);
    const tools = async (): Promise<Cost> => {
      let time = await shell(
        'cd "$1" && find . | cpio -o -H newc --quiet | zstd -12 -qcf > "$2/isolinux/initrd"',
        initramfs,
        medium,
      );
      if (compression === "zstd") {
        const image = join(medium, "root.squashfs");
        await rm(image, { force: true });
        const form = [
          "-comp",
          "zstd",
          "-Xcompression-level",
          "15",
          "-b",
          "131072",
          "-no-fragments",
          "-no-xattrs",
          "-no-progress",
        ];
        time = sum(time, await run(["mksquashfs", root, image, ...form]));
      }
      await rm(theirs, { force: true });
      const bios = [
        "-b",
        "isolinux/isolinux.bin",
        "-c",
        "boot.cat",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
        "-boot-info-table",
      ];
      const efi = ["-eltorito-alt-boot", "-e", "boot/efi.img", "-no-emul-boot"];
      return sum(time, await run(["xorriso", "-as", "mkisofs", "-quiet", "-R", ...bios, ...efi, "-o", theirs, medium]));
    };
    const mine: Cost[] = [];
    const foreign: Cost[] = [];
    const unpacking: Cost[] = [];
    for (let index = 0; index < RUNS; index++) {
      mine.push(await build());
      foreign.push(await tools());
      const out = join(folder, "unpacked");
      await mkdir(out);
      unpacking.push(await shell('out=$1; shift; for deb; do dpkg-deb -x "$deb" "$out"; done', out, kernel, ...others));
      await rm(out, { recursive: true });
    }
    const size = async (path: string): Promise<string> => `${((await stat(path)).size / 2 ** 20).toFixed(1)} MiB`;
    for (const key of ["wall", "cpu"] as const) {
      const of = (costs: readonly Cost[]): number[] => costs.map((cost) => cost[key]);
      const ratio = (others: (index: number) => number): number[] =>
        mine.map((cost, index) => (100 * cost[key]) / others(index));
      printTable(`${compression}, ${key} time: ${await size(ours)}, theirs ${await size(theirs)}`, [
        ["vch iso build, ms", of(mine)],
        ["mksquashfs, cpio, zstd, xorriso, ms", of(foreign)],
        ["dpkg-deb -x of the same packages, ms", of(unpacking)],
        ["ratio without unpacking, %", ratio((index) => foreign[index]?.[key] ?? Number.NaN)],
        [
          "ratio with unpacking, %",
          ratio((index) => (foreign[index]?.[key] ?? Number.NaN) + (unpacking[index]?.[key] ?? Number.NaN)),
        ],
      ]);
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
