import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FormatError } from "../format-error";
import {
  endOfTar,
  readTar,
  type TarEntry,
  type TarHeader,
  type TarMember,
  tarHeader,
  tarPadding,
  writeTar,
} from "./index";

async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

/** The bytes in chunks of the given sizes, in turn. */
async function* chunked(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield bytes.slice(at, at + size);
    at += size;
  }
}

async function readAll(bytes: Uint8Array, sizes: readonly number[] = [65_536]) {
  const members: { header: TarHeader; content: Uint8Array; sparse: TarEntry["sparse"] }[] = [];
  for await (const { header, body, sparse } of readTar(chunked(bytes, sizes))) {
    members.push({ header, content: await collect(body), sparse });
  }
  return members;
}

const text = fc
  .string({ unit: "binary", minLength: 1, maxLength: 300 })
  .filter((value) => !value.includes("\0") && value.isWellFormed());
const path = text.filter((value) => !value.endsWith("/"));

const memberArbitrary = fc
  .record({
    name: path,
    type: fc.constantFrom("file", "directory", "symlink", "link", "character", "block", "fifo"),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.oneof(fc.nat(), fc.maxSafeNat()),
    gid: fc.nat(),
    mtime: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 20n }),
    uname: text,
    gname: text,
    linkName: text,
    devMajor: fc.nat(0o7777777),
    devMinor: fc.nat(0o7777777),
    xattrs: fc.dictionary(fc.stringMatching(/^[a-z.]{1,20}$/), fc.uint8Array({ maxLength: 40 }), { maxKeys: 3 }),
    comment: fc.option(text),
    content: fc.uint8Array({ maxLength: 1500 }),
  })
  .map(({ comment, content, xattrs, ...rest }) => {
    const isLink = rest.type === "symlink" || rest.type === "link";
    const isDevice = rest.type === "character" || rest.type === "block";
    const header = {
      ...rest,
      size: rest.type === "file" ? content.length : 0,
      linkName: isLink ? rest.linkName : "",
      devMajor: isDevice ? rest.devMajor : 0,
      devMinor: isDevice ? rest.devMinor : 0,
      pax: new Map(comment === null ? [] : [["comment", comment]]),
      xattrs: new Map(Object.entries(xattrs)),
    } as TarHeader;
    return { header, content: rest.type === "file" ? content : new Uint8Array(0) };
  });

describe("tar", () => {
  test("gives back what was written, whatever the sizes of the chunks", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(memberArbitrary, { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 5 }),
        async (members, sizes) => {
          const archive = await collect(writeTar(members.map(({ header, content }) => ({ header, body: [content] }))));
          const read = await readAll(archive, sizes);
          expect(read.map(({ header }) => header)).toEqual(
            members.map(({ header }) => ({
              ...header,
              name: header.type === "directory" ? `${header.name}/` : header.name,
            })),
          );
          expect(read.map(({ content }) => Buffer.from(content))).toEqual(
            members.map(({ content }) => Buffer.from(content)),
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  test("keeps names that are not UTF-8", async () => {
    const rawName = new Uint8Array([0x64, 0xe9, 0x66]);
    const rawLinkName = Buffer.concat([new Uint8Array(150).fill(0x61), rawName]);
    const archive = Buffer.concat([
      tarHeader({ name: "d?f", rawName, type: "symlink", linkName: "?", rawLinkName }),
      endOfTar,
    ]);
    const [member] = await readAll(archive);
    expect(Buffer.from(member?.header.rawName ?? [])).toEqual(Buffer.from(rawName));
    expect(Buffer.from(member?.header.rawLinkName ?? [])).toEqual(rawLinkName);
  });

  test("skips bodies that were not read, or only in part", async () => {
    const bytes = new Uint8Array(3000).fill(7);
    const members: TarMember[] = ["a", "b", "c"].map((name) => ({
      header: { name, type: "file", size: bytes.length },
      body: [bytes],
    }));
    const names: string[] = [];
    for await (const { header, body } of readTar(chunked(await collect(writeTar(members)), [700]))) {
      names.push(header.name);
      if (header.name === "b") {
        for await (const piece of body) {
          expect(piece[0]).toBe(7);
          break;
        }
      }
    }
    expect(names).toEqual(["a", "b", "c"]);
  });

  test("reads the source to its end, and closes it when left early", async () => {
    const archive = Buffer.concat([tarHeader({ name: "a", type: "fifo" }), endOfTar, new Uint8Array(4096)]);
    let state = "";
    async function* watched(): AsyncGenerator<Uint8Array> {
      try {
        yield* chunked(archive, [512]);
        state += "read to the end;";
      } finally {
        state += "closed;";
      }
    }
    for await (const { header } of readTar(watched())) expect(header.type).toBe("fifo");
    expect(state).toBe("read to the end;closed;");
    state = "";
    for await (const _entry of readTar(watched())) break;
    expect(state).toBe("closed;");
  });

  test("refuses malformed archives", async () => {
    const good = Buffer.concat([
      tarHeader({ name: "a", type: "file", size: 600 }),
      new Uint8Array(600),
      tarPadding(600),
    ]);
    const cases: [string, Uint8Array, RegExp][] = [
      ["not tar", new Uint8Array(1024).fill(65), /not a number|checksum/],
      ["cut in a body", good.subarray(0, 900), /ends early/],
      ["cut in a header", good.subarray(0, 100), /ends early/],
      ["flipped bit", Buffer.from(good).fill(1, 5, 6), /checksum/],
    ];
    for (const [, bytes, message] of cases) {
      await expect(readAll(bytes)).rejects.toThrow(message);
      await expect(readAll(bytes)).rejects.toBeInstanceOf(FormatError);
    }
  });

  test("never fails otherwise than with a FormatError on damaged archives", async () => {
    const base = await collect(
      writeTar([
        { header: { name: "é".repeat(120), type: "file", size: 5, mtime: 5n }, body: [new Uint8Array(5)] },
        { header: { name: "d", type: "directory" } },
      ]),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { maxLength: 8 }), async (damage) => {
        const bytes = base.slice();
        for (const [at, value] of damage) bytes[at] = value;
        try {
          await readAll(bytes, [333]);
        } catch (error) {
          expect(error).toBeInstanceOf(FormatError);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("refuses to write a body of the wrong length", async () => {
    const short: TarMember = { header: { name: "a", type: "file", size: 4 }, body: [new Uint8Array(3)] };
    const long: TarMember = { header: { name: "a", type: "file", size: 4 }, body: [new Uint8Array(5)] };
    await expect(collect(writeTar([short]))).rejects.toThrow("not 4 bytes long");
    await expect(collect(writeTar([long]))).rejects.toThrow("not 4 bytes long");
  });
});
