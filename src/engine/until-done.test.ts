import { expect, test } from "bun:test";
import { UntilDone } from "./until-done.ts";

test("work that fails is repeated until it succeeds, and whoever needs the thing waits", async () => {
  const logged: string[] = [];
  const untilDone = new UntilDone((message) => logged.push(message), 1);
  let attempts = 0;
  const first = await untilDone.run("disk a", async () => {
    if (++attempts < 4) throw new Error("out of reach");
  });
  expect(first).toBe(false);
  expect(untilDone.isPending("disk a")).toBe(true);
  await untilDone.settled("disk b");
  await untilDone.settled("disk a");
  expect(attempts).toBe(4);
  expect(untilDone.isPending("disk a")).toBe(false);
  expect(logged).toEqual(["disk a: out of reach", "disk a: done at attempt 4"]);
});

test("what succeeds at once is not told; a second piece of work on the same thing waits for the first", async () => {
  const order: string[] = [];
  const untilDone = new UntilDone((message) => order.push(message), 1);
  let failed = false;
  void untilDone.run("disk", async () => {
    order.push("first");
    if (failed) return;
    failed = true;
    throw new Error("once");
  });
  expect(await untilDone.run("disk", async () => void order.push("second"))).toBe(true);
  expect(order).toEqual(["first", "disk: once", "first", "disk: done at attempt 2", "second"]);
});

test("closing ends the attempts", async () => {
  const untilDone = new UntilDone(() => undefined, 60_000);
  await untilDone.run("disk", async () => {
    throw new Error("never");
  });
  await untilDone.close();
  expect(await untilDone.run("other", async () => undefined)).toBe(false);
});
