import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, rmSync, symlinkSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { OutputHub } from "./hub.ts";
import { ENTRY_LIMIT, LineSplitter } from "./lines.ts";
import { LogWriter, logFileNumbers, logFilePath } from "./log-file.ts";
import { readRecords, tailRecords } from "./log-reader.ts";
import { type LogRecord, logClock } from "./log-record.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "vch-log-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const LIMITS = { driver: "json-file", maximumSize: 10_000, maximumFiles: 3 } as const;
const record = (text: string, stream = 1, nanoseconds = 1n): LogRecord => ({
  stream,
  nanoseconds,
  bytes: Buffer.from(text),
});
const texts = (records: Iterable<LogRecord>): string[] =>
  [...records].map(({ bytes }) => Buffer.from(bytes).toString());
const ALL = { stdout: true, stderr: true };

describe("lines", () => {
  test("however output is cut, entries are its lines, or pieces of at most 16 KiB, and nothing is lost", () => {
    const line = fc.oneof(fc.string({ maxLength: 50 }), fc.constant("x".repeat(3 * ENTRY_LIMIT + 7)));
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 20_000 })), (lines, cuts) => {
        const text = Buffer.from(lines.join("\n"));
        const splitter = new LineSplitter();
        const entries: Uint8Array[] = [];
        let offset = 0;
        for (const cut of [...cuts, text.length]) {
          entries.push(...splitter.push(text.subarray(offset, offset + cut)));
          offset += cut;
        }
        const rest = splitter.finish();
        if (rest !== undefined) entries.push(rest);
        expect(Buffer.concat(entries).equals(text)).toBe(true);
        for (const entry of entries) {
          expect(entry.length).toBeLessThanOrEqual(ENTRY_LIMIT);
          expect(entry.indexOf(10) === -1 || entry.indexOf(10) === entry.length - 1).toBe(true);
        }
      }),
    );
  });
});

describe("log files", () => {
  test("rotation keeps the newest files below their size, across restarts of the writer", () => {
    let expected: string[] = [];
    for (let run = 0; run < 4; run++) {
      const writer = new LogWriter(directory, LIMITS);
      for (let i = 0; i < 50; i++) {
        const text = `run ${run} line ${i} ${"x".repeat(200)}\n`;
        expected.push(text);
        writer.append([record(text)]);
      }
      writer.close();
    }
    expect(logFileNumbers(directory).length).toBe(3);
    for (const number of logFileNumbers(directory)) {
      expect(Bun.file(logFilePath(directory, number)).size).toBeLessThanOrEqual(LIMITS.maximumSize);
    }
    const kept = texts(readRecords(directory));
    expected = expected.slice(-kept.length);
    expect(kept).toEqual(expected);
    expect(kept.length).toBeGreaterThan(80);
  });

  test("a record cut off by a power failure, or damage, ends its file without an error", () => {
    const writer = new LogWriter(directory, LIMITS);
    writer.append([record("whole\n"), record("cut off\n")]);
    writer.close();
    const file = logFilePath(directory, 0);
    truncateSync(file, Bun.file(file).size - 3);
    expect(texts(readRecords(directory))).toEqual(["whole\n"]);
    const repaired = new LogWriter(directory, LIMITS, { repair: true });
    repaired.append([record("next run\n")]);
    repaired.close();
    appendFileSync(file, Buffer.alloc(100, 0xff));
    expect(texts(readRecords(directory))).toEqual(["whole\n", "next run\n"]);
    expect([...readRecords(`${directory}/missing`)]).toEqual([]);
  });

  test("tail counts lines, not pieces; since, until and streams choose", () => {
    const writer = new LogWriter(directory, { ...LIMITS, maximumSize: 0 });
    const piece = "p".repeat(ENTRY_LIMIT);
    const entries = [record("one\n", 1, 10n), record("two\n", 2, 20n), record(piece, 1, 30n), record("end\n", 1, 40n)];
    writer.append([...entries, record("open", 2, 50n)]);
    const end = writer.position;
    const tail = (count: number, query = {}): string[] =>
      texts(tailRecords(directory, count, { ...ALL, ...query }, end));
    expect(tail(-1)).toEqual(["one\n", "two\n", piece, "end\n", "open"]);
    expect(tail(0)).toEqual([]);
    expect(tail(2)).toEqual([piece, "end\n", "open"]);
    expect(tail(1, { stderr: false })).toEqual([piece, "end\n"]);
    expect(tail(-1, { since: 20n, until: 40n })).toEqual(["two\n", piece, "end\n"]);
    writer.append([record("later\n", 1, 60n)]);
    expect(tail(-1)).not.toContain("later\n");
    writer.close();
  });

  test("the clock never stands still", () => {
    const now = logClock();
    const times = Array.from({ length: 1000 }, now);
    for (let i = 1; i < times.length; i++) expect(Number((times[i] ?? 0n) - (times[i - 1] ?? 0n))).toBeGreaterThan(0);
  });
});

describe("output hub", () => {
  const hubOf = (): OutputHub => new OutputHub(new LogWriter(directory, LIMITS));
  const collector = () => {
    const got: string[] = [];
    return {
      got,
      deliver: async (stream: number, bytes: Uint8Array) => void got.push(`${stream}:${Buffer.from(bytes)}`),
    };
  };

  test("who attaches late with fromStart gets this run's output, an unfinished line included, and then the rest", async () => {
    const hub = hubOf();
    await hub.deliver(1, Buffer.from("old run\n"));
    hub.endRun();
    hub.beginRun();
    await hub.deliver(1, Buffer.from("line\nprompt> "));
    const late = collector();
    hub.subscribe(late, true);
    await hub.deliver(1, Buffer.from("typed\n"));
    await hub.drained();
    expect(late.got.join("|")).toBe("1:line\n|1:prompt> |1:typed\n");
    const live = collector();
    hub.subscribe(live, false);
    await hub.deliver(2, Buffer.from("err"));
    hub.endRun();
    expect(live.got).toEqual(["2:err"]);
    expect(texts(readRecords(directory))).toEqual(["old run\n", "line\n", "prompt> typed\n", "err"]);
  });

  test("a slow subscriber holds the output up; one that fails does not", async () => {
    const hub = hubOf();
    const gate = Promise.withResolvers<void>();
    const leave = hub.subscribe({ deliver: () => gate.promise }, false);
    hub.subscribe({ deliver: () => Promise.reject(new Error("gone")) }, false);
    let delivered = false;
    const delivery = hub.deliver(1, Buffer.from("x\n")).then(() => {
      delivered = true;
    });
    await Bun.sleep(10);
    expect(delivered).toBe(false);
    gate.resolve();
    await delivery;
    leave();
    await hub.deliver(1, Buffer.from("y\n"));
    await hub.drained();
  });

  test("a full disk costs the log, not the container", async () => {
    symlinkSync("/dev/full", logFilePath(directory, 0));
    const hub = hubOf();
    const watcher = collector();
    hub.subscribe(watcher, false);
    await hub.deliver(1, Buffer.from("still here\n"));
    expect(watcher.got).toEqual(["1:still here\n"]);
  });
});
