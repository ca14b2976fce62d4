import { expect, test } from "bun:test";
import { effectiveBindRoots, parseBindRoots } from "./bind-roots.ts";

test("what --bind-root says", () => {
  expect(parseBindRoots([])).toBeUndefined();
  expect(parseBindRoots(["any"])).toBe("any");
  expect(parseBindRoots(["none"])).toEqual([]);
  expect(parseBindRoots(["/srv/", "/home/../data"])).toEqual(["/srv", "/data"]);
  expect(() => parseBindRoots(["srv"])).toThrow("give an absolute path");
  expect(() => parseBindRoots(["/srv", "any"])).toThrow("alone");
});

test("what holds when it says nothing", () => {
  expect(effectiveBindRoots({ lab: {} })).toBe("any");
  expect(effectiveBindRoots({})).toEqual([]);
  expect(effectiveBindRoots({ lab: {}, bindRoots: [] })).toEqual([]);
  expect(effectiveBindRoots({ bindRoots: ["/srv"] })).toEqual(["/srv"]);
});
