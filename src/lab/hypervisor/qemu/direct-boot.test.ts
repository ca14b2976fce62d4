import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MachineDefinition } from "../contract.ts";
import { DirectBoots } from "./direct-boot.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-direct-boot-"));
});
afterAll(() => rm(folder, { recursive: true }));

const CONFIGURATION = "DEFAULT linux\nLABEL linux\n  LINUX /boot/vmlinuz\n  INITRD /boot/initrd\n  APPEND quiet a=b\n";

async function iso(name: string, files: Record<string, string>): Promise<string> {
  const root = join(folder, `${name}.tree`);
  for (const [path, content] of Object.entries(files)) await Bun.write(join(root, path), content);
  const file = join(folder, `${name}.iso`);
  const made = Bun.spawnSync(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", file, root]);
  if (made.exitCode !== 0) throw new Error(made.stderr.toString());
  return file;
}

const machine = (file: string | undefined, firmware: "bios" | "efi" = "bios"): MachineDefinition =>
  ({ firmware, cdroms: file === undefined ? [] : [{ key: 3000, file }] }) as unknown as MachineDefinition;

test("kernel, initramfs and command line of an isolinux CD-ROM, taken out once; other media boot by firmware", async () => {
  const boots = new DirectBoots(join(folder, "kernels"));
  const plain = { "isolinux/isolinux.cfg": CONFIGURATION.replaceAll("/boot/", "/isolinux/") };
  const file = await iso("linux", { ...plain, "isolinux/vmlinuz": "the kernel", "isolinux/initrd": "the initramfs" });
  const boot = await boots.of(machine(file));
  expect(boot?.commandLine).toBe("quiet a=b");
  expect(await Bun.file(boot?.kernel ?? "").text()).toBe("the kernel");
  expect(await Bun.file(boot?.initrd ?? "").text()).toBe("the initramfs");
  expect(await boots.of(machine(file))).toEqual(boot);
  expect(await readdir(boots.directory)).toHaveLength(1);

  expect(await boots.of(machine(file, "efi"))).toBeUndefined();
  expect(await boots.of(machine(undefined))).toBeUndefined();
  expect(await boots.of(machine(await iso("data", { readme: "no kernel" })))).toBeUndefined();
  const noise = join(folder, "noise.iso");
  await Bun.write(noise, new Uint8Array(100_000));
  expect(await boots.of(machine(noise))).toBeUndefined();
});
