import { expect, test } from "bun:test";
import { data } from "../model/data.ts";
import { partialChange, wholeChange } from "./difference.ts";
import { followPath, parsePropertyPath } from "./path.ts";

const option = (key: string, value: string) => data("OptionValue", { key, value });
const config = (options: object[]) => data("VirtualMachineConfigInfo", { name: "n", extraConfig: options });

test("paths name properties, fields and elements", () => {
  expect(parsePropertyPath('config.extraConfig["guestinfo.a.b"].value')).toEqual([
    { name: "config" },
    { name: "extraConfig", key: "guestinfo.a.b" },
    { name: "value" },
  ]);
  expect(parsePropertyPath("config.hardware.device[4000]")[2]).toEqual({ name: "device", key: "4000" });
  for (const bad of ["", ".", "a.", ".a", "a..b", "a[", "a[]", 'a["x]', "a b", "a[1]b"]) {
    expect(() => parsePropertyPath(bad)).toThrow("invalid");
  }
});

test("what is unset on the way ends the path", () => {
  const value = config([option("k", "v")]);
  const at = (path: string): unknown => followPath(value, parsePropertyPath(path));
  expect(at('config.extraConfig["k"].value')).toBe("v");
  expect(at('config.extraConfig["other"].value')).toBeUndefined();
  expect(at("config.hardware.device[1].key")).toBeUndefined();
});

test("a whole change is one assignment", () => {
  expect(wholeChange("p", 1, 1)).toEqual([]);
  expect(wholeChange("p", 1, 2)).toEqual([{ name: "p", op: "assign", value: 2 }]);
  expect(wholeChange("p", 1, undefined)).toEqual([{ name: "p", op: "indirectRemove" }]);
});

test("a partial change names the smallest parts", () => {
  const before = config([option("a", "1"), option("b", "2")]);
  const after = config([option("b", "3"), option("c", "4")]);
  expect(partialChange("config", before, after)).toEqual([
    { name: 'config.extraConfig["a"]', op: "remove" },
    { name: 'config.extraConfig["b"].value', op: "assign", value: "3" },
    { name: 'config.extraConfig["c"]', op: "add", value: option("c", "4") },
  ]);
});
