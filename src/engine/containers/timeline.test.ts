import { expect, test } from "bun:test";
import { RUN_TIMES_KEPT } from "../limits.ts";
import { describeTimeline, RecentRuns, Timeline } from "./timeline.ts";

test("the first time of a step counts", () => {
  const timeline = new Timeline();
  timeline.mark("start", 1000);
  timeline.mark("poweredOn", 1250.4);
  timeline.mark("start", 2000);
  timeline.guestReported({ version: 1, boot: "b", status: "running", phases: { tether: 900, process: 1500 } });
  expect(describeTimeline(timeline)).toBe("ms: start 0, poweredOn 250; guest ms: tether 900, process 1500");
});

test("what a guest says is bounded", () => {
  const timeline = new Timeline();
  const phases: Record<string, unknown> = { "a\nb": 1, tether: "soon", process: -1, linked: 5 };
  timeline.guestReported({ version: 1, boot: "b", status: "running", phases: phases as Record<string, number> });
  expect(timeline.guest).toEqual({ linked: 5 });
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`p${"a".repeat(index % 30)}`, index]));
  timeline.guestReported({ version: 1, boot: "b", status: "running", phases: many });
  expect(Object.keys(timeline.guest).length).toBeLessThanOrEqual(32);
});

test("the oldest runs are forgotten", () => {
  const runs = new RecentRuns();
  for (let index = 0; index <= RUN_TIMES_KEPT; index++)
    runs.add({ id: `${index}`, name: "name", timeline: new Timeline() });
  expect(runs.list()).toHaveLength(RUN_TIMES_KEPT);
  expect(runs.list()[0]?.container).toBe("1");
});
