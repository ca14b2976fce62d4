import { beforeAll, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, run, STATE, uniqueName } from "../e2e/docker.ts";

const COUNT = 20;
/** Twenty virtual machines boot at once on what may be two emulated cores. */
const ALL_TIMEOUT_MILLISECONDS = 600_000;

interface Leftovers {
  taps: number;
  machines: number;
  disks: number;
}

async function leftovers(): Promise<Leftovers> {
  const bridge = (
    JSON.parse((await run(["dist/vch", "status", "--json", "--state", STATE])).stdout) as {
      bridge: { interface: string };
    }
  ).bridge.interface;
  const count = async (script: string): Promise<number> =>
    Number((await run(["sh", "-c", `${script} | wc -l`])).stdout);
  return {
    taps: await count(`ls /sys/class/net/${bridge}/brif`),
    machines: await count(`grep -lsz '${STATE}/' /proc/[0-9]*/cmdline | xargs -r grep -lsaz 'qemu-system'`),
    disks: await count(`find ${STATE}/lab/datastore1 -path '*/containers/*' -name '*.vmdk'`),
  };
}

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
});

test(`${COUNT} containers start in parallel, answer, and vanish in parallel`, async () => {
  const before = await leftovers();
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
  const after = await leftovers();
  // A loader VM may have come or gone meanwhile; containers leave nothing.
  expect(after.disks).toBe(before.disks);
  expect(after.taps).toBeLessThanOrEqual(before.taps + 2);
  expect(after.machines).toBeLessThanOrEqual(before.machines + 2);
  expect(await dockerOk("ps", "-aq", "--filter", "name=parallel-")).toBe("");
}, 1_200_000);
