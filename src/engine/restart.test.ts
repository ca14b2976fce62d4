import { afterEach, describe, expect, test } from "bun:test";
import { cpusetSize, machineSize } from "./containers/host-config.ts";
import { isToBeRestarted } from "./containers/restart-policy.ts";
import type { ContainerCreateBody } from "./contract.ts";
import { type Fixture, openEngine } from "./testing/engine-fixture.ts";

let fixtures: Fixture[] = [];
afterEach(async () => {
  for (const fixture of fixtures) await fixture.close();
  fixtures = [];
});
const open = async (...args: Parameters<typeof openEngine>): Promise<Fixture> => {
  const fixture = await openEngine(...args);
  fixtures.push(fixture);
  return fixture;
};

const sleeper = async ({ engine }: Fixture, policy: string): Promise<string> => {
  const HostConfig = { RestartPolicy: { Name: policy, MaximumRetryCount: 0 } };
  const body = { Image: "busybox", Cmd: ["sleep"], HostConfig } as unknown as ContainerCreateBody;
  const { Id } = await engine.containers.create(policy, body);
  await engine.containers.start(Id);
  return Id;
};
const state = async ({ engine }: Fixture, id: string) => {
  const { State, RestartCount } = await engine.containers.inspect(id, { size: false });
  return { status: State?.Status, restarts: RestartCount };
};
/** Until the container has started that many times; fails by the test's own time limit. */
const starts = async ({ actions }: Fixture, count: number): Promise<void> => {
  while (actions.filter((action) => action === "container start").length < count) await Bun.sleep(5);
};
const crash = ({ vsphere }: Fixture): void => {
  for (const { reference } of [...vsphere.machines.values()].map(({ record }) => record)) vsphere.cutPower(reference);
};

describe("restart policies of a VM that went off by itself", () => {
  test.each(["always", "unless-stopped", "on-failure"])("%s starts it again", async (policy) => {
    const fixture = await open();
    const id = await sleeper(fixture, policy);
    crash(fixture);
    await starts(fixture, 2);
    expect(await state(fixture, id)).toEqual({ status: "running", restarts: 1 });
  });

  test("no does not; a stop that was asked for is none", async () => {
    const fixture = await open();
    const id = await sleeper(fixture, "no");
    const stopped = await sleeper(fixture, "always");
    await fixture.engine.containers.stop(stopped, { timeoutSeconds: 1 });
    crash(fixture);
    await Bun.sleep(400);
    expect(await state(fixture, id)).toEqual({ status: "exited", restarts: 0 });
    expect((await state(fixture, stopped)).status).toBe("exited");
  });

  test("when the endpoint comes back: always in any case, unless-stopped unless stopped by a user", async () => {
    const first = await open();
    const always = await sleeper(first, "always");
    const stopped = await sleeper(first, "unless-stopped");
    for (const id of [always, stopped]) await first.engine.containers.stop(id, { timeoutSeconds: 1 });
    const recorded = () =>
      [...first.vsphere.machines.values()].filter(({ record }) => record.extraConfig.has("vch.state")).length;
    while (recorded() < 2) await Bun.sleep(5);
    await first.close();
    fixtures = [];
    const second = await open(first.vsphere);
    while ((await state(second, always)).status !== "running") await Bun.sleep(5);
    expect((await state(second, stopped)).status).toBe("exited");
  });
});

test("the rule", () => {
  const ran = { version: 1, status: "exited", startedAt: "2026-01-01T00:00:00Z", exitCode: 1 } as const;
  const policy = (Name: "always" | "unless-stopped" | "on-failure" | "no", MaximumRetryCount = 0) => ({
    Name,
    MaximumRetryCount,
  });
  expect(isToBeRestarted(policy("always"), undefined)).toBe(false);
  expect(isToBeRestarted(policy("always"), { ...ran, stopped: true })).toBe(true);
  expect(isToBeRestarted(policy("unless-stopped"), { ...ran, stopped: true })).toBe(false);
  expect(isToBeRestarted(policy("on-failure"), { ...ran, exitCode: 0 })).toBe(false);
  expect(isToBeRestarted(policy("on-failure", 3), { ...ran, restartCount: 2 })).toBe(true);
  expect(isToBeRestarted(policy("on-failure", 3), { ...ran, restartCount: 3 })).toBe(false);
  expect(isToBeRestarted(undefined, ran)).toBe(false);
});

describe("--cpuset-cpus", () => {
  test("counts", () => {
    expect(["", "0", "0-3", "1,3", "0-1,1-2"].map((list) => cpusetSize(list, 4))).toEqual([0, 1, 4, 2, 3]);
    expect(() => cpusetSize("0-4", 4)).toThrow("Requested CPUs are not available - requested 0-4, available: 0-3");
    for (const list of ["x", "3-1", "1,,2", "-1"]) expect(() => cpusetSize(list, 4)).toThrow("Invalid value");
  });

  test("bounds the VM's CPUs", () => {
    const size = (config: object) => machineSize(config, { memoryMB: 512, cpus: 1 }, { cpus: 8, cpuMhz: 2000 }).cpus;
    expect(size({ CpusetCpus: "0-2" })).toBe(3);
    expect(size({ CpusetCpus: "0-1", NanoCpus: 4e9 })).toBe(2);
    expect(size({ CpusetCpus: "0-3", NanoCpus: 2e9 })).toBe(2);
  });
});
