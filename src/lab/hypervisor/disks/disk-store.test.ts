import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDiskStore } from "./disk-store.ts";

/** The oracle is QEMU's own VMDK driver. */
const haveOracle = Bun.which("qemu-img") !== null && Bun.which("qemu-io") !== null;
const MiB = 1024 * 1024;
let directory = "";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-disks-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", stdin: "ignore" });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0 || /failed|Pattern verification/.test(output))
    throw new Error(`${command.join(" ")}: ${output}${errors}`);
  return output;
}
const io = (file: string, ...commands: string[]) =>
  run("qemu-io", "-f", "vmdk", ...commands.flatMap((command) => ["-c", command]), file);
const check = (file: string) => run("qemu-img", "check", "-f", "vmdk", file);
const info = async (file: string): Promise<Record<string, unknown>[]> =>
  JSON.parse(await run("qemu-img", "info", "--backing-chain", "--output=json", file));

describe.skipIf(!haveOracle)("against qemu-img", () => {
  const store = createDiskStore();

  test.each([512, MiB, 33 * MiB - 512, 8 * 1024 * MiB, 2040 * 1024 * MiB])(
    "a new disk of %d bytes",
    async (capacity) => {
      const file = join(directory, `new-${capacity}.vmdk`);
      await store.create(file, capacity);
      await check(file);
      expect((await info(file))[0]).toMatchObject({ format: "vmdk", "virtual-size": capacity });
      expect(await store.inspect(file)).toMatchObject({ capacityBytes: capacity });
      expect((await store.inspect(file)).allocatedBytes).toBeLessThan(2 * MiB);
      await store.remove(file);
    },
  );

  test("a child reads its parent and leaves it alone", async () => {
    await mkdir(join(directory, "a"));
    await mkdir(join(directory, "b c"));
    const parent = join(directory, "a/parent.vmdk");
    const child = join(directory, "b c/child.vmdk");
    await store.create(parent, 100 * MiB);
    await io(parent, "write -P 0x11 0 1M", "write -P 0x22 90M 64k");
    const before = Bun.hash(await Bun.file(parent).bytes());
    await store.createChild(child, parent);
    expect((await store.inspect(child)).parent).toBe(parent);
    expect((await info(child)).map((link) => link["backing-filename"])).toEqual(["../a/parent.vmdk", undefined]);
    await io(
      child,
      "read -P 0x11 0 1M",
      "write -P 0x33 4k 4k",
      "read -P 0x11 8k 4k",
      "write -z 64k 64k",
      "read -P 0 64k 64k",
    );
    await check(child);
    expect(Bun.hash(await Bun.file(parent).bytes())).toBe(before);

    const grown = join(directory, "grown.vmdk");
    await store.createChild(grown, child, 200 * MiB);
    await io(grown, "read -P 0x33 4k 4k", "read -P 0 100M 100M", "write -P 0x44 150M 64k");
    const flat = join(directory, "flat.vmdk");
    await store.copy(grown, flat);
    await check(flat);
    expect(await info(flat)).toHaveLength(1);
    await run("qemu-img", "compare", "-f", "vmdk", "-F", "vmdk", grown, flat);
    expect((await store.inspect(flat)).allocatedBytes).toBeLessThan(3 * MiB);
  });

  test("a parent that was written to since is refused", async () => {
    const parent = join(directory, "written.vmdk");
    await store.create(parent, MiB);
    await store.createChild(join(directory, "orphan.vmdk"), parent);
    await io(parent, "write -P 1 0 64k");
    await expect(store.copy(join(directory, "orphan.vmdk"), join(directory, "x.vmdk"))).rejects.toMatchObject({
      fault: "InvalidDiskFormat",
    });
  });

  test("extending keeps the content and makes room", async () => {
    const file = join(directory, "extend.vmdk");
    await store.create(file, 40 * MiB);
    await io(file, "write -P 0x55 39M 1M");
    for (const capacity of [40 * MiB, 41 * MiB, 3000 * MiB]) {
      await store.extend(file, capacity);
      await check(file);
      expect((await info(file))[0]).toMatchObject({ "virtual-size": capacity });
      await io(
        file,
        "read -P 0x55 39M 1M",
        `write -P 0x66 ${capacity - MiB / 2} 512k`,
        `read -P 0x66 ${capacity - MiB / 2} 512k`,
      );
      await io(file, "write -P 0x55 39M 1M");
    }
    await expect(store.extend(file, MiB)).rejects.toMatchObject({ fault: "InvalidDiskFormat" });
  });

  test.each(["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "monolithicSparse"])(
    "disks of type %s made elsewhere are read",
    async (format) => {
      const file = join(directory, `${format}.vmdk`);
      await run(
        "qemu-img",
        "create",
        "-q",
        "-f",
        "vmdk",
        "-o",
        `subformat=${format}`,
        file,
        format === "twoGbMaxExtentSparse" ? "2100M" : "100M",
      );
      await io(
        file,
        "write -P 0x77 1M 64k",
        "write -P 0x78 99M 100k",
        ...(format === "twoGbMaxExtentSparse" ? ["write -P 0x79 2099M 1M"] : []),
      );
      const copy = join(directory, `${format}-copy.vmdk`);
      await store.copy(file, copy);
      await check(copy);
      await run("qemu-img", "compare", "-f", "vmdk", "-F", "vmdk", file, copy);
      if (format === "monolithicFlat") {
        await store.extend(file, 200 * MiB);
        expect((await info(file))[0]).toMatchObject({ "virtual-size": 200 * MiB });
      }
      await store.remove(file);
      expect((await readdir(directory)).filter((name) => name.startsWith(format))).toEqual([`${format}-copy.vmdk`]);
    },
  );
});

describe("without leaving the datastore", () => {
  test("names and faults", async () => {
    const root = join(directory, "root");
    await mkdir(root);
    const store = createDiskStore({ roots: [root] });
    const disk = join(root, "disk.vmdk");
    await store.create(disk, MiB);
    await expect(store.create(disk, MiB)).rejects.toMatchObject({ fault: "FileAlreadyExists" });
    await expect(store.inspect(join(root, "none.vmdk"))).rejects.toMatchObject({ fault: "FileNotFound" });
    await expect(store.create(join(root, "big.vmdk"), 3 * 1024 ** 4)).rejects.toMatchObject({
      fault: "InvalidDiskFormat",
    });
    expect(await readdir(root)).toEqual(["disk.vmdk"]);

    const outside = join(directory, "outside.vmdk");
    await createDiskStore().create(outside, MiB);
    await symlink(outside, join(root, "link.vmdk"));
    await expect(store.inspect(join(root, "link.vmdk"))).rejects.toMatchObject({ fault: "CannotAccessFile" });
    await createDiskStore().createChild(join(root, "child.vmdk"), outside);
    await expect(store.copy(join(root, "child.vmdk"), join(root, "copy.vmdk"))).rejects.toMatchObject({
      fault: "CannotAccessFile",
    });
    await Bun.write(
      join(root, "evil.vmdk"),
      '# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType="vmfs"\nRW 8 FLAT "../../etc/passwd" 0\n',
    );
    await expect(store.inspect(join(root, "evil.vmdk"))).rejects.toMatchObject({ fault: "InvalidDiskFormat" });
  });
});
