/** Push, save and load against Debian's docker-registry, checked with skopeo, which is not ours. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ProgressMessage, RegistryCredentials } from "../../src/engine/contract.ts";
import { createImages, type ImageEvent, type ImageService } from "../../src/engine/images/images.ts";
import { MemoryDatastore } from "../../src/engine/images/testing/memory-datastore.ts";
import { MemoryLoaders } from "../../src/engine/images/testing/memory-loaders.ts";
import { UntilDone } from "../../src/engine/until-done.ts";
import { DEFAULT_SETTINGS } from "../../src/registry/settings.ts";
import { makeLayout, type Registry, run, startRegistry } from "./registries.ts";

const NEVER = new AbortController().signal;
let directory: string;
let registry: Registry;
let locked: Registry;
let datastore: MemoryDatastore;
let loaders: MemoryLoaders;
let service: ImageService;
let events: ImageEvent[];

const open = (): Promise<ImageService> =>
  createImages({
    files: datastore,
    loaders,
    untilDone: new UntilDone(() => undefined),
    usage: { containersOf: () => [] },
    registries: () => DEFAULT_SETTINGS,
    publish: (event) => events.push(event),
    root: "[ds] vch/test/images",
    platform: { os: "linux", architecture: "amd64" },
    log: () => undefined,
  });
const pull = (name: string): Promise<void> => service.images.pull(name, { progress: () => undefined, signal: NEVER });
async function push(repository: string, tag?: string, credentials?: RegistryCredentials): Promise<ProgressMessage[]> {
  const lines: ProgressMessage[] = [];
  const options = { progress: (line: ProgressMessage) => lines.push(line), signal: NEVER };
  await service.images.push(repository, {
    ...options,
    ...(tag === undefined ? {} : { tag }),
    ...(credentials === undefined ? {} : { credentials }),
  });
  return lines;
}
const statuses = (lines: ProgressMessage[]): string[] => lines.map(({ status = "" }) => status);
const digestAt = async (name: string): Promise<string> =>
  (await run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", `docker://${name}`)).trim();
const toRegistry = (layout: string, name: string, ...options: string[]): Promise<string> =>
  run(
    ...["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", ...options],
    ...[`oci:${join(directory, layout)}:latest`, `docker://${registry.address}/${name}`],
  );
async function saveTo(file: string, ...names: string[]): Promise<void> {
  await pipeline(Readable.from(await service.images.save(names, {})), createWriteStream(file));
}
const load = async (file: string, platform?: string): Promise<ProgressMessage[]> => {
  const lines: ProgressMessage[] = [];
  await service.images.load(Bun.file(file).stream(), {
    ...(platform === undefined ? {} : { platform }),
    quiet: true,
    progress: (line) => lines.push(line),
    signal: NEVER,
  });
  return lines;
};

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "vch-push-"));
  registry = await startRegistry();
  locked = await startRegistry("auth: { htpasswd: { realm: tests, path: DIRECTORY/htpasswd } }");
  await makeLayout(join(directory, "base"), [{ a: "one" }, { b: "two" }], { cmd: "sh" });
  await makeLayout(join(directory, "arm"), [{ arm: "yes" }], {}, "arm64");
  await toRegistry("base", "base:1", "--format", "v2s2");
  await toRegistry("base", "zstd:1", "--format", "oci", "--dest-compress-format", "zstd");
}, 120_000);
afterAll(async () => {
  await registry.stop();
  await locked.stop();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(async () => {
  datastore = new MemoryDatastore();
  loaders = new MemoryLoaders(datastore);
  events = [];
  service = await open();
});

describe("push", () => {
  test.each(["base:1", "zstd:1"])(
    "what was pulled (%s) arrives with the same digest, mounted where it can be",
    async (name) => {
      const source = `${registry.address}/${name}`;
      const target = `${registry.address}/copies/${name.replace(":1", "")}`;
      await pull(source);
      await service.images.tag(source, target, "new");
      const lines = statuses(await push(target, "new"));
      expect(lines[0]).toBe(`The push refers to repository [${target}]`);
      expect(lines).toContain(`Mounted from ${name.replace(":1", "")}`);
      expect(lines.at(-2)).toStartWith(`new: digest: ${await digestAt(source)} size: `);
      expect(await digestAt(`${target}:new`)).toBe(await digestAt(source));
      expect((await service.images.inspect(`${target}:new`)).RepoDigests).toContain(
        `${target}@${await digestAt(source)}`,
      );
      expect(statuses(await push(target, "new")).filter((line) => line === "Layer already exists")).toHaveLength(2);
      expect(events.filter(({ action }) => action === "push")).toHaveLength(2);
    },
  );

  test("to another registry, with a password, which is asked for", async () => {
    const source = `${registry.address}/base:1`;
    const target = `${locked.address}/team/base`;
    await pull(source);
    await service.images.tag(source, target, "1");
    await expect(push(target, "1")).rejects.toThrow("unauthorized: authentication required");
    await expect(push(target, "1", { username: "alice", password: "wrong" })).rejects.toThrow("unauthorized");
    const lines = statuses(await push(target, "1", { username: "alice", password: "secret" }));
    expect(lines.filter((line) => line === "Pushed")).toHaveLength(2);
    const pulled = await run(
      ...["skopeo", "inspect", "--tls-verify=false", "--creds", "alice:secret", "--format", "{{.Digest}}"],
      `docker://${target}:1`,
    );
    expect(pulled.trim()).toBe(await digestAt(source));
  });

  test("an image imported here; every tag without a tag; what is not there", async () => {
    const random = crypto.getRandomValues(new Uint8Array(60_000));
    await Bun.write(join(directory, "tree/random"), random);
    // More than two parts: such a layer goes chunk by chunk.
    const big = new Uint8Array(20 * 1024 * 1024);
    for (let at = 0; at < big.length; at += 65_536) crypto.getRandomValues(big.subarray(at, at + 65_536));
    await Bun.write(join(directory, "tree/big"), big);
    await run("tar", "-C", join(directory, "tree"), "-cf", join(directory, "tree.tar"), ".");
    const target = `${registry.address}/imported`;
    await service.images.import(Bun.file(join(directory, "tree.tar")).stream(), {
      ...{ repository: target, tag: "one", changes: ["CMD sh"], progress: () => undefined, signal: NEVER },
    });
    await service.images.tag(`${target}:one`, target, "two");
    const lines = await push(target);
    expect(lines.filter(({ aux }) => aux !== undefined).map(({ aux }) => aux?.Tag)).toEqual(["one", "two"]);
    const copy = join(directory, "copy");
    await run(
      ...[
        "skopeo",
        "copy",
        "-q",
        "--insecure-policy",
        "--src-tls-verify=false",
        `docker://${target}:two`,
        `oci:${copy}:x`,
      ],
    );
    await run("umoci", "unpack", "--image", `${copy}:x`, join(directory, "bundle"));
    expect(await Bun.file(join(directory, "bundle/rootfs/random")).bytes()).toEqual(random);
    expect(Bun.CryptoHasher.hash("sha256", await Bun.file(join(directory, "bundle/rootfs/big")).bytes(), "hex")).toBe(
      Bun.CryptoHasher.hash("sha256", big, "hex"),
    );
    await expect(push("nothing", "x")).rejects.toThrow("An image does not exist locally with the tag: nothing");
    await expect(push("127.0.0.1:1/nothing")).rejects.toThrow("An image does not exist locally with the tag");
  }, 60_000);
});

describe("save", () => {
  test("skopeo reads it both ways; another store loads it and pushes the same digest", async () => {
    const base = `${registry.address}/base:1`;
    await pull(base);
    await pull(`${registry.address}/zstd:1`);
    await service.images.tag(base, "renamed", "v1");
    const file = join(directory, "saved.tar");
    await saveTo(file, base, "renamed:v1");
    expect(JSON.parse(await run("tar", "-xOf", file, "manifest.json"))[0].RepoTags).toEqual([base, "renamed:v1"]);
    const asDocker = JSON.parse(await run("skopeo", "inspect", `docker-archive:${file}:${base}`));
    expect(asDocker.Layers).toHaveLength(2);
    expect(JSON.parse(await run("skopeo", "inspect", "--raw", `oci-archive:${file}:v1`)).schemaVersion).toBe(2);
    datastore = new MemoryDatastore();
    loaders = new MemoryLoaders(datastore);
    service = await open();
    expect((await load(file)).map(({ stream }) => stream)).toEqual([
      `Loaded image: ${base}\n`,
      "Loaded image: renamed:v1\n",
    ]);
    const target = `${registry.address}/loaded`;
    await service.images.tag(base, target, "1");
    await push(target, "1");
    expect((await run("skopeo", "inspect", "--tls-verify=false", `docker://${target}:1`)).length).toBeGreaterThan(10);
  });

  test("a repository means all its tags, an id no name; what is missing is told before the first byte", async () => {
    const base = `${registry.address}/base:1`;
    await pull(base);
    await service.images.tag(base, "several", "a");
    await service.images.tag(base, "several", "b");
    const file = join(directory, "several.tar");
    await saveTo(file, "several");
    expect(JSON.parse(await run("tar", "-xOf", file, "manifest.json"))[0].RepoTags).toEqual(["several:a", "several:b"]);
    const { Id } = await service.images.inspect(base);
    await saveTo(file, Id ?? "");
    expect(JSON.parse(await run("tar", "-xOf", file, "manifest.json"))[0].RepoTags).toBeNull();
    await expect(service.images.save([base, "nothing"], {})).rejects.toThrow("reference does not exist");
    await expect(service.images.save([base], { platform: "linux/arm64" })).rejects.toThrow(
      "does not match the specified platform (linux/arm64)",
    );
  });

  test("of an archive with two platforms the own one is loaded, or the one asked for", async () => {
    const layout = join(directory, "two");
    await run("cp", "-r", join(directory, "base"), layout);
    const manifestOf = async (from: string) =>
      JSON.parse(await Bun.file(join(directory, from, "index.json")).text()).manifests[0];
    await run("cp", "-r", `${join(directory, "arm")}/blobs`, layout);
    const platforms = [
      { ...(await manifestOf("base")), platform: { os: "linux", architecture: "amd64" } },
      { ...(await manifestOf("arm")), platform: { os: "linux", architecture: "arm64" } },
    ];
    const inner = JSON.stringify({ schemaVersion: 2, manifests: platforms });
    const digest = Bun.CryptoHasher.hash("sha256", inner, "hex");
    await Bun.write(join(layout, "blobs/sha256", digest), inner);
    const top = {
      mediaType: "application/vnd.oci.image.index.v1+json",
      digest: `sha256:${digest}`,
      size: inner.length,
      annotations: { "io.containerd.image.name": "docker.io/library/two:1" },
    };
    await Bun.write(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [top] }));
    await run("tar", "-C", layout, "-cf", join(directory, "two.tar"), ".");
    await load(join(directory, "two.tar"));
    expect((await service.images.inspect("two:1")).Architecture).toBe("amd64");
    expect(await service.images.list({ all: true, digests: false, filters: new Map() })).toHaveLength(1);
    await load(join(directory, "two.tar"), "linux/arm64");
    expect((await service.images.inspect("two:1")).Architecture).toBe("arm64");
    await expect(load(join(directory, "two.tar"), "linux/s390x")).rejects.toThrow("contains no image");
  });
});

describe("kept layers", () => {
  const blobs = (): string[] => [...datastore.contents.keys()].filter((path) => path.includes("/blobs/"));

  test("go with their image, and survive a restart with it", async () => {
    const base = `${registry.address}/base:1`;
    await pull(base);
    expect(blobs().filter((path) => path.endsWith("blob.json"))).toHaveLength(2);
    service = await open();
    await service.images.save([base], {});
    await service.images.remove(base, { force: false, noPrune: false });
    // The archive that was asked for and never read still holds them, until the next start.
    service = await open();
    expect(blobs()).toEqual([]);
  });

  test("without a marker are nothing, and are removed", async () => {
    const base = `${registry.address}/base:1`;
    await pull(base);
    const marker = blobs().find((path) => path.endsWith("blob.json")) ?? "";
    datastore.contents.delete(marker);
    service = await open();
    expect(blobs().filter((path) => path.startsWith(marker.replace(/blob\.json$/, "")))).toEqual([]);
    await expect(service.images.save([base], {})).rejects.toThrow("remove the image and pull it again");
  });
});

test("what a registry has, without pulling it", async () => {
  const { Descriptor, Platforms } = await service.images.distribution(`${registry.address}/base:1`, { signal: NEVER });
  expect(Descriptor.digest).toBe(await digestAt(`${registry.address}/base:1`));
  expect(Platforms).toEqual([{ os: "linux", architecture: "amd64" }]);
  await expect(service.images.distribution(`${registry.address}/nothing`, { signal: NEVER })).rejects.toThrow(
    "manifest unknown",
  );
});

test("search: a registry that has it answers, one that has not is named", async () => {
  const results = [
    { name: "library/a", description: "d", star_count: 5, is_official: true },
    { name: "b", star_count: 1 },
  ];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) =>
      new URL(request.url).pathname === "/v1/search" ? Response.json({ results }) : new Response("", { status: 404 }),
  });
  try {
    const search = (filters: [string, string[]][]) =>
      service.images.search(`127.0.0.1:${server.port}/a`, { limit: 0, filters: new Map(filters), signal: NEVER });
    expect(await search([])).toHaveLength(2);
    expect((await search([["stars", ["3"]]])).map(({ name }) => name)).toEqual(["library/a"]);
    expect((await search([["is-official", ["false"]]])).map(({ name }) => name)).toEqual(["b"]);
    await expect(search([["moon", ["1"]]])).rejects.toThrow("invalid filter 'moon'");
    await expect(
      service.images.search(`${registry.address}/a`, { limit: 0, filters: new Map(), signal: NEVER }),
    ).rejects.toThrow("has no search");
  } finally {
    await server.stop(true);
  }
});
