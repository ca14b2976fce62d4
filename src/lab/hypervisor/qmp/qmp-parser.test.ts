import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseQmpMessage, QMP_LINE_LIMIT, QmpLines, QmpProtocolError } from "./qmp-parser.ts";

test.each([
  ['{"QMP": {"version": {}, "capabilities": ["oob"]}}', { kind: "greeting" }],
  ['{"return": {"status": "running"}, "id": 3}', { kind: "return", id: 3, value: { status: "running" } }],
  [
    '{"id": 4, "error": {"class": "DeviceNotFound", "desc": "Device \'x\' not found"}}',
    { kind: "error", id: 4, class: "DeviceNotFound", description: "Device 'x' not found" },
  ],
  [
    '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}',
    { kind: "event", name: "SHUTDOWN", data: { guest: true, reason: "guest-shutdown" } },
  ],
  ['{"timestamp": {}, "event": "STOP"}', { kind: "event", name: "STOP", data: {} }],
] as const)("%s", (line, message) => {
  expect(parseQmpMessage(line)).toEqual(message);
});

test.each(["", "{", "1", "[]", "{}", '{"return": 1}'])("%j is a protocol error", (line) => {
  expect(() => parseQmpMessage(line)).toThrow(QmpProtocolError);
});

test("lines come out however the stream is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, unit: "grapheme" })),
      fc.integer({ min: 1, max: 9 }),
      (texts, size) => {
        const sent = texts.map((text) => JSON.stringify(text));
        const bytes = new TextEncoder().encode(sent.map((line) => `${line}\r\n`).join(""));
        const lines = new QmpLines();
        const got: string[] = [];
        for (let at = 0; at < bytes.length; at += size) got.push(...lines.push(bytes.subarray(at, at + size)));
        expect(got).toEqual(sent);
      },
    ),
  );
});

test("a line without end is not collected for ever", () => {
  const lines = new QmpLines();
  const chunk = new Uint8Array(1024 * 1024).fill(0x20);
  expect(() => {
    for (let total = 0; total <= QMP_LINE_LIMIT; total += chunk.length) lines.push(chunk);
  }).toThrow(QmpProtocolError);
});
