import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PAGE, servedMethods, withTables } from "./tables.ts";
import { UNPROVEN } from "./unproven.ts";

test("the tables of docs/vsphere.md are what the code says (bun tests/vsphere/tables.ts writes them)", () => {
  const page = readFileSync(PAGE, "utf8");
  expect(page).toBe(withTables(page));
});

test("the list of served methods is plausible", () => {
  const names = servedMethods();
  for (const name of ["Login", "CreateVM_Task", "PowerOnVM_Task", "WaitForUpdatesEx", "CreateSnapshot_Task"])
    expect(names).toContain(name);
  expect(names).not.toContain("AddDisks_Task");
});

test("every fallback that has a test names one that is there", () => {
  for (const { test: named } of UNPROVEN)
    if (named) expect(readFileSync(join(import.meta.dir, named.file), "utf8")).toContain(`"${named.name}"`);
});
