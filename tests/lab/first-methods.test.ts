import { expect, test } from "bun:test";
import { servedMethods } from "../vsphere/tables.ts";
import list from "./first-methods.txt" with { type: "text" };

/** Answered by the dispatcher for every object. */
const OF_EVERY_OBJECT = ["Fetch"];

test("the lab serves every method that a container host needs", () => {
  const served = new Set([...servedMethods(), ...OF_EVERY_OBJECT]);
  const wanted = list.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  expect(wanted.length).toBe(125);
  expect(wanted.filter((name) => !served.has(name))).toEqual([]);
});
