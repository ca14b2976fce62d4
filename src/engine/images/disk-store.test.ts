import { expect, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { writeTar } from "../../format/tar/index.ts";
import { digestOf } from "../../registry/digest.ts";
import { UntilDone } from "../until-done.ts";
import { ByteQueue } from "./byte-queue.ts";
import { Catalog } from "./catalog.ts";
import { EMPTY_LAYER_DIFF_ID } from "./chain.ts";
import { applyChanges } from "./changes.ts";
import { decompress } from "./decompress.ts";
import { DEPTH_LIMIT, DiskStore } from "./disk-store.ts";
import { imageLayout } from "./layout.ts";
import { MemoryDatastore } from "./testing/memory-datastore.ts";
import { MemoryLoaders } from "./testing/memory-loaders.ts";

const NEVER = new AbortController().signal;

async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const layer = (name: string): Promise<Uint8Array> => {
  const bytes = new TextEncoder().encode(name);
  return collect(writeTar([{ header: { name, type: "file", size: bytes.length }, body: [bytes] }]));
};

test("disks never stack deeper than the limit, whatever is pulled one after the other", async () => {
  const files = new MemoryDatastore();
  const loaders = new MemoryLoaders(files);
  const catalog = new Catalog(files, imageLayout("[ds] images"), new UntilDone(() => undefined), () => undefined);
  await catalog.load();
  const store = new DiskStore(catalog, loaders, 1_000_000);
  const layers = await Promise.all(Array.from({ length: 20 }, (_, index) => layer(`f${index}`)));
  for (let count = 1; count <= layers.length; count++) {
    const diffIds = layers.slice(0, count).map((bytes) => digestOf(bytes));
    const open = async function* (index: number) {
      yield layers[index] ?? new Uint8Array();
    };
    const { disk } = await store.ensure(diffIds, { open }, NEVER);
    expect(disk.depth).toBeLessThanOrEqual(DEPTH_LIMIT);
    const { file } = catalog.layout.disk(disk.name);
    for (let index = 0; index < count; index++) expect(loaders.read(file, `f${index}`)).toBe(`f${index}`);
  }
});

test("an empty layer is neither fetched nor applied, and is what its digest says", async () => {
  const files = new MemoryDatastore();
  const loaders = new MemoryLoaders(files);
  const catalog = new Catalog(files, imageLayout("[ds] images"), new UntilDone(() => undefined), () => undefined);
  expect(digestOf(new Uint8Array(1024))).toBe(EMPTY_LAYER_DIFF_ID);
  const open = (): never => {
    throw new Error("fetched");
  };
  await new DiskStore(catalog, loaders, 1000).ensure([EMPTY_LAYER_DIFF_ID, EMPTY_LAYER_DIFF_ID], { open }, NEVER);
  expect(loaders.applied).toBe(0);
  expect(catalog.disks.size).toBe(1);
});

test("compression is told by its bytes, members and frames may follow each other", async () => {
  const text = (bytes: Uint8Array[]): Promise<string> => {
    const source = async function* () {
      for (const part of bytes) for (const byte of part) yield Uint8Array.of(byte);
    };
    return collect(decompress(source(), "it")).then((plain) => new TextDecoder().decode(plain));
  };
  expect(await text([gzipSync("one "), gzipSync("two")])).toBe("one two");
  expect(await text([zstdCompressSync("one "), zstdCompressSync("two")])).toBe("one two");
  expect(await text([new TextEncoder().encode("p")])).toBe("p");
  expect(await text([])).toBe("");
  await expect(text([gzipSync("cut off").subarray(0, 12)])).rejects.toThrow("it is damaged");
  for (const packer of ["xz", "bzip2"]) {
    const packed = Bun.spawnSync([packer, "-c"], { stdin: new TextEncoder().encode("packed") }).stdout;
    expect(await text([packed])).toBe("packed");
    await expect(text([packed.subarray(0, packed.length - 3)])).rejects.toThrow("it is damaged");
  }
  await expect(text([new TextEncoder().encode("LZIP\x01\x01")])).rejects.toThrow("compressed with lzip");
});

test("a byte queue holds its producer back and tells both sides of failure", async () => {
  const queue = new ByteQueue(10);
  await queue.push(new Uint8Array(10));
  let pushed = false;
  const waiting = queue.push(new Uint8Array(1)).then(() => {
    pushed = true;
  });
  await Bun.sleep(1);
  expect(pushed).toBe(false);
  const reader = queue[Symbol.asyncIterator]();
  await reader.next();
  await waiting;
  queue.fail(new Error("broken"));
  await expect(reader.next()).rejects.toThrow("broken");
  await expect(queue.push(new Uint8Array(1))).rejects.toThrow("broken");
});

test("changes of docker import", () => {
  expect(
    applyChanges([
      "HEALTHCHECK --interval=5s --retries=2 CMD curl -f x",
      "ENTRYPOINT top -b",
      "VOLUME /a /b",
      "EXPOSE 1-2/udp",
    ]),
  ).toEqual({
    Healthcheck: { Interval: 5e9, Retries: 2, Test: ["CMD-SHELL", "curl -f x"] },
    Entrypoint: ["/bin/sh", "-c", "top -b"],
    Volumes: { "/a": {}, "/b": {} },
    ExposedPorts: { "1/udp": {}, "2/udp": {} },
  });
  expect(applyChanges(["ENV A=1", "ENV A 2 3"]).Env).toEqual(["A=2 3"]);
  expect(() => applyChanges(["RUN x"])).toThrow("RUN is not a valid change command");
});
