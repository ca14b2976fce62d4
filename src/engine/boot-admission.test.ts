import { expect, test } from "bun:test";
import { BootAdmission } from "./boot-admission.ts";
import { BOOTS_AT_ONCE_MINIMUM } from "./limits.ts";

const LONG = 60_000;

test("as many boots as processors at a time, the others in order", async () => {
  const admission = new BootAdmission(4, LONG);
  const entered: number[] = [];
  const leave: (() => void)[] = [];
  const all = Promise.all(
    Array.from({ length: 7 }, async (_, index) => {
      leave[index] = await admission.enter();
      entered.push(index);
    }),
  );
  await Bun.sleep(0);
  expect(entered).toEqual([0, 1, 2, 3]);
  leave[2]?.();
  // Told twice (the report, then the end of the run) counts once.
  leave[2]?.();
  await Bun.sleep(0);
  expect(entered).toEqual([0, 1, 2, 3, 4]);
  leave[0]?.();
  leave[1]?.();
  await all;
  expect(entered).toEqual([0, 1, 2, 3, 4, 5, 6]);
  for (const done of leave) done();
});

test("a small host still boots more than one", async () => {
  const admission = new BootAdmission(1, LONG);
  const turns = await Promise.all(Array.from({ length: BOOTS_AT_ONCE_MINIMUM }, () => admission.enter()));
  for (const leave of turns) leave();
});

test("a guest that never reports gives its turn back", async () => {
  const admission = new BootAdmission(BOOTS_AT_ONCE_MINIMUM, 20);
  for (let index = 0; index < 3 * BOOTS_AT_ONCE_MINIMUM; index++) await admission.enter();
});
