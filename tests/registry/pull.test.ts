import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ProgressMessage, RegistryCredentials } from "../../src/engine/contract.ts";
import { createImages, type ImageEvent, type ImageService } from "../../src/engine/images/images.ts";
import { MemoryDatastore } from "../../src/engine/images/testing/memory-datastore.ts";
import { MemoryLoaders } from "../../src/engine/images/testing/memory-loaders.ts";
import { UntilDone } from "../../src/engine/until-done.ts";
import { LinkError } from "../../src/link/link-error.ts";
import { DEFAULT_SETTINGS } from "../../src/registry/settings.ts";
import { makeLayout, type Registry, run, startRegistry } from "./registries.ts";

const ROOT = "[ds] vch/test/images";
let directory: string;
let registry: Registry;
let datastore: MemoryDatastore;
let loaders: MemoryLoaders;
let service: ImageService;
let events: ImageEvent[];
let containers: { id: string; name: string; running: boolean; image: string }[];

const open = (): Promise<ImageService> =>
  createImages({
    files: datastore,
    loaders,
    untilDone: new UntilDone(() => undefined),
    usage: { containersOf: (image) => containers.filter((container) => container.image === image) },
    registries: () => DEFAULT_SETTINGS,
    publish: (event) => events.push(event),
    root: ROOT,
    platform: { os: "linux", architecture: "amd64" },
    log: () => undefined,
  });

async function pull(
  name: string,
  options: { platform?: string; credentials?: RegistryCredentials; signal?: AbortSignal; tag?: string } = {},
): Promise<ProgressMessage[]> {
  const lines: ProgressMessage[] = [];
  await service.images.pull(name, {
    progress: (message) => lines.push(message),
    signal: new AbortController().signal,
    ...options,
  });
  return lines;
}

const statuses = (lines: ProgressMessage[]): string[] => lines.map(({ status = "" }) => status);
const diskFiles = (): string[] => [...datastore.contents.keys()].filter((path) => path.includes("/disks/"));
const push = (layout: string, name: string, ...options: string[]): Promise<string> =>
  run(
    "skopeo",
    "copy",
    "-q",
    "--insecure-policy",
    "--dest-tls-verify=false",
    ...options,
    `oci:${join(directory, layout)}:latest`,
    `docker://${registry.address}/${name}`,
  );

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "vch-images-"));
  registry = await startRegistry();
  await makeLayout(join(directory, "base"), [{ a: "one" }, { b: "two" }], { cmd: "sh", label: "kind=base" });
  await makeLayout(join(directory, "more"), [{ a: "one" }, { b: "two" }, { c: "three" }, { d: "four" }]);
  await makeLayout(join(directory, "arm"), [{ arm: "yes" }], {}, "arm64");
  await makeLayout(
    join(directory, "many"),
    Array.from({ length: 40 }, (_, index) => ({ [`f${index}`]: `${index}` })),
  );
  await push("base", "base:1");
  await push("base", "oci:1", "--format", "oci");
  await push("base", "zstd:1", "--format", "oci", "--dest-compress-format", "zstd");
  await push("base", "plain:1", "--dest-decompress");
  await push("more", "more:1", "--format", "v2s2");
  await push("arm", "arm:1", "--format", "oci");
  await push("many", "many:1");
}, 120_000);
afterAll(async () => {
  await registry.stop();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(async () => {
  datastore = new MemoryDatastore();
  loaders = new MemoryLoaders(datastore);
  events = [];
  containers = [];
  service = await open();
});

describe("pull", () => {
  test("puts all layers in one disk, with Docker's progress lines", async () => {
    const name = `${registry.address}/base:1`;
    const lines = await pull(name);
    expect(lines[0]).toEqual({ status: "Pulling from base", id: "1" });
    for (const status of ["Pulling fs layer", "Waiting", "Verifying Checksum", "Download complete", "Extracting"]) {
      expect(statuses(lines)).toContain(status);
    }
    expect(statuses(lines).filter((status) => status === "Pull complete")).toHaveLength(2);
    expect(statuses(lines).slice(-2)[0]).toMatch(/^Digest: sha256:[0-9a-f]{64}$/);
    expect(statuses(lines).at(-1)).toBe(`Status: Downloaded newer image for ${name}`);
    expect(loaders.uses).toBe(1);
    const image = await service.store.resolve(name);
    expect(loaders.read(image.disk.path, "a")).toBe("one");
    expect(loaders.read(image.disk.path, "b")).toBe("two");
    expect(image.config).toMatchObject({ Cmd: ["sh"], Labels: { kind: "base" } });
    expect(image.sizeBytes).toBe(6);
    const again = await pull(name);
    expect(statuses(again).at(-1)).toBe(`Status: Image is up to date for ${name}`);
    expect(loaders.uses).toBe(1);
    expect(events.map(({ action }) => action)).toEqual(["pull", "pull"]);
  });

  for (const kind of ["oci", "zstd", "plain"]) {
    test(`takes ${kind} images`, async () => {
      await pull(`${registry.address}/${kind}:1`);
      const { disk } = await service.store.resolve(`${registry.address}/${kind}:1`);
      expect(loaders.read(disk.path, "b")).toBe("two");
    });
  }

  test("stands on the longest stored prefix", async () => {
    await pull(`${registry.address}/base:1`);
    const lines = await pull(`${registry.address}/more:1`);
    expect(statuses(lines).filter((status) => status === "Already exists")).toHaveLength(2);
    expect(loaders.applied).toBe(4);
    const { disk, sizeBytes } = await service.store.resolve(`${registry.address}/more:1`);
    expect(loaders.read(disk.path, "a")).toBe("one");
    expect(loaders.read(disk.path, "d")).toBe("four");
    expect(sizeBytes).toBe(15);
  });

  test("40 layers are one disk", async () => {
    await pull(`${registry.address}/many:1`);
    expect(loaders.uses).toBe(1);
    expect(loaders.applied).toBe(40);
  });

  test("at once by two is done once", async () => {
    const name = `${registry.address}/many:1`;
    const [first, second] = await Promise.all([pull(name), pull(name)]);
    expect(loaders.uses).toBe(1);
    for (const lines of [first, second]) expect(statuses(lines).at(-1)).toStartWith("Status: Downloaded newer image");
  });

  test("without a tag, takes every tag", async () => {
    await push("base", "tags:one");
    await push("more", "tags:two");
    await pull(`${registry.address}/tags`);
    for (const tag of ["one", "two"])
      expect((await service.store.resolve(`${registry.address}/tags:${tag}`)).os).toBe("linux");
  });

  test("chooses from a list by platform, and by digest", async () => {
    const manifest = async (name: string) =>
      run("skopeo", "inspect", "--raw", "--tls-verify=false", `docker://${registry.address}/${name}`);
    const digests: { digest: string; size: number; platform: Record<string, string> }[] = [];
    for (const [name, architecture] of [
      ["oci:1", "amd64"],
      ["arm:1", "arm64"],
    ] as const) {
      const layout = name.startsWith("oci") ? "base" : "arm";
      await push(layout, "list:tmp", "--format", "oci");
      const text = await manifest("list:tmp");
      const digest = `sha256:${new Bun.CryptoHasher("sha256").update(text).digest("hex")}`;
      digests.push({ digest, size: text.length, platform: { os: "linux", architecture } });
    }
    const index = JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: digests.map((entry) => ({ mediaType: "application/vnd.oci.image.manifest.v1+json", ...entry })),
    });
    const put = await fetch(`http://${registry.address}/v2/list/manifests/all`, {
      method: "PUT",
      headers: { "Content-Type": "application/vnd.oci.image.index.v1+json" },
      body: index,
    });
    expect(put.status).toBe(201);
    const name = `${registry.address}/list:all`;
    await pull(name);
    expect((await service.store.resolve(name)).architecture).toBe("amd64");
    await pull(name, { platform: "linux/arm64/v8" });
    expect((await service.store.resolve(name)).architecture).toBe("arm64");
    await expect(pull(name, { platform: "linux/s390x" })).rejects.toThrow(
      "no matching manifest for linux/s390x in the manifest list entries",
    );
    const top = put.headers.get("docker-content-digest") ?? "";
    expect((await service.images.inspect(name)).RepoDigests).toEqual([`${registry.address}/list@${top}`]);
    await pull(`${registry.address}/list@${digests[0]?.digest}`);
    expect((await service.images.inspect(`${registry.address}/list@${digests[0]?.digest}`)).Architecture).toBe("amd64");
  });

  test("tells what is wrong in Docker's words", async () => {
    await expect(pull(`${registry.address}/base:nope`)).rejects.toMatchObject({
      kind: "not-found",
      message: `manifest for ${registry.address}/base:nope not found: manifest unknown: manifest unknown`,
    });
    await expect(pull(`${registry.address}/nothing:1`)).rejects.toThrow(/not found|pull access denied/);
    await expect(pull("127.0.0.1:1/base:1")).rejects.toThrow("dial tcp 127.0.0.1:1: connect: connection refused");
    await expect(pull("registry.invalid/base:1")).rejects.toThrow(/registry\.invalid/);
    await expect(pull("Base:1")).rejects.toMatchObject({ kind: "invalid" });
  });

  test("leaves nothing when a layer does not fit, and nothing when it is cancelled", async () => {
    loaders.failure = new LinkError("no-space", "no space left on device");
    await expect(pull(`${registry.address}/base:1`)).rejects.toThrow("set a larger image disk size");
    expect(diskFiles()).toEqual([]);
    loaders.failure = undefined;
    const controller = new AbortController();
    const work = service.images.pull(`${registry.address}/many:1`, {
      signal: controller.signal,
      progress: ({ status }) => {
        if (status === "Pull complete") controller.abort(new Error("client left"));
      },
    });
    await expect(work).rejects.toThrow("client left");
    // The shared work ends after its last caller has left.
    for (let look = 0; look < 600 && diskFiles().length > 0; look++) await Bun.sleep(50);
    expect(diskFiles()).toEqual([]);
    await pull(`${registry.address}/many:1`);
  });

  test("survives a crash between any two writes", async () => {
    for (let crashAt = 0; ; crashAt++) {
      datastore = new MemoryDatastore();
      loaders = new MemoryLoaders(datastore);
      service = await open();
      let changes = 0;
      let dead = false;
      datastore.beforeChange = () => {
        dead ||= changes++ === crashAt;
        if (dead) throw new Error("power cut");
      };
      const crashed = await pull(`${registry.address}/base:1`).then(
        () => false,
        () => true,
      );
      datastore.beforeChange = () => undefined;
      service = await open();
      const listed = await service.images.list({ all: true, digests: false, filters: new Map() });
      for (const { Id } of listed) {
        expect(loaders.read((await service.store.resolve(Id)).disk.path, "b")).toBe("two");
      }
      if (listed.length === 0)
        expect([...datastore.contents.keys()].filter((path) => path.endsWith(".vmdk"))).toEqual([]);
      await pull(`${registry.address}/base:1`);
      expect(loaders.read((await service.store.resolve(`${registry.address}/base:1`)).disk.path, "a")).toBe("one");
      if (!crashed) break;
    }
  });
});

test("a registry with passwords", async () => {
  const locked = await startRegistry("auth: { htpasswd: { realm: test, path: DIRECTORY/htpasswd } }");
  try {
    await run(
      "skopeo",
      "copy",
      "-q",
      "--insecure-policy",
      "--dest-tls-verify=false",
      "--dest-creds",
      "alice:secret",
      `oci:${join(directory, "base")}:latest`,
      `docker://${locked.address}/private:1`,
    );
    const credentials = { username: "alice", password: "secret" };
    await expect(pull(`${locked.address}/private:1`)).rejects.toThrow(
      `pull access denied for ${locked.address}/private, repository does not exist or may require 'docker login'`,
    );
    await pull(`${locked.address}/private:1`, { credentials });
    const serveraddress = locked.address;
    expect(await service.authenticate({ ...credentials, serveraddress })).toEqual({
      Status: "Login Succeeded",
      IdentityToken: "",
    });
    await expect(service.authenticate({ username: "alice", password: "x", serveraddress })).rejects.toMatchObject({
      kind: "unauthorized",
    });
  } finally {
    await locked.stop();
  }
});

describe("load and import", () => {
  const load = async (path: string): Promise<string> => {
    const lines: ProgressMessage[] = [];
    await service.images.load(Bun.file(path).stream(), {
      quiet: false,
      progress: (message) => lines.push(message),
      signal: new AbortController().signal,
    });
    return lines.map(({ stream = "" }) => stream).join("");
  };

  test("docker save archives, as they are and with the manifest last", async () => {
    const archive = join(directory, "saved.tar");
    await run(
      "skopeo",
      "copy",
      "-q",
      "--insecure-policy",
      `oci:${join(directory, "more")}:latest`,
      `docker-archive:${archive}:more:saved`,
    );
    expect(await load(archive)).toBe("Loaded image: more:saved\n");
    expect(loaders.read((await service.store.resolve("more:saved")).disk.path, "d")).toBe("four");
    await run("gzip", "-kf", archive);
    expect(await load(`${archive}.gz`)).toBe("Loaded image: more:saved\n");
    expect([...datastore.contents.keys()].filter((path) => path.includes("incoming"))).toEqual([]);
  });

  test("OCI layouts, with layers too large for memory", async () => {
    const big = "x".repeat(3_000_000) + Math.random();
    const layout = join(directory, "big");
    await makeLayout(layout, [{ big }]);
    rmSync(join(directory, "plain"), { recursive: true, force: true });
    await run(
      "skopeo",
      "copy",
      "-q",
      "--insecure-policy",
      "--dest-decompress",
      `oci:${layout}:latest`,
      `oci:${join(directory, "plain")}:big:1`,
    );
    const archive = join(directory, "oci.tar");
    await run("tar", "-C", join(directory, "plain"), "-cf", archive, ...readdirSync(join(directory, "plain")));
    expect(await load(archive)).toBe("Loaded image: big:1\n");
    expect(loaders.read((await service.store.resolve("big:1")).disk.path, "big")).toBe(big);
  });

  test("an archive whose layer was changed is refused and leaves nothing", async () => {
    const archive = join(directory, "damaged.tar");
    await run(
      "skopeo",
      "copy",
      "-q",
      "--insecure-policy",
      `oci:${join(directory, "base")}:latest`,
      `docker-archive:${archive}:damaged:1`,
    );
    const bytes = readFileSync(archive);
    bytes.write("ONE", bytes.indexOf("one"));
    writeFileSync(archive, bytes);
    await expect(load(archive)).rejects.toThrow("filesystem layer verification failed");
    expect(diskFiles()).toEqual([]);
  });

  test("import makes an image of one layer, with changes", async () => {
    const tree = mkdtempSync(join(directory, "tree-"));
    writeFileSync(join(tree, "hello"), "world");
    for (const [option, suffix] of [
      ["-cf", "tar"],
      ["-czf", "tar.gz"],
    ] as const) {
      const tar = join(directory, `root.${suffix}`);
      await run("tar", "-C", tree, option, tar, ".");
      const lines: ProgressMessage[] = [];
      await service.images.import(Bun.file(tar).stream(), {
        repository: "rooted",
        message: "by hand",
        changes: ['CMD ["sh","-c","x"]', "ENV A=1 B='2 3'", "EXPOSE 80", "LABEL k=v", "WORKDIR /a", "USER 1:2"],
        progress: (message) => lines.push(message),
        signal: new AbortController().signal,
      });
      expect(statuses(lines)[0]).toMatch(/^sha256:[0-9a-f]{64}$/);
    }
    using server = Bun.serve({
      port: 0,
      fetch: ({ url }) =>
        url.endsWith("/root.tar.gz")
          ? new Response(Bun.file(join(directory, "root.tar.gz")))
          : new Response("gone", { status: 404 }),
    });
    const address = `127.0.0.1:${server.port}`;
    const fetched: ProgressMessage[] = [];
    const options = { changes: [], progress: (line: ProgressMessage) => fetched.push(line) };
    const signal = new AbortController().signal;
    await service.images.import({ url: `${address}/root.tar.gz` }, { ...options, repository: "fetched", signal });
    expect(statuses(fetched)[0]).toBe(`Downloading from http://${address}/root.tar.gz`);
    expect((await service.images.inspect("fetched")).RootFS).toEqual((await service.images.inspect("rooted")).RootFS);
    for (const [url, reason] of [
      [`http://${address}/nothing`, "with status 404"],
      ["ftp://somewhere/x.tar", "only http and https"],
    ] as const)
      await expect(service.images.import({ url }, { ...options, signal })).rejects.toThrow(reason);
    const image = await service.images.inspect("rooted");
    expect(image.Config).toMatchObject({
      Cmd: ["sh", "-c", "x"],
      Env: ["A=1", "B=2 3"],
      ExposedPorts: { "80/tcp": {} },
      Labels: { k: "v" },
      WorkingDir: "/a",
      User: "1:2",
    });
    expect(image.Comment).toBe("by hand");
    expect(loaders.read((await service.store.resolve("rooted")).disk.path, "hello")).toBe("world");
    expect(diskFiles().filter((path) => path.endsWith(".vmdk"))).toHaveLength(1); // equal content, one disk
  });
});

describe("images by name", () => {
  test("tag, list, history, remove and prune", async () => {
    const name = `${registry.address}/base:1`;
    await pull(name);
    const { id } = await service.store.resolve(name);
    await service.images.tag(name, "mine", "v1");
    const filters = (entries: Record<string, string[]>) => new Map(Object.entries(entries));
    const list = (entries: Record<string, string[]> = {}) =>
      service.images.list({ all: false, digests: false, filters: filters(entries) });
    expect((await list())[0]?.RepoTags.toSorted()).toEqual([name, "mine:v1"].toSorted());
    expect((await list({ reference: ["mine"] }))[0]?.RepoTags).toEqual(["mine:v1"]);
    expect((await list({ reference: ["mine:v*"] }))[0]?.RepoTags).toEqual(["mine:v1"]);
    expect(await list({ dangling: ["true"] })).toEqual([]);
    expect(await list({ label: ["kind=base"] })).toHaveLength(1);
    expect(await list({ label: ["kind=other"] })).toEqual([]);
    await expect(list({ wrong: ["x"] })).rejects.toThrow("invalid filter 'wrong'");
    expect((await service.store.resolve(id.slice(7, 19))).id).toBe(id);
    await expect(service.store.resolve("nosuch")).rejects.toThrow("No such image: nosuch:latest");
    const history = await service.images.history(name);
    expect(history[0]).toMatchObject({ Id: id, Tags: [name, "mine:v1"].toSorted() });

    expect(await service.images.remove("mine:v1", { force: false, noPrune: false })).toEqual([{ Untagged: "mine:v1" }]);
    containers = [{ id: "c".repeat(64), name: "web", running: false, image: id }];
    await expect(service.images.remove(name, { force: false, noPrune: false })).rejects.toMatchObject({
      kind: "conflict",
      message: `conflict: unable to remove repository reference "${name}" (must force) - container cccccccccccc is using its referenced image ${id.slice(7, 19)}`,
    });
    await service.images.remove(name, { force: true, noPrune: false });
    expect(await list()).toEqual([]);
    expect(diskFiles().some((path) => path.endsWith(".vmdk"))).toBe(true);
    service = await open();
    expect(diskFiles().some((path) => path.endsWith(".vmdk"))).toBe(true);
    containers = [];
    await service.collect();
    expect([...datastore.contents.keys()]).toEqual([`${ROOT}/repositories.json`]);
  });

  test("disks stay while a child stands on them", async () => {
    await pull(`${registry.address}/base:1`);
    await pull(`${registry.address}/more:1`);
    await service.images.remove(`${registry.address}/base:1`, { force: false, noPrune: false });
    const { disk } = await service.store.resolve(`${registry.address}/more:1`);
    expect(loaders.read(disk.path, "a")).toBe("one");
    expect(diskFiles().filter((path) => path.endsWith(".vmdk"))).toHaveLength(2);
    const { ImagesDeleted, SpaceReclaimed } = await service.images.prune(new Map([["dangling", ["false"]]]));
    expect(ImagesDeleted.filter((item) => item.Deleted)).toHaveLength(5);
    expect(SpaceReclaimed).toBe(15);
    expect(diskFiles()).toEqual([]);
  });
});
