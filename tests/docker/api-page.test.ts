import { expect, test } from "bun:test";
import { join } from "node:path";
import { apiPage, operations, PAGE, testsOf } from "./api-page.ts";
import { OPERATION_TESTS } from "./operation-tests.ts";

test("every operation of Docker's API document is answered: it works, or it is refused with a reason", async () => {
  const all = await operations();
  expect(all.length).toBeGreaterThan(100);
  expect(all.filter(({ missing }) => missing).map(({ method, path }) => `${method} ${path}`)).toEqual([]);
  for (const { name, refusal } of all)
    if (refusal !== undefined) expect(`${name}: ${refusal}`.length).toBeGreaterThan(name.length + 12);
});

test("every operation that works has tests that show it, and these exist", async () => {
  const all = await operations();
  for (const operation of all) {
    const shown = testsOf(operation);
    expect(shown.length, operation.name).toBeGreaterThan(0);
    for (const name of shown) {
      const [, path = "", title = ""] = /^([\w/-]+): (.*)$/.exec(name) ?? [];
      const source = await Bun.file(join(import.meta.dir, `../${path}.test.ts`)).text();
      expect(source.includes(JSON.stringify(title)), name).toBe(true);
    }
  }
  // No word of an operation that is none, or that does not work.
  const working = all.filter(({ refusal }) => refusal === undefined).map(({ name }) => name);
  expect(Object.keys(OPERATION_TESTS).sort()).toEqual(working.sort());
  // 100 is the aim; see the head of the page for what counts.
  expect(working.length + all.filter(({ absentFamily }) => absentFamily).length).toBeGreaterThanOrEqual(100);
});

test("docs/docker-api.md is what the generator makes: bun tests/docker/api-page.ts", async () => {
  expect(await Bun.file(PAGE).text()).toBe(await apiPage());
});
