import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type ContainerDocument, decodeDocument, encodeDocument } from "./containers/document.ts";
import { LogRecordReader } from "./containers/log-records.ts";
import { EventLog } from "./events/event-log.ts";
import { chooseMac, uuidOf, virtualMachineName } from "./identifiers.ts";
import { PathLocks } from "./loader/path-locks.ts";
import { signalNumber } from "./signals.ts";
import { formatTime, humanDuration, parseFilterTime, parseGoDuration, parseTime } from "./time.ts";
import { OperationQueue } from "./waiting.ts";

describe("times", () => {
  test("nanoseconds survive", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 4_000_000_000_000_000_000n), (time) => {
        expect(parseTime(formatTime(time))).toBe(time);
      }),
    );
  });
  test("filters take Unix seconds, durations and dates", () => {
    expect(parseFilterTime("1700000000.5")).toBe(1_700_000_000_500_000_000n);
    expect(parseGoDuration("1h30m")).toBe(5_400_000_000_000n);
    expect(parseFilterTime("2024-01-01T00:00:00Z")).toBe(1_704_067_200_000_000_000n);
    expect(parseFilterTime("yesterday")).toBeUndefined();
  });
  test("words of docker ps", () => {
    expect([500, 1000, 30_000, 60_000, 300_000, 3_600_000, 7_200_000].map(humanDuration)).toEqual([
      "Less than a second",
      "1 second",
      "30 seconds",
      "About a minute",
      "5 minutes",
      "About an hour",
      "2 hours",
    ]);
  });
});

test("signals", () => {
  expect(["KILL", "SIGKILL", "9", "sigterm", "RTMIN+1"].map(signalNumber)).toEqual([9, 9, 9, 15, 35]);
  expect(() => signalNumber("SIGWAT")).toThrow("invalid signal: SIGWAT");
  expect(() => signalNumber("0")).toThrow("invalid signal: 0");
});

describe("identifiers", () => {
  test("VM names hold the whole short id", () => {
    const id = "ab".repeat(32);
    expect(virtualMachineName("web", id)).toBe("web-abababababab");
    expect(virtualMachineName("x".repeat(200), id)).toHaveLength(80);
  });
  test("MAC addresses follow the address, in the range that vSphere lets one assign", () => {
    expect(chooseMac("172.18.3.7", new Set())).toBe("00:50:56:12:03:07");
    expect(chooseMac("172.18.3.7", new Set(["00:50:56:12:03:07"]))).toBe("00:50:56:12:03:08");
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(Number.parseInt(chooseMac(address, new Set()).slice(9, 11), 16)).toBeLessThanOrEqual(0x3f);
      }),
    );
  });
  test("UUIDs are well formed", () => {
    expect(uuidOf("f".repeat(64))).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

test("a document of any size comes back", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 120_000 }), (text) => {
      const document = { version: 1, id: "1", config: { Labels: { text } } } as unknown as ContainerDocument;
      expect(decodeDocument(new Map(Object.entries(encodeDocument(document))))).toEqual(document);
    }),
    { numRuns: 20 },
  );
});

test("log records, cut anywhere", () => {
  const entry = fc.record({
    stream: fc.constantFrom<1 | 2>(1, 2),
    timeNanoseconds: fc.bigInt(0n, 2n ** 63n),
    bytes: fc.uint8Array({ maxLength: 50 }),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 10 }), fc.integer({ min: 1, max: 40 }), (entries, piece) => {
      const encoded = Buffer.concat(
        entries.map(({ stream, timeNanoseconds, bytes }) => {
          const header = Buffer.alloc(13);
          header.writeUInt8(stream, 0);
          header.writeBigUInt64BE(timeNanoseconds, 1);
          header.writeUInt32BE(bytes.length, 9);
          return Buffer.concat([header, bytes]);
        }),
      );
      const reader = new LogRecordReader();
      const read = [];
      for (let at = 0; at < encoded.length; at += piece) read.push(...reader.push(encoded.subarray(at, at + piece)));
      expect(read.map(({ bytes, ...rest }) => ({ ...rest, bytes: [...bytes] }))).toEqual(
        entries.map(({ bytes, ...rest }) => ({ ...rest, bytes: [...bytes] })),
      );
    }),
  );
});

test("a damaged log record ends the reading", () => {
  const record = Buffer.alloc(13);
  record.writeUInt8(1, 0);
  record.writeUInt32BE(0xffffffff, 9);
  expect(() => [...new LogRecordReader().push(record)]).toThrow("damaged log record");
});

test("disk locks: readers share, a writer waits for them and keeps later readers out", async () => {
  const locks = new PathLocks();
  const order: string[] = [];
  const first = await locks.acquire([{ path: "a", shared: true }]);
  const second = await locks.acquire([{ path: "a", shared: true }]);
  const writer = locks.acquire([{ path: "a", shared: false }]).then((release) => {
    order.push("writer");
    return release;
  });
  const reader = locks.acquire([{ path: "a", shared: true }]).then((release) => {
    order.push("reader");
    return release;
  });
  const other = await locks.acquire([{ path: "b", shared: false }]);
  other();
  first();
  await Bun.sleep(0);
  expect(order).toEqual([]);
  second();
  (await writer)();
  (await reader)();
  expect(order).toEqual(["writer", "reader"]);
});

test("an operation queue keeps order, survives failures and is bounded", async () => {
  const queue = new OperationQueue(2, () => new Error("full"));
  const done: number[] = [];
  const first = queue.run(async () => {
    await Bun.sleep(1);
    done.push(1);
    throw new Error("one");
  });
  const second = queue.run(async () => done.push(2));
  await expect(queue.run(async () => 3)).rejects.toThrow("full");
  await expect(first).rejects.toThrow("one");
  await second;
  expect(done).toEqual([1, 2]);
});

test("events are replayed since a time, filtered, and end at until", async () => {
  const log = new EventLog();
  log.publish("container", "create", "abc", { name: "web", image: "nginx:1" });
  log.publish("container", "exec_create: sh", "abc", { name: "web", image: "nginx:1" });
  const { timeNano } = log.publish("volume", "create", "data", { driver: "local" });
  const read = async (filters: Record<string, string[]>): Promise<string[]> => {
    const actions: string[] = [];
    const signal = new AbortController().signal;
    for await (const event of log.subscribe({
      since: 0n,
      until: timeNano,
      filters: new Map(Object.entries(filters)),
      signal,
    }))
      actions.push(event.Action);
    return actions;
  };
  expect(await read({})).toEqual(["create", "exec_create: sh", "create"]);
  expect(await read({ event: ["exec_create"] })).toEqual(["exec_create: sh"]);
  expect(await read({ container: ["web"], event: ["create"] })).toEqual(["create"]);
  expect(await read({ type: ["volume"] })).toEqual(["create"]);
  expect(await read({ image: ["nginx"] })).toEqual(["create", "exec_create: sh"]);
  // What this engine has none of.
  for (const type of ["plugin", "node", "service", "secret", "config"])
    expect(await read({ [type]: ["web"] })).toEqual([]);
});
