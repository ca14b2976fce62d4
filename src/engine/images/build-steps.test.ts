import { beforeEach, describe, expect, test } from "bun:test";
import { writeTar } from "../../format/tar/index.ts";
import { UntilDone } from "../until-done.ts";
import type { BuildStep, LayerContentSource } from "./contract.ts";
import { createImages, type ImageService } from "./images.ts";
import { MemoryDatastore } from "./testing/memory-datastore.ts";
import { MemoryLoaders } from "./testing/memory-loaders.ts";

const NEVER = new AbortController().signal;
const ALL = { all: true, digests: false, filters: new Map() };

let files: MemoryDatastore;
let loaders: MemoryLoaders;
let service: ImageService;

const open = (): Promise<ImageService> =>
  createImages({
    files,
    loaders,
    usage: { containersOf: () => [] },
    registries: () => ({ insecureRegistries: [], mirrors: [], allowedRegistries: [] }),
    publish: () => undefined,
    root: "[ds] images",
    platform: { os: "linux", architecture: "amd64" },
    diskCapacityBytes: 1_000_000,
    untilDone: new UntilDone(() => undefined),
    log: () => undefined,
  });

beforeEach(async () => {
  files = new MemoryDatastore();
  loaders = new MemoryLoaders(files);
  service = await open();
});

const layer = (name: string): LayerContentSource => {
  const bytes = new TextEncoder().encode(name);
  return writeTar([{ header: { name, type: "file", size: bytes.length }, body: [bytes] }]);
};
const add = (parent: string | undefined, key: string, more: Partial<BuildStep> = {}): Promise<string> =>
  service.steps.add(
    {
      parent,
      tar: undefined,
      config: { Env: [key] },
      author: undefined,
      createdBy: key,
      buildKey: key,
      announce: () => undefined,
      ...more,
    },
    NEVER,
  );
const ids = async (all: boolean): Promise<string[]> =>
  (await service.images.list({ ...ALL, all })).map(({ Id }) => Id).sort();

describe("steps", () => {
  test("configuration and layers, each an image that is found again after a restart", async () => {
    const first = await add(undefined, "a", { tar: layer("file-a") });
    const uses = loaders.uses;
    const second = await add(first, "b");
    expect(loaders.uses).toBe(uses);
    const third = await add(second, "c", { tar: layer("file-c"), author: "ada" });
    service = await open();
    expect(service.steps.cached(undefined, "a")).toBe(first);
    expect(service.steps.cached(first, "b")).toBe(second);
    expect(service.steps.cached(first, "c")).toBeUndefined();
    const { diffIds, history, author } = service.steps.configurationOf(third);
    expect(diffIds).toHaveLength(2);
    expect(author).toBe("ada");
    expect(history.map(({ created_by, empty_layer }) => [created_by, empty_layer])).toEqual([
      ["a", false],
      ["b", true],
      ["c", false],
    ]);
    expect(await ids(false)).toEqual([third]);
    expect(await ids(true)).toEqual([first, second, third].sort());
    expect((await service.images.history(third)).map(({ Id }) => Id)).toEqual([third, second, first]);
  });

  test("the id is known before anybody can remove the image", async () => {
    let held: (() => void) | undefined;
    const id = await add(undefined, "a", {
      announce: (made) => {
        held = service.store.hold(made);
      },
    });
    await service.images.prune(new Map());
    expect(await ids(true)).toEqual([id]);
    held?.();
    await service.images.prune(new Map());
    expect(await ids(true)).toEqual([]);
  });

  test("names and removals by Docker's rules", async () => {
    const first = await add(undefined, "a", { tar: layer("file-a") });
    const second = await add(first, "b");
    const third = await add(second, "c");
    await service.images.tag(third, "built", undefined);
    await service.images.tag(first, "base", undefined);
    const remove = (name: string) => service.images.remove(name, { force: false, noPrune: false });
    await expect(remove(second)).rejects.toThrow("image has dependent child images");
    expect(await remove("base")).toEqual([{ Untagged: "base:latest" }]);
    await service.images.prune(new Map());
    expect(await ids(true)).toEqual([first, second, third].sort());
    await service.images.tag(first, "base", undefined);
    const removed = await remove("built");
    expect(removed.map(({ Untagged, Deleted }) => Untagged ?? Deleted)).toEqual(["built:latest", third, second]);
    expect(await ids(true)).toEqual([first]);
  });

  test("pruned steps go, what stands on them stays", async () => {
    const first = await add(undefined, "a", { tar: layer("file-a") });
    const second = await add(first, "b", { tar: layer("file-b") });
    const third = await add(second, "c");
    await service.images.tag(third, "built", undefined);
    expect((await service.steps.prune(({ createdBy }) => createdBy === "b")).deleted).toEqual([second]);
    expect((await service.steps.prune(() => true)).deleted).toEqual([first]);
    expect(await ids(true)).toEqual([third]);
    service = await open();
    expect(await ids(true)).toEqual([third]);
    expect(service.steps.configurationOf(third).diffIds).toHaveLength(2);
  });
});

describe("--cache-from", () => {
  const find = (parent: string | undefined, createdBy: string, sources: string[], key = createdBy) =>
    service.steps.cachedFrom(
      { parent, createdBy, buildKey: key, config: { Env: [createdBy] }, sources, announce: () => undefined },
      NEVER,
    );

  test("steps of an image that came without its parents are made out of its layers", async () => {
    const first = await add(undefined, "a", { tar: layer("file-a") });
    const second = await add(first, "b", { tar: layer("file-b") });
    const last = await add(second, "c");
    await service.images.tag(last, "pulled", undefined);
    await service.steps.prune(() => true);
    const a = await find(undefined, "a", [last]);
    expect(a).toBeString();
    expect(service.steps.configurationOf(a ?? "").diffIds).toHaveLength(1);
    const b = await find(a, "b", [last]);
    expect(service.steps.configurationOf(b ?? "").history).toHaveLength(2);
    expect(await find(b, "c", [last])).toBe(last);
    expect(await find(b, "other", [last])).toBeUndefined();
    expect(await find(b, "a", [last])).toBeUndefined();
  });

  test("what was built here counts only when a source comes from it", async () => {
    const first = await add(undefined, "a");
    const second = await add(first, "b");
    const stranger = await add(undefined, "z");
    expect(await find(undefined, "a", [second])).toBe(first);
    expect(await find(undefined, "a", [stranger])).toBeUndefined();
  });
});

test("a step that was cut off anywhere is not there, or is there whole", async () => {
  for (let crash = 0; ; crash++) {
    files = new MemoryDatastore();
    loaders = new MemoryLoaders(files);
    service = await open();
    const first = await add(undefined, "a", { tar: layer("file-a") });
    let left = crash;
    files.beforeChange = () => {
      left -= 1;
      if (left < 0) throw new Error("cut off");
    };
    const second = await add(first, "b", { tar: layer("file-b") }).catch(() => undefined);
    files.beforeChange = () => undefined;
    service = await open();
    const found = service.steps.cached(first, "b");
    if (second !== undefined) expect(found).toBe(second);
    const images = await ids(true);
    expect(images).toEqual(found === undefined ? [first] : [first, found].sort());
    const again = found ?? (await add(first, "b", { tar: layer("file-b") }));
    expect(service.steps.configurationOf(again).diffIds).toHaveLength(2);
    if (left > 0) break;
  }
});
