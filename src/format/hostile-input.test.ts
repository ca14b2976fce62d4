/**
 * A fuzzer for every reader of foreign bytes: good inputs, damaged in the ways that hurt parsers. Each must end with a
 * FormatError or a result, soon, and without taking memory by what the input claims. VCH_FUZZ_RUNS sets how many
 * variants of each are tried, VCH_FUZZ_SEED which ones.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readAr } from "./ar/reader";
import { cpioMember, cpioTrailer, fileType, readCpio } from "./cpio/newc";
import { controlParagraphs, parseControlParagraph } from "./deb/control";
import { parseDependencies } from "./deb/dependency";
import { readDeb } from "./deb/reader";
import { decodeDhcpFrame } from "./dhcp-frame";
import { decodeDhcpReply, encodeDhcpRequest } from "./dhcp-message";
import { addressResponse, parseQuery, responseLifetime } from "./dns-message";
import { elfInterpreter } from "./elf/interpreter";
import { elfSection } from "./elf/section";
import { FormatError } from "./format-error";
import { bytesContent, type IsoDirectory, type IsoNode, isolinuxBoot, planIso, readIso, readIsoFile } from "./iso9660";
import { authenticodeDigest, peSection, readPe } from "./pe";
import { type PublicKeys, readPublicKeys } from "./openpgp/keys";
import { readClearSigned } from "./openpgp/signed-text";
import { readPrimary, readRepomd, readRpm } from "./rpm";
import { buildRpm, makeSigningKey, run } from "./rpm/testing/build-rpm";
import { planSquashfs, SquashfsReader } from "./squashfs";
import { type Compression, decompress } from "./stream/decompress";
import { xzParts } from "./stream/xz-parts";
import { readTar, writeTar } from "./tar";
import { parseDescriptor, VmdkError } from "./vmdk/descriptor";
import { decodeStreamOptimized, encodeStreamOptimized } from "./vmdk/stream-optimized";

const RUNS = Number(process.env.VCH_FUZZ_RUNS ?? 150);
const SEED = Number(process.env.VCH_FUZZ_SEED ?? 20_260_101);
const TEST_TIMEOUT_MS = 120_000;
/** Generous, for slow machines: an input that loops takes for ever. */
const ONE_INPUT_MS = 10_000;
const MAX_PLAIN = 4 * 1024 ** 2;
const MAX_GROWTH = 512 * 1024 ** 2;

let folder = "";
let signer: PublicKeys = [];
const seeds = new Map<string, Uint8Array[]>();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-hostile-"));
  const tree = sampleTree();
  const iso = planIso({ volumeId: "T", time: 0, root: tree });
  seeds.set("iso9660", [await whole(iso.stream())]);
  const squashfs: Uint8Array[] = [];
  for (const compression of ["gzip", "zstd"] as const) {
    const plan = planSquashfs({ root: tree, compression, level: 1, blockSize: 4096, time: 0, base: 96 });
    const rest = await whole(plan.stream());
    squashfs.push(Buffer.concat([plan.superblock(), rest]));
  }
  // One whose tables are not compressed: damage reaches what they say.
  const made = join(folder, "mksquashfs");
  await run(["mksquashfs", join(import.meta.dir, "ar"), made, ...plainSquashfs]);
  seeds.set("squashfs", [...squashfs, await Bun.file(made).bytes()]);
  const member = (name: string, mode: number, text: string) =>
    cpioMember({ name, mode }, new TextEncoder().encode(text), 1);
  const cpio = [member("dir", fileType.directory | 0o755, ""), member("dir/file", fileType.file | 0o644, "text")];
  seeds.set("cpio", [Buffer.concat([...cpio, cpioTrailer()])]);
  const files = join(folder, "files");
  await run([
    "sh",
    "-c",
    `mkdir -p "$1/DEBIAN" "$1/usr" && echo text > "$1/usr/file" && ln -s file "$1/usr/link"`,
    "sh",
    files,
  ]);
  await Bun.write(
    join(files, "DEBIAN/control"),
    "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n",
  );
  const debs: Uint8Array[] = [];
  for (const compression of ["none", "gzip", "xz", "zstd"]) {
    const out = join(folder, `${compression}.deb`);
    await run(["dpkg-deb", "--root-owner-group", `-Z${compression}`, "-b", files, out]);
    debs.push(await Bun.file(out).bytes());
  }
  seeds.set("deb", debs);
  seeds.set("ar", debs.slice(0, 1));
  seeds.set("dhcp", [dhcpReply()]);
  const tar = await whole(
    writeTar(
      (async function* () {
        yield {
          header: { name: `${"long/".repeat(60)}name`, type: "file" as const, size: 4 },
          body: [new TextEncoder().encode("text")],
        };
        yield { header: { name: "link", type: "symlink" as const, linkName: "name" } };
      })(),
    ),
  );
  seeds.set("tar", [tar]);
  await run(["rm", "-rf", join(files, "DEBIAN")]);
  const rpms: Uint8Array[] = [];
  for (const payload of ["w1.gzdio", "w1.zstdio"]) {
    const path = await buildRpm(join(folder, payload), { name: "p", payload, root: files, head: ["Requires: q >= 1"] });
    rpms.push(await Bun.file(path).bytes());
    if (payload === "w1.gzdio") await run(["createrepo_c", "--quiet", "--compress-type=gz", join(folder, payload)]);
  }
  seeds.set("rpm", rpms);
  const metadata = join(folder, "w1.gzdio", "repodata");
  seeds.set("repomd", [await Bun.file(join(metadata, "repomd.xml")).bytes()]);
  const primary = await run(["sh", "-c", `gzip -dc "$1"/*primary.xml.gz`, "sh", metadata]);
  seeds.set("primary", [new TextEncoder().encode(primary)]);
  const home = join(folder, "keys");
  const publicKey = new TextEncoder().encode((await makeSigningKey(home)).publicKey);
  seeds.set("keys", [publicKey]);
  signer = await readPublicKeys(publicKey);
  const release = join(folder, "Release");
  await Bun.write(release, `Suite: s\nSHA256:\n ${"0".repeat(64)} 100 main/binary-amd64/Packages.xz\n- x\n`);
  await run(["gpg", "--batch", "--quiet", "--clearsign", release], { GNUPGHOME: home });
  await run(["gpgconf", "--kill", "all"], { GNUPGHOME: home });
  seeds.set("clear-signed", [await Bun.file(`${release}.asc`).bytes()]);
  const list = `Package: a\nVersion: 1:2-3\nDepends: b (>= 1), c | d (<< 2)\nDescription: x\n more\n\n`;
  seeds.set("packages", [new TextEncoder().encode(list.repeat(20))]);
  const query = Uint8Array.from([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 119, 119, 119, 1, 97, 0, 0, 1, 0, 1]);
  const question = parseQuery(query);
  if (question === undefined) throw new Error("the query is not read");
  seeds.set("dns", [query, addressResponse(query, question, ["192.0.2.1"], 60)]);
  const grains = (async function* () {
    for (let sector = 0; sector < 512; sector += 256) yield { sector, bytes: new Uint8Array(65_536).fill(sector + 1) };
  })();
  const vmdk = await whole(encodeStreamOptimized({ capacitySectors: 512, name: "a.vmdk" }, grains));
  seeds.set("vmdk", [vmdk]);
  seeds.set("vmdk descriptor", [vmdk.slice(512, 2048)]);
  const source = join(folder, "a.c");
  await Bun.write(source, "void start(void) {}\n");
  const object = join(folder, "a.o");
  await run(["clang", "--target=x86_64-linux-gnu", "-c", "-o", object, source]);
  seeds.set("elf", [await Bun.file(object).bytes()]);
  seeds.set("elf program", [await Bun.file("/usr/bin/true").slice(0, 4096).bytes()]);
  const program = join(folder, "a.efi");
  await run([
    "clang",
    "--target=x86_64-unknown-windows",
    "-nostdlib",
    "-fuse-ld=lld",
    "-Wl,-subsystem:efi_application",
    "-Wl,-entry:start",
    "-o",
    program,
    source,
  ]);
  seeds.set("pe", [await Bun.file(program).bytes()]);
  const plain = new TextEncoder().encode("some text that repeats itself, some text that repeats itself\n".repeat(200));
  for (const [kind, command] of [
    ["bzip2", ["bzip2", "-c"]],
    ["gzip", ["gzip", "-c"]],
    ["xz parts", ["xz", "-c", "--block-size=1000"]],
    ["xz", ["xz", "-c"]],
    ["lzma", ["xz", "--format=lzma", "-c"]],
    ["zstd", ["zstd", "-q", "-c"]],
  ] as const) {
    const input = join(folder, "plain");
    await Bun.write(input, plain);
    seeds.set(kind, [Bun.spawnSync([...command, input]).stdout]);
  }
}, TEST_TIMEOUT_MS);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** An ACK with options of every kind, with names that point at each other. */
function dhcpReply(): Uint8Array {
  const message = new Uint8Array(400);
  message.set(encodeDhcpRequest({ type: 1, transaction: 1, seconds: 0, hardwareAddress: "00:50:56:00:00:01" }));
  const options = [
    [53, 1, 5, 54, 4, 10, 0, 0, 1, 51, 4, 0, 0, 2, 88, 52, 1, 1, 1, 4, 255, 255, 0, 0, 3, 4, 10, 0, 0, 1],
    [121, 17, 0, 10, 0, 0, 1, 24, 10, 1, 2, 10, 0, 0, 2, 8, 10, 10, 0],
    [119, 11, 3, 97, 98, 99, 2, 120, 121, 0, 1, 122, 192, 4, 15, 3, 97, 98, 99, 255],
  ].flat();
  message.set(options, 240);
  message[0] = 2;
  return message;
}

const plainSquashfs = ["-comp", "gzip", "-noI", "-noD", "-no-fragments", "-no-xattrs", "-no-progress", "-quiet"];

function sampleTree(): IsoDirectory {
  const directory = (entries: Record<string, IsoNode>): IsoDirectory => ({
    type: "directory",
    mode: 0o755,
    entries: new Map(Object.entries(entries)),
  });
  const file = (text: string): IsoNode => ({ type: "file", mode: 0o644, content: bytesContent(Buffer.from(text)) });
  const isolinux = directory({
    "isolinux.cfg": file("LABEL vch\n  LINUX /isolinux/vmlinuz\n  INITRD /isolinux/initrd\n  APPEND quiet\n"),
    vmlinuz: file("kernel"),
    initrd: file("initrd"),
  });
  const deep = directory({ a: directory({ b: directory({ c: file("c") }) }) });
  const link: IsoNode = { type: "symlink", target: `../${"x".repeat(200)}/${"y".repeat(200)}` };
  return directory({ isolinux, deep, link, large: file("0123456789".repeat(2000)), ["n".repeat(250)]: file("") });
}

async function whole(source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

/** In pieces of odd sizes, as they come from a network. */
async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0, size = 1; at < bytes.length; at += size, size = (size * 7 + 3) % 4099)
    yield bytes.subarray(at, at + size);
}

async function drain(source: AsyncIterable<unknown>): Promise<void> {
  for await (const item of source) {
    const body = (item as { body?: AsyncIterable<Uint8Array> }).body;
    if (body !== undefined) for await (const _ of body);
  }
}

const readers: Record<string, (bytes: Uint8Array) => Promise<unknown>> = {
  iso9660: async (bytes) => {
    const source = new Blob([bytes as Uint8Array<ArrayBuffer>]);
    for await (const entry of readIso(source)) {
      expect(entry.path.split("/")).not.toContain("..");
      if (entry.type === "file") await drain(readIsoFile(source, entry));
    }
    await isolinuxBoot(source);
  },
  squashfs: async (bytes) => {
    const reader = await SquashfsReader.open(new Blob([bytes as Uint8Array<ArrayBuffer>]));
    for await (const entry of reader.entries()) {
      expect(entry.path.split("/")).not.toContain("..");
      if (entry.type === "file") await drain(reader.content(entry));
    }
  },
  dhcp: async (bytes) => {
    for (const name of decodeDhcpReply(bytes).search) expect(name).toMatch(/^[a-z0-9._-]+$/);
    decodeDhcpFrame(bytes);
  },
  cpio: (bytes) => drain(readCpio(pieces(bytes))),
  tar: (bytes) => drain(readTar(pieces(bytes))),
  ar: (bytes) => drain(readAr(pieces(bytes))),
  deb: (bytes) => drain(readDeb(pieces(bytes), () => undefined)),
  rpm: (bytes) => drain(readRpm(pieces(bytes), async () => undefined)),
  keys: (bytes) => readPublicKeys(bytes),
  "clear-signed": (bytes) => readClearSigned(bytes, signer),
  packages: async (bytes) => {
    for await (const paragraph of controlParagraphs(pieces(bytes)))
      parseDependencies(parseControlParagraph(paragraph).get("depends") ?? "");
  },
  dns: async (bytes) => {
    parseQuery(bytes);
    responseLifetime(bytes);
  },
  vmdk: async (bytes) => {
    const disk = await decodeStreamOptimized(pieces(bytes));
    for await (const grain of disk.grains) expect(grain.bytes.length).toBeLessThanOrEqual(65_536);
  },
  "vmdk descriptor": async (bytes) => parseDescriptor(Buffer.from(bytes).toString("latin1")),
  "xz parts": async (bytes) => {
    for await (const part of xzParts(pieces(bytes), 2000)) if (part.kind === "stream") await drain(part.pieces);
  },
  repomd: async (bytes) => readRepomd(bytes),
  primary: (bytes) => readPrimary(pieces(bytes), ["x86_64", "noarch"]),
  elf: async (bytes) => elfSection(bytes, ".text"),
  "elf program": async (bytes) => elfInterpreter(bytes),
  pe: async (bytes) => {
    const { sections } = readPe(bytes);
    for (const { name } of sections) peSection(bytes, name);
    authenticodeDigest(bytes);
  },
  ...Object.fromEntries(
    (["bzip2", "gzip", "xz", "lzma", "zstd"] satisfies Compression[]).map((kind) => [
      kind,
      (bytes: Uint8Array) => drain(decompress(pieces(bytes), kind, MAX_PLAIN)),
    ]),
  ),
};

/** A source of numbers that the seed decides: a counter that is mixed well. */
function numbers(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

const extremes = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff];

/** Where an input's structure lies, with what comes before and after it; the rest is content or padding. */
type Places = (bytes: Uint8Array) => [start: number, end: number][];

const places: Record<string, Places> = {
  // Volume descriptor with the root's record, then the directories, which follow the path tables.
  iso9660: (bytes) => [
    [16 * 2048 + 80, 16 * 2048 + 190],
    [18 * 2048, Math.min(bytes.length, 40 * 2048)],
  ],
  squashfs: (bytes) => [
    [4, 96],
    [Math.max(96, bytes.length - 3000), bytes.length],
  ],
  ar: () => [[8, 68]],
};

const extremeTexts = ["ffffffff", "7fffffff", "00000000", "99999999", "-1", "77777777777", "\0", "../../etc/", "/"];

/** One to four of: other bytes, extreme numbers and texts, pieces cut out, doubled or moved; seldom an early end. */
function damaged(kind: string, good: Uint8Array, next: (limit: number) => number): Uint8Array {
  // A copy: a Buffer's slice would share memory with it.
  let bytes = new Uint8Array(good);
  const ranges = places[kind]?.(good) ?? [];
  const place = (): number => {
    const range = ranges[next(ranges.length + 1)];
    const at = range === undefined ? next(bytes.length) : range[0] + next(range[1] - range[0]);
    return Math.min(at, bytes.length - 1);
  };
  for (let changes = 1 + next(4); changes > 0 && bytes.length > 0; changes--) {
    const at = place();
    switch (next(12)) {
      case 0:
        bytes = bytes.slice(0, next(bytes.length));
        break;
      case 1: {
        const end = Math.min(bytes.length, at + next(600));
        bytes = new Uint8Array(Buffer.concat([bytes.subarray(0, end), bytes.subarray(at, end), bytes.subarray(end)]));
        break;
      }
      case 2:
        bytes.copyWithin(place(), at, Math.min(bytes.length, at + next(64)));
        break;
      case 3:
      case 4: {
        const text = Buffer.from(extremeTexts[next(extremeTexts.length)] ?? "");
        bytes.set(text.subarray(0, bytes.length - at), at);
        break;
      }
      case 5:
      case 6:
      case 7: {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        const value = extremes[next(extremes.length)] ?? 0;
        if (at + 4 <= bytes.length) view.setUint32(at, value, next(2) === 0);
        break;
      }
      case 8:
      case 9:
        bytes[at] = next(256);
        break;
      default:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << next(8));
    }
  }
  if (kind === "tar") repairTar(bytes);
  return bytes;
}

/** Puts right checksums into headers, as an attacker would: what is behind them is reached only so. */
function repairTar(bytes: Uint8Array): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const header = bytes.subarray(at, at + 512);
    if (Buffer.from(header.subarray(257, 262)).toString("latin1") !== "ustar") continue;
    header.fill(0x20, 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  }
}

describe("a damaged input ends with a FormatError or a result, soon, in bounded memory", () => {
  for (const [kind, read] of Object.entries(readers)) {
    test(
      kind,
      async () => {
        const good = seeds.get(kind) ?? [];
        expect(good).not.toBeEmpty();
        // The seed itself must be good, or nothing but the first check would be reached.
        for (const bytes of good) await read(bytes);
        Bun.gc(true);
        const before = process.memoryUsage.rss();
        const next = numbers(SEED);
        const variants = new Set<string>();
        for (let index = 0; index < RUNS; index++) {
          const hurt = damaged(kind, good[index % good.length] ?? new Uint8Array(0), next);
          variants.add(Bun.hash(hurt).toString());
          const begun = performance.now();
          try {
            await read(hurt);
          } catch (error) {
            if (error instanceof FormatError || error instanceof VmdkError) continue;
            await Bun.write(join(tmpdir(), `vch-hostile-${kind}.bin`), hurt);
            throw error;
          } finally {
            expect(performance.now() - begun, `${kind}, variant ${index}`).toBeLessThan(ONE_INPUT_MS);
          }
        }
        expect(process.memoryUsage.rss() - before).toBeLessThan(MAX_GROWTH);
        // That the damage is not always the same one.
        expect(variants.size).toBeGreaterThan(RUNS / 2);
      },
      TEST_TIMEOUT_MS,
    );
  }
});

describe("a decompression bomb is cut off at the limit", () => {
  const zeros = 192 * 1024 ** 2;
  for (const [kind, command] of [
    ["bzip2", "bzip2 -1"],
    ["gzip", "gzip -1"],
    ["xz", "xz -0"],
    ["lzma", "xz --format=lzma -0"],
    ["zstd", "zstd -q -1"],
  ] as const) {
    test(
      kind,
      async () => {
        const bomb = join(folder, `bomb.${kind}`);
        await run(["sh", "-c", `head -c ${zeros} /dev/zero | ${command} > "$1"`, "sh", bomb]);
        Bun.gc(true);
        const before = process.memoryUsage.rss();
        let peak = 0;
        let plain = 0;
        const consume = async () => {
          for await (const chunk of decompress(Bun.file(bomb).stream(), kind, MAX_PLAIN)) {
            plain += chunk.length;
            peak = Math.max(peak, process.memoryUsage.rss() - before);
          }
        };
        expect(consume()).rejects.toThrow(`inflates to more than ${MAX_PLAIN} bytes`);
        await consume().catch(() => undefined);
        expect(plain).toBeLessThanOrEqual(2 * MAX_PLAIN);
        expect(peak).toBeLessThan(zeros / 2);
      },
      TEST_TIMEOUT_MS,
    );
  }
});

describe("inputs that are made to hurt", () => {
  const list = (bytes: Uint8Array) => readers.iso9660?.(bytes);

  test("ISO 9660: a directory that is its own child, and directories that overlap", async () => {
    const iso = seeds.get("iso9660")?.[0] ?? new Uint8Array(0);
    const view = new DataView(iso.buffer, iso.byteOffset);
    const root = view.getUint32(16 * 2048 + 156 + 2, true);
    // The record after those of the directory itself and its parent.
    let at = root * 2048;
    at += iso[at] ?? 0;
    at += iso[at] ?? 0;
    while (((iso[at + 25] ?? 0) & 2) === 0) at += iso[at] ?? 0;
    view.setUint32(at + 2, root, true);
    expect(list(iso)).rejects.toThrow("directories form a loop");
  });

  test("XML: entities, depth, endless attributes and texts", async () => {
    const read = (text: string) => readPrimary(pieces(new TextEncoder().encode(text)), ["x86_64"]);
    const entities = `<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><metadata>&b;</metadata>`;
    expect(read(entities)).rejects.toThrow("declares a document type");
    expect(read("<a>".repeat(100))).rejects.toThrow("nested too deeply");
    expect(read(`<metadata a="${"x".repeat(3_000_000)}"/>`)).rejects.toThrow("too long");
    expect(read(`<metadata><name>${"x".repeat(200_000)}</name></metadata>`)).rejects.toThrow("a text is too long");
    expect(read(`<metadata><!--${"x".repeat(3_000_000)}--></metadata>`)).rejects.toThrow("too long");
  });

  test("cpio: sizes that are larger than the archive", async () => {
    const archive = seeds.get("cpio")?.[0] ?? new Uint8Array(0);
    archive.set(new TextEncoder().encode("ffffffff"), 54);
    expect(readers.cpio?.(archive)).rejects.toBeInstanceOf(FormatError);
    archive.set(new TextEncoder().encode("ffffffff"), 94);
    expect(readers.cpio?.(archive)).rejects.toBeInstanceOf(FormatError);
  });

  test("squashfs: a block that inflates to more than a block", async () => {
    const image = seeds.get("squashfs")?.[1] ?? new Uint8Array(0);
    const bomb = Bun.zstdCompressSync(new Uint8Array(64 * 1024 ** 2), { level: 1 });
    // Put where the content of the first file begins.
    image.set(bomb.subarray(0, image.length - 96), 96);
    await expect(readers.squashfs?.(image)).rejects.toBeInstanceOf(FormatError);
  });
});
