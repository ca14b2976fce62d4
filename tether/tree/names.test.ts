import { expect, test } from "bun:test";
import fc from "fast-check";
import { baseOf, fromBytes, fromText, nameBytes, normalize, parentOf, toText } from "./names.ts";

test("property: normalized names are plain components, as a walk from the root would find them", () => {
  const part = fc.constantFrom("a", "..b", ".c", "...", "..", ".", "", "é");
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
      const expected: string[] = [];
      for (const each of parts) {
        if (each === "..") expected.pop();
        else if (each !== "" && each !== ".") expected.push(each);
      }
      const result = normalize(parts.join("/"));
      expect(result).toBe(expected.join("/"));
      expect(result === "" ? "" : `${parentOf(result)}/${baseOf(result)}`.replace(/^\//, "")).toBe(result);
    }),
    { numRuns: 2000 },
  );
});

test("property: bytes and text survive", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => expect(nameBytes(fromBytes(bytes))).toEqual(Buffer.from(bytes))));
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => expect(toText(fromText(text))).toBe(text)));
});

test("names longer than Linux takes are refused", () => {
  expect(normalize("a/".repeat(2047)).length).toBe(4093);
  expect(() => normalize("a".repeat(4096))).toThrow("longer than 4095 bytes");
});
