import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DataObject } from "../model/data.ts";
import { ROLES } from "../session/users.ts";
import { DatastoreBrowser } from "./datastore-browser.ts";
import { FileManager } from "./file-manager.ts";
import { makeStorageFixture, type StorageFixture } from "./storage-fixture.ts";
import { VirtualDiskManager } from "./virtual-disk-manager.ts";
import { clearWorkArea, openWorkDirectory } from "./work-area.ts";

let fixture: StorageFixture;
let files: FileManager;
let disks: VirtualDiskManager;
let browser: DatastoreBrowser;

beforeEach(async () => {
  fixture = await makeStorageFixture();
  files = new FileManager(fixture.context, { type: "FileManager", value: "fm" });
  disks = new VirtualDiskManager(fixture.context, { type: "VirtualDiskManager", value: "vdm" });
  const { datastores } = fixture.context.inventory;
  browser = new DatastoreBrowser(fixture.context, { type: "HostDatastoreBrowser", value: "b" }, () => datastores);
});
afterEach(() => fixture.dispose());

const at = (path: string): string => join(fixture.directory, path);
const failsWith = (promise: Promise<unknown>, fault: string) => expect(promise).rejects.toMatchObject({ fault });
const SPEC = { _type: "FileBackedVirtualDiskSpec", diskType: "thin", adapterType: "lsiLogic", capacityKb: 2048 };
const makeDisk = (name: string) => fixture.call(disks, "CreateVirtualDisk_Task", { name, spec: SPEC });
const remove = (name: string) => fixture.call(files, "DeleteDatastoreFile_Task", { name });
const search = async (searchSpec?: object, datastorePath = "[ds]") =>
  (await fixture.call(browser, "SearchDatastore_Task", { datastorePath, searchSpec })) as { file: DataObject[] };

describe("FileManager", () => {
  test("makes directories, with parents only when asked", async () => {
    await failsWith(fixture.call(files, "MakeDirectory", { name: "[ds] a/b" }), "FileNotFound");
    await fixture.call(files, "MakeDirectory", { name: "[ds] a/b", createParentDirectories: true });
    expect(existsSync(at("a/b"))).toBe(true);
    const again = { name: "[ds] a/b", createParentDirectories: true };
    await failsWith(fixture.call(files, "MakeDirectory", again), "FileAlreadyExists");
  });

  test("deletes trees, but nothing that is in use", async () => {
    await mkdir(at("vm"));
    await writeFile(at("vm/disk"), "x");
    fixture.context.locks.acquire("vm-1", { write: [at("vm/disk")], read: [] }, (file) => file);
    await failsWith(remove("[ds] vm"), "FileLocked");
    expect(await readFile(at("vm/disk"), "utf8")).toBe("x");
    fixture.context.locks.release("vm-1");
    await remove("[ds] vm");
    expect(existsSync(at("vm"))).toBe(false);
    await failsWith(remove("[ds] vm"), "FileNotFound");
    await failsWith(remove("[ds]"), "InvalidDatastorePath");
  });

  test("moves replace a file only by force", async () => {
    await writeFile(at("a"), "new");
    await writeFile(at("b"), "old");
    const move = { sourceName: "[ds] a", destinationName: "[ds] b" };
    await failsWith(fixture.call(files, "MoveDatastoreFile_Task", move), "FileAlreadyExists");
    await fixture.call(files, "MoveDatastoreFile_Task", { ...move, force: true });
    expect(await readFile(at("b"), "utf8")).toBe("new");
    expect(existsSync(at("a"))).toBe(false);
    const inside = { sourceName: "[ds] d", destinationName: "[ds] d/e" };
    await mkdir(at("d"));
    await failsWith(fixture.call(files, "MoveDatastoreFile_Task", inside), "InvalidArgument");
  });

  test("copies trees", async () => {
    await mkdir(at("a/b"), { recursive: true });
    await writeFile(at("a/b/c"), "text");
    await fixture.call(files, "CopyDatastoreFile_Task", { sourceName: "[ds] a", destinationName: "[ds] z" });
    expect(await readFile(at("z/b/c"), "utf8")).toBe("text");
  });

  test("does not leave the datastore", async () => {
    await symlink("/etc", at("link"));
    for (const name of [
      "[ds] ../x",
      "[ds] a/../../x",
      "[ds] link/hostname",
      "[ds] a\0b",
      "[other] x",
      "[ds] .lab-work/x",
    ]) {
      await failsWith(remove(name), "InvalidDatastorePath");
    }
  });

  test("needs a privilege", async () => {
    await writeFile(at("a"), "x");
    const call = fixture.call(files, "DeleteDatastoreFile_Task", { name: "[ds] a" }, ROLES.readOnly);
    await failsWith(call, "NoPermission");
  });
});

describe("VirtualDiskManager", () => {
  test("makes disks that qemu-img accepts", async () => {
    expect(await makeDisk("[ds] a.vmdk")).toBe("[ds] a.vmdk");
    const { exitCode, stdout } = Bun.spawnSync(["qemu-img", "info", "--output=json", at("a.vmdk")]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout.toString())["virtual-size"]).toBe(2048 * 1024);
    await failsWith(makeDisk("[ds] a.vmdk"), "FileAlreadyExists");
    await failsWith(makeDisk("[ds] missing/a.vmdk"), "FileNotFound");
    expect(await readdir(at(".lab-work"))).toEqual([]);
  });

  test.each([
    [{ ...SPEC, diskType: "rdm" }, "NotSupported"],
    [{ ...SPEC, adapterType: "other" }, "InvalidArgument"],
    [{ ...SPEC, capacityKb: 0 }, "InvalidArgument"],
    [{ ...SPEC, _type: "SeSparseVirtualDiskSpec" }, "NotSupported"],
  ])("refuses %j", async (spec, fault) => {
    await failsWith(fixture.call(disks, "CreateVirtualDisk_Task", { name: "[ds] a.vmdk", spec }), fault);
    expect(existsSync(at("a.vmdk"))).toBe(false);
  });

  test("keeps parents, extends, and copies chains into one disk", async () => {
    await makeDisk("[ds] base.vmdk");
    const child = { childName: "[ds] child.vmdk", parentName: "[ds] base.vmdk", isLinkedClone: true };
    await fixture.call(disks, "CreateChildDisk_Task", child);
    await failsWith(fixture.call(disks, "DeleteVirtualDisk_Task", { name: "[ds] base.vmdk" }), "CannotDeleteFile");
    await failsWith(remove("[ds] base.vmdk"), "CannotDeleteFile");
    const grow = { name: "[ds] base.vmdk", newCapacityKb: 4096 };
    await failsWith(fixture.call(disks, "ExtendVirtualDisk_Task", grow), "CannotDeleteFile");
    await fixture.call(disks, "ExtendVirtualDisk_Task", { ...grow, name: "[ds] child.vmdk" });
    const infos = await fixture.call(disks, "QueryVirtualDiskInfo_Task", {
      name: "[ds] child.vmdk",
      includeParents: true,
    });
    expect(infos).toMatchObject([{ parent: "[ds] base.vmdk" }, { unit: { name: "[ds] base.vmdk" } }]);
    await fixture.call(disks, "CopyVirtualDisk_Task", { sourceName: "[ds] child.vmdk", destName: "[ds] copy.vmdk" });
    const copy = await fixture.context.disks.inspect(at("copy.vmdk"));
    expect(copy.capacityBytes).toBe(4096 * 1024);
    expect(copy.parent).toBeUndefined();
    await fixture.call(disks, "MoveVirtualDisk_Task", { sourceName: "[ds] child.vmdk", destName: "[ds] moved.vmdk" });
    expect(existsSync(at("child.vmdk"))).toBe(false);
    await fixture.call(disks, "DeleteVirtualDisk_Task", { name: "[ds] base.vmdk" });
  });

  test("inflates and shrinks, and keeps content and UUID", async () => {
    await makeDisk("[ds] a.vmdk");
    const write = Bun.spawnSync(["qemu-io", "-c", "write -P 0x41 512k 64k", "-c", "write -z 1M 64k", at("a.vmdk")]);
    expect(write.exitCode).toBe(0);
    const uuid = await fixture.call(disks, "QueryVirtualDiskUuid", { name: "[ds] a.vmdk" });
    const kind = async () =>
      (
        (await fixture.call(disks, "QueryVirtualDiskInfo_Task", { name: "[ds] a.vmdk", includeParents: false })) as {
          diskType: string;
        }[]
      )[0]?.diskType;
    const check = async (): Promise<void> => {
      expect(Bun.spawnSync(["qemu-img", "check", at("a.vmdk")]).exitCode).toBe(0);
      const read = Bun.spawnSync(["qemu-io", "-r", "-c", "read -P 0x41 512k 64k", at("a.vmdk")]);
      expect(read.stdout.toString()).not.toContain("verification failed");
      expect(await fixture.call(disks, "QueryVirtualDiskUuid", { name: "[ds] a.vmdk" })).toBe(uuid);
    };
    const size = (): number => statSync(at("a.vmdk")).size;
    const thin = size();
    await fixture.call(disks, "InflateVirtualDisk_Task", { name: "[ds] a.vmdk" });
    expect(size()).toBeGreaterThanOrEqual(2 * 1024 * 1024);
    expect(await kind()).toBe("eagerZeroedThick");
    await check();
    await fixture.call(disks, "ShrinkVirtualDisk_Task", { name: "[ds] a.vmdk" });
    expect(size()).toBeLessThanOrEqual(thin);
    expect(await kind()).toBe("thin");
    await check();
    await fixture.call(disks, "ZeroFillVirtualDisk_Task", { name: "[ds] a.vmdk" });
    const zeros = Bun.spawnSync(["qemu-io", "-r", "-c", "read -P 0 0 2M", at("a.vmdk")]);
    expect(zeros.stdout.toString()).not.toContain("verification failed");
    await fixture.call(disks, "CreateVirtualDisk_Task", {
      name: "[ds] thick.vmdk",
      spec: { ...SPEC, diskType: "eagerZeroedThick" },
    });
    expect(statSync(at("thick.vmdk")).size).toBeGreaterThanOrEqual(2 * 1024 * 1024);
    const child = { childName: "[ds] c.vmdk", parentName: "[ds] a.vmdk", isLinkedClone: true };
    await fixture.call(disks, "CreateChildDisk_Task", child);
    await failsWith(fixture.call(disks, "InflateVirtualDisk_Task", { name: "[ds] a.vmdk" }), "CannotDeleteFile");
    await failsWith(fixture.call(disks, "InflateVirtualDisk_Task", { name: "[ds] c.vmdk" }), "NotSupported");
  });

  test("keeps a UUID", async () => {
    await makeDisk("[ds] a.vmdk");
    const made = await fixture.call(disks, "QueryVirtualDiskUuid", { name: "[ds] a.vmdk" });
    expect(made).toMatch(/^60 00 c2 9[0-9a-f] .{11}-.{23}$/);
    const uuid = "00 11 22 33 44 55 66 77-88 99 aa bb cc dd ee ff";
    await fixture.call(disks, "SetVirtualDiskUuid", { name: "[ds] a.vmdk", uuid });
    expect(await fixture.call(disks, "QueryVirtualDiskUuid", { name: "[ds] a.vmdk" })).toBe(uuid);
    expect(Bun.spawnSync(["qemu-img", "check", at("a.vmdk")]).exitCode).toBe(0);
  });

  test("refuses what is no disk and who may not", async () => {
    await writeFile(at("a.vmdk"), "text");
    await failsWith(fixture.call(disks, "DeleteVirtualDisk_Task", { name: "[ds] a.vmdk" }), "InvalidDiskFormat");
    const forbidden = fixture.call(disks, "DeleteVirtualDisk_Task", { name: "[ds] a.vmdk" }, ROLES.readOnly);
    await failsWith(forbidden, "NoPermission");
  });
});

describe("HostDatastoreBrowser", () => {
  const ALL = { fileType: true, fileSize: true, modification: true, fileOwner: false };

  beforeEach(async () => {
    await mkdir(at("vm/logs"), { recursive: true });
    await writeFile(at("vm/vm.vmx"), "12345");
    await writeFile(at("b.iso"), "");
    await writeFile(at("[x].txt"), "");
    await makeDisk("[ds] a.vmdk");
  });

  test("tells types and details as asked", async () => {
    const { file } = await search({ details: ALL, sortFoldersFirst: true });
    expect(file.map(({ _type, path }) => `${_type} ${path}`)).toEqual([
      "FolderFileInfo vm",
      "FileInfo [x].txt",
      "VmDiskFileInfo a.vmdk",
      "IsoImageFileInfo b.iso",
    ]);
    const inside = await search({ details: ALL, matchPattern: ["*.vmx"] }, "[ds] vm");
    expect(inside.file).toMatchObject([{ _type: "VmConfigFileInfo", path: "vm.vmx", fileSize: 5 }]);
    expect((await search()).file[0]?.fileSize).toBeUndefined();
  });

  test("matches patterns literally but for * and ?", async () => {
    expect((await search({ matchPattern: ["[x].txt"] })).file).toMatchObject([{ path: "[x].txt" }]);
    expect((await search({ matchPattern: ["?.iso"] })).file).toMatchObject([{ path: "b.iso" }]);
    expect((await search({ matchPattern: ["B.ISO"] })).file).toEqual([]);
    expect((await search({ matchPattern: ["B.ISO"], searchCaseInsensitive: true })).file).toHaveLength(1);
  });

  test("finds disks with their properties", async () => {
    const details = { diskType: true, capacityKb: true, hardwareVersion: true, thin: true };
    const { file } = await search({ query: [{ _type: "VmDiskFileQuery", details }] });
    expect(file).toMatchObject([{ _type: "VmDiskFileInfo", path: "a.vmdk", capacityKb: 2048, thin: true }]);
    const none = { query: [{ _type: "VmDiskFileQuery", filter: { thin: false } }] };
    expect((await search(none)).file).toEqual([]);
  });

  test("searches directories below and tells what is missing", async () => {
    const results = await fixture.call(browser, "SearchDatastoreSubFolders_Task", { datastorePath: "[ds]" });
    expect(results).toMatchObject([
      { folderPath: "[ds]" },
      { folderPath: "[ds] vm/" },
      { folderPath: "[ds] vm/logs/" },
    ]);
    await failsWith(search(undefined, "[ds] none"), "FileNotFound");
    await failsWith(search(undefined, "[other]"), "InvalidDatastorePath");
  });
});

test("the work area is emptied", async () => {
  const [datastore] = fixture.context.inventory.datastores;
  if (!datastore) throw new Error("no datastore");
  const { directory } = await openWorkDirectory(datastore.folder);
  await clearWorkArea(datastore.folder);
  expect(existsSync(directory)).toBe(false);
});
