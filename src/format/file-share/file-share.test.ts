import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FormatError } from "../format-error.ts";
import { ATTRIBUTES_LENGTH, decodeAttributes, encodeAttributes, identityOf } from "./attributes.ts";
import { decodeEntries, encodeEntry, entryLength } from "./directory-entries.ts";
import type { Fields } from "./fields.ts";
import { MessageSplitter } from "./framing.ts";
import {
  decodeReply,
  decodeReplyHeader,
  decodeRequest,
  encodeFailure,
  encodeReply,
  encodeRequest,
  MESSAGE_LIMIT,
  OPERATIONS,
  type OperationName,
} from "./messages.ts";

const u32 = fc.nat(0xffff_ffff);
const u64 = fc.bigInt(0n, (1n << 64n) - 1n);
const kinds = {
  u32,
  offset: fc.nat(Number.MAX_SAFE_INTEGER),
  cookie: u64,
  bytes: fc.uint8Array({ maxLength: 300 }),
};
const valuesOf = (fields: Fields) =>
  fc.record(
    Object.fromEntries(Object.entries(fields).map(([name, kind]) => [name, kinds[kind] as fc.Arbitrary<unknown>])),
  );
const plain = (values: object) =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, value instanceof Uint8Array ? Buffer.from(value) : value]),
  );

const operations = Object.keys(OPERATIONS) as OperationName[];
const errorOrNothing = (work: () => unknown): void => {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
  }
};

describe("messages", () => {
  test("operations have numbers of their own", () => {
    expect(new Set(operations.map((name) => OPERATIONS[name].code)).size).toBe(operations.length);
  });

  test.each(operations)("%s: what goes in comes out", (operation) => {
    fc.assert(
      fc.property(u32, fc.nat(255), valuesOf(OPERATIONS[operation].request), (id, share, fields) => {
        const bytes = encodeRequest(id, operation, share, fields as never);
        expect(bytes.readUInt32LE(0)).toBe(bytes.length - 4);
        const decoded = decodeRequest(bytes.subarray(4));
        expect({ ...decoded, fields: plain(decoded.fields) }).toEqual({
          id,
          operation,
          share,
          fields: plain(fields),
        } as never);
      }),
      { numRuns: 30 },
    );
    fc.assert(
      fc.property(u32, valuesOf(OPERATIONS[operation].reply), (id, fields) => {
        const message = encodeReply(id, operation, fields as never).subarray(4);
        expect(decodeReplyHeader(message)).toEqual({ id, errno: 0 });
        expect(plain(decodeReply(operation, message))).toEqual(plain(fields));
      }),
      { numRuns: 30 },
    );
  });

  test("a failure", () => {
    expect(decodeReplyHeader(encodeFailure(7, 13).subarray(4))).toEqual({ id: 7, errno: 13 });
  });

  test("any bytes are a message or an error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        errorOrNothing(() => decodeRequest(Buffer.from(bytes)));
        errorOrNothing(() => decodeEntries(bytes));
        for (const operation of operations) errorOrNothing(() => decodeReply(operation, Buffer.from(bytes)));
      }),
    );
  });

  test("every cut-off request is an error", () => {
    for (const operation of operations) {
      const [fields] = fc.sample(valuesOf(OPERATIONS[operation].request), { numRuns: 1, seed: 7 });
      const message = encodeRequest(1, operation, 0, fields as never).subarray(4);
      for (let length = 0; length < message.length; length++)
        expect(() => decodeRequest(message.subarray(0, length))).toThrow(FormatError);
      expect(() => decodeRequest(Buffer.concat([message, Buffer.of(0)]))).toThrow("too many");
    }
  });

  test("an offset beyond what can be counted", () => {
    const message = encodeRequest(1, "read", 0, { handle: 1, offset: 0, size: 1 }).subarray(4);
    message.writeBigUInt64LE(1n << 60n, 10);
    expect(() => decodeRequest(message)).toThrow("out of range");
  });
});

describe("stream", () => {
  test("messages cut anywhere come out whole", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 8 }),
        fc.integer({ min: 1, max: 9 }),
        (messages, piece) => {
          const stream = Buffer.concat(
            messages.flatMap((message) => {
              const length = Buffer.alloc(4);
              length.writeUInt32LE(message.length);
              return [length, Buffer.from(message)];
            }),
          );
          const splitter = new MessageSplitter(MESSAGE_LIMIT);
          const found: Buffer[] = [];
          for (let at = 0; at < stream.length; at += piece)
            found.push(...splitter.push(stream.subarray(at, at + piece)));
          expect(found).toEqual(messages.map((message) => Buffer.from(message)));
        },
      ),
    );
  });

  test.each([0, MESSAGE_LIMIT + 1, 0xffff_ffff])("a length of %d is refused before anything is kept", (length) => {
    const header = Buffer.alloc(4);
    header.writeUInt32LE(length);
    expect(() => [...new MessageSplitter(MESSAGE_LIMIT).push(header)]).toThrow(FormatError);
  });
});

const attributes = fc.record({
  device: u64,
  inode: u64,
  size: u64,
  blocks: u64,
  accessed: u64,
  modified: u64,
  changed: u64,
  accessedNanoseconds: u32,
  modifiedNanoseconds: u32,
  changedNanoseconds: u32,
  mode: u32,
  links: u32,
  uid: u32,
  gid: u32,
  deviceNumber: u32,
  blockSize: u32,
});

test("attributes: round trip, and what is looked at without it", () => {
  fc.assert(
    fc.property(attributes, (given) => {
      const bytes = encodeAttributes(given);
      expect(bytes.length).toBe(ATTRIBUTES_LENGTH);
      expect(decodeAttributes(bytes)).toEqual(given);
      expect(identityOf(bytes)).toEqual({
        key: `${given.device}:${given.inode}`,
        mode: given.mode,
        links: given.links,
      });
    }),
  );
  expect(() => identityOf(new Uint8Array(95))).toThrow(FormatError);
});

test("directory entries: round trip", () => {
  const entry = fc.record({
    inode: u64,
    next: u64,
    type: fc.nat(15),
    name: fc.uint8Array({ minLength: 1, maxLength: 255 }).map((name) => Buffer.from(name)),
    attributes: fc.option(
      attributes.map((given) => encodeAttributes(given)),
      { nil: undefined },
    ),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 6 }), (entries) => {
      const bytes = Buffer.alloc(entries.reduce((sum, each) => sum + entryLength(each), 0));
      let at = 0;
      for (const each of entries) at = encodeEntry(each, bytes, at);
      expect(decodeEntries(bytes)).toEqual(
        entries.map(({ attributes: given, ...rest }) => (given ? { ...rest, attributes: given } : rest)),
      );
    }),
  );
});
