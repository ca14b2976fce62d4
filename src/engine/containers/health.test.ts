import { expect, test } from "bun:test";
import type { Container } from "./container.ts";
import { healthOf } from "./health.ts";

const container = (parts: object, test: string[] | undefined = ["CMD", "true"]): Container =>
  ({ isRunning: true, document: { config: { Healthcheck: { Test: test } } }, ...parts }) as unknown as Container;

test("a container with a health check is starting until its guest says otherwise", () => {
  expect(healthOf(container({}))).toEqual({ status: "starting", failingStreak: 0 });
  const health = { status: "unhealthy", failingStreak: 3 };
  expect(healthOf(container({ guest: { health } }))).toEqual(health as never);
  expect(healthOf(container({ isRunning: false }))).toBeUndefined();
  expect(healthOf(container({ isRunning: false, guest: { health } }))).toEqual(health as never);
});

test("a container without a check has no health", () => {
  for (const check of [[], ["NONE"]]) expect(healthOf(container({}, check))).toBeUndefined();
  expect(healthOf({ ...container({}), document: { config: {} } } as unknown as Container)).toBeUndefined();
});
