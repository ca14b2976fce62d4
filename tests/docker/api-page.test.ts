import { expect, test } from "bun:test";
import { apiPage, operations, PAGE } from "./api-page.ts";

test("every operation of Docker's API document is answered: it works, or it is refused with a reason", async () => {
  const all = await operations();
  expect(all.length).toBeGreaterThan(100);
  expect(all.filter(({ missing }) => missing).map(({ method, path }) => `${method} ${path}`)).toEqual([]);
  for (const { name, refusal } of all)
    if (refusal !== undefined) expect(`${name}: ${refusal}`.length).toBeGreaterThan(name.length + 12);
});

test("docs/docker-api.md is what the generator makes: bun tests/docker/api-page.ts", async () => {
  expect(await Bun.file(PAGE).text()).toBe(await apiPage());
});
