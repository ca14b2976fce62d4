import { expect, test } from "bun:test";
import { parseCluster, parseDatastore } from "./lab.ts";

test("a cluster has a name and hosts", () => {
  expect(parseCluster("East=esx1,esx2")).toEqual({ name: "East", hosts: ["esx1", "esx2"] });
  for (const value of ["East", "East=", "=esx1", "East=,"]) expect(() => parseCluster(value)).toThrow("--cluster");
});

test("a datastore has a directory and, when it is not on all, hosts", () => {
  expect(parseDatastore("fast=/srv/fast")).toEqual({ name: "fast", directory: "/srv/fast" });
  expect(parseDatastore("fast=/srv/fast@esx1")).toEqual({ name: "fast", directory: "/srv/fast", hosts: ["esx1"] });
  for (const value of ["fast", "fast=relative", "=/srv"]) expect(() => parseDatastore(value)).toThrow("--datastore");
});
