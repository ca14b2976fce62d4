/** Twenty containers start at once, answer, and vanish at once. */
import { beforeAll, expect, test } from "bun:test";
import { expectConsistent } from "./consistency.ts";
import { BUSYBOX, docker, dockerOk, uniqueName } from "./docker.ts";

const COUNT = 20;
/** Twenty virtual machines boot at once on what may be two emulated cores. */
const ALL_TIMEOUT_MILLISECONDS = 600_000;

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
});

test(`${COUNT} containers start in parallel, answer, and vanish in parallel`, async () => {
  const names = Array.from({ length: COUNT }, () => uniqueName("parallel"));
  const started = await Promise.all(
    names.map((name) =>
      docker(["run", "-d", "-m", "64m", "--name", name, BUSYBOX, "sh", "-c", `echo ${name}; sleep 100000`], {
        timeoutMilliseconds: ALL_TIMEOUT_MILLISECONDS,
      }),
    ),
  );
  expect(started.filter(({ code }) => code !== 0)).toEqual([]);
  const addresses = (await dockerOk("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", ...names)).split(
    "\n",
  );
  expect(new Set(addresses).size).toBe(COUNT);
  for (const name of names) expect(await dockerOk("logs", name)).toBe(name);
  const removed = await Promise.all(
    names.map((name) => docker(["rm", "-f", name], { timeoutMilliseconds: ALL_TIMEOUT_MILLISECONDS })),
  );
  expect(removed.filter(({ code }) => code !== 0)).toEqual([]);
  expect(await dockerOk("ps", "-aq", "--filter", "name=parallel-")).toBe("");
  await expectConsistent("twenty removals at once");
}, 1_200_000);
