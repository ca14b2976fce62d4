import { describe, expect, test } from "bun:test";
import { EngineError } from "../errors.ts";
import { FakeVSphere } from "../testing/fake-vsphere.ts";
import { IsoCatalog, UPLOAD_TIME_LIMIT_MILLISECONDS } from "./catalog.ts";
import type { IsoFacts } from "./record.ts";
import type { IsoUse } from "./usage.ts";

const FOLDER = "[ds1] vch/test/iso";
const unused: IsoUse = { files: new Map(), isComplete: true };
const LATER = UPLOAD_TIME_LIMIT_MILLISECONDS + 1;

const facts = (text: string, more: Partial<IsoFacts> = {}): IsoFacts => ({
  sha256: new Bun.CryptoHasher("sha256").update(text).digest("hex"),
  sizeBytes: text.length,
  kernelVersion: "6.1.10-esx",
  tetherVersion: "1.0.0",
  cdromBuses: ["sata"],
  firmware: ["bios", "efi"],
  ...more,
});

const content = (text: string) => () => new Blob([text]).stream();

function fixture() {
  const vsphere = new FakeVSphere();
  const logged: string[] = [];
  const catalog = new IsoCatalog(vsphere.files, FOLDER, (message) => logged.push(message));
  const add = (name: string, text: string, replace = false) =>
    catalog.add(name, facts(text), content(text), { replace });
  const files = () => [...vsphere.content.keys()].map((path) => path.slice(FOLDER.length + 1)).sort();
  return { vsphere, logged, catalog, add, files };
}

describe("the catalog of bootstrap ISOs", () => {
  test("has ISOs side by side and one default, which is the endpoint's own until another is chosen", async () => {
    const { catalog, add } = fixture();
    await add("vch", "built in");
    await add("photon", "photon");
    expect((await catalog.list()).map(({ name }) => name)).toEqual(["photon", "vch"]);
    expect((await catalog.medium()).name).toBe("vch");
    await catalog.use("photon");
    const medium = await catalog.medium();
    expect(medium).toMatchObject({ name: "photon", cdromBus: "sata", firmware: "bios" });
    expect(medium.path).toStartWith(`${FOLDER}/photon-`);
    expect((await catalog.medium("vch")).name).toBe("vch");
    await catalog.use("vch");
    expect((await catalog.medium()).name).toBe("vch");
  });

  test("chooses controller and firmware by what the ISO can start from", async () => {
    const { catalog } = fixture();
    await catalog.add("both", facts("a", { cdromBuses: ["ide", "sata"], firmware: ["efi"] }), content("a"));
    expect(await catalog.medium("both")).toMatchObject({ cdromBus: "ide", firmware: "efi" });
  });

  test("refuses what is not there, is taken, or is no name", async () => {
    const { catalog, add } = fixture();
    await add("one", "one");
    expect(catalog.medium("two")).rejects.toThrow("unknown or invalid runtime name: two");
    expect(catalog.use("two")).rejects.toThrow("there is no bootstrap ISO two");
    expect(add("one", "other")).rejects.toThrow("another bootstrap ISO one");
    for (const name of ["", "../one", "One", "a/b", "a..b", "x".repeat(64)])
      expect(add(name, "x")).rejects.toBeInstanceOf(EngineError);
    expect((await add("one", "other", true)).sha256).toBe(facts("other").sha256);
  });

  test("does not delete an ISO that a VM uses, the default, or the endpoint's own", async () => {
    const { catalog, add, files } = fixture();
    const { file } = await add("one", "one");
    await add("vch", "own");
    const used: IsoUse = { files: new Map([[file, ["web-1", "web-2"]]]), isComplete: true };
    expect(catalog.remove("one", () => used)).rejects.toThrow("used by web-1, web-2: remove these containers first");
    // A container that comes between the two looks gets its ISO back.
    const looks = [unused, used];
    expect(catalog.remove("one", () => looks.shift() ?? used)).rejects.toThrow("is used by");
    expect((await catalog.medium("one")).path).toEndWith(file);
    await catalog.use("one");
    expect(catalog.remove("one", () => unused)).rejects.toThrow("is the default");
    await catalog.use("vch");
    expect(catalog.remove("vch", () => unused)).rejects.toThrow("belongs to the endpoint");
    await catalog.remove("one", () => unused);
    expect(files().filter((name) => name.includes("one"))).toEqual([]);
  });

  test("keeps a file that another name has too", async () => {
    const { catalog, add, files } = fixture();
    await add("one", "same");
    const { file } = await catalog.add("one-more", facts("same"), content("same"));
    await catalog.remove("one", () => unused);
    expect(files()).toContain(file);
  });

  test("keeps a replaced content while a VM uses it, and deletes it afterwards", async () => {
    const { catalog, add, files } = fixture();
    const old = await add("one", "old");
    await add("one", "new", true);
    const used: IsoUse = { files: new Map([[old.file, ["web"]]]), isComplete: true };
    expect(await catalog.prune(used, LATER)).toEqual([]);
    expect(await catalog.prune({ files: new Map(), isComplete: false }, LATER)).toEqual([]);
    expect(await catalog.prune(unused, LATER - 2)).toEqual([]);
    expect(await catalog.prune(unused, LATER)).toEqual([old.file]);
    expect(files()).not.toContain(old.file);
    expect((await catalog.medium("one")).path).not.toEndWith(old.file);
  });

  test("deletes nothing while a record cannot be read, and says which", async () => {
    const { vsphere, catalog, add, logged } = fixture();
    const old = await add("one", "old");
    await add("one", "new", true);
    await vsphere.files.write(`${FOLDER}/records/broken.json`, '{"version":1,"name":"broken","file":"../../x"}');
    expect(await catalog.prune(unused, LATER)).toEqual([]);
    expect(logged.join()).toContain("record of bootstrap ISO broken is damaged");
    expect(vsphere.content.has(`${FOLDER}/${old.file}`)).toBe(true);
    expect((await catalog.list()).map(({ name }) => name)).toEqual(["one"]);
  });

  test("writes damaged records anew, and says what to do about an unknown default", async () => {
    const { vsphere, catalog, add } = fixture();
    await add("vch", "own");
    await vsphere.files.write(`${FOLDER}/records/vch.json`, "{ not JSON");
    expect(add("vch", "own")).rejects.toThrow("record of bootstrap ISO vch is damaged");
    await add("vch", "own", true);
    expect((await catalog.medium()).name).toBe("vch");
    await vsphere.files.write(`${FOLDER}/default.json`, "[]");
    expect(catalog.medium()).rejects.toThrow("choose one with vch iso use");
    await catalog.use("vch");
    expect((await catalog.medium()).name).toBe("vch");
  });

  test("survives being cut off before any step of an upload", async () => {
    for (let stop = 0; ; stop++) {
      const { vsphere, catalog, add, files } = fixture();
      await add("one", "old");
      let step = 0;
      vsphere.before = () => {
        if (step++ >= stop) throw new Error("killed");
      };
      const outcome = await add("one", "new", true).catch(() => undefined);
      vsphere.before = () => undefined;
      const found = await catalog.find("one");
      // Either the earlier one or the new one, and its file is whole.
      const text = found?.sha256 === facts("new").sha256 ? "new" : "old";
      expect(found?.sha256).toBe(facts(text).sha256);
      const file = found === undefined ? "" : catalog.path(found);
      expect(new TextDecoder().decode(vsphere.content.get(file))).toBe(text);
      await add("one", "new", true);
      await catalog.prune(unused, LATER);
      expect(files().filter((name) => name.endsWith(".new") && !name.startsWith("records/"))).toEqual([]);
      expect(files().filter((name) => name.endsWith(".iso"))).toEqual([(await catalog.find("one"))?.file ?? ""]);
      if (outcome !== undefined) {
        expect(stop).toBeGreaterThan(2);
        break;
      }
    }
  });

  test("does not upload again what is there", async () => {
    const { vsphere, add } = fixture();
    await add("one", "one");
    const before = vsphere.calls.length;
    await add("one", "one");
    expect(vsphere.calls.length).toBe(before);
  });
});
