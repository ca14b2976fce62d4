import { afterEach, describe, expect, test } from "bun:test";
import type { ContainerCreateBody, Filters } from "./contract.ts";
import { EngineError } from "./errors.ts";
import { EXEC_HISTORY } from "./limits.ts";
import { type Fixture, openEngine } from "./testing/engine-fixture.ts";
import { FakeVSphere } from "./testing/fake-vsphere.ts";

const NO_FILTERS: Filters = new Map();
const never = new AbortController().signal;

let fixtures: Fixture[] = [];
const open = async (...args: Parameters<typeof openEngine>): Promise<Fixture> => {
  const fixture = await openEngine(...args);
  fixtures.push(fixture);
  return fixture;
};
afterEach(async () => {
  for (const fixture of fixtures) await fixture.close();
  fixtures = [];
});

const body = (command: string[], more: Record<string, unknown> = {}): ContainerCreateBody =>
  ({ Image: "busybox", Cmd: command, ...more }) as unknown as ContainerCreateBody;

const ATTACHED = { AttachStdout: true, AttachStderr: true };

async function collect(output: AsyncIterable<{ bytes: Uint8Array }>): Promise<string> {
  let text = "";
  for await (const { bytes } of output) text += new TextDecoder().decode(bytes);
  return text;
}

async function refusal(promise: Promise<unknown>): Promise<EngineError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe.each([
  ["guestinfo", 0],
  ["link", 0],
  ["both", 0],
  ["guestinfo", 5],
  ["link", 5],
  ["both", 5],
] as const)("reports by %s, inventory %d ms late", (reports, viewLag) => {
  const lagging = (): FakeVSphere => {
    const vsphere = new FakeVSphere();
    vsphere.viewLag = viewLag;
    return vsphere;
  };

  test("docker run --rm: attach before start, all output, exit code, nothing left", async () => {
    const { engine, vsphere } = await open(lagging(), { reports });
    const { Id } = await engine.containers.create(
      "web",
      body(["echo", "hello"], { ...ATTACHED, HostConfig: { AutoRemove: true } }),
    );
    const stream = await engine.containers.attach(Id, {
      stdin: false,
      stdout: true,
      stderr: true,
      stream: true,
      logs: false,
    });
    const output = collect(stream.output);
    const { result } = await engine.containers.wait(Id, "removed", never);
    vsphere.calls.length = 0;
    await engine.containers.start(Id);
    expect(await output).toBe("hello\n");
    expect(await result).toEqual({ StatusCode: 0 });
    expect(await engine.containers.list({ all: true, size: false, filters: NO_FILTERS })).toEqual([]);
    expect([...vsphere.machines]).toEqual([]);
    // The fast path: nothing is reconfigured.
    expect(vsphere.calls).toEqual(["powerOn", "destroyVm"]);
    await Bun.sleep(2 * viewLag);
    // Late news of the destroyed VM do not bring it back.
    expect(await engine.containers.list({ all: true, size: false, filters: NO_FILTERS })).toEqual([]);
  });

  test("exit codes, and state that outlives the engine", async () => {
    const { engine, vsphere, close } = await open(lagging(), { reports });
    const { Id } = await engine.containers.create("job", body(["exit", "42"]));
    const { result } = await engine.containers.wait(Id, "next-exit", never);
    await engine.containers.start(Id);
    expect(await result).toEqual({ StatusCode: 42 });
    await Bun.sleep(50);
    await close();
    fixtures = [];
    const second = await open(vsphere, { reports });
    const inspected = await second.engine.containers.inspect("job", { size: false });
    expect(inspected.State).toMatchObject({ Status: "exited", ExitCode: 42, Running: false });
  });

  test("a missing command fails the start with the text that makes the CLI exit with 127", async () => {
    const { engine } = await open(lagging(), { reports });
    const { Id } = await engine.containers.create("bad", body(["nosuch"]));
    const error = await refusal(engine.containers.start(Id));
    expect(error.kind).toBe("invalid");
    expect(error.message).toContain('exec: "nosuch": executable file not found in $PATH');
    expect((await engine.containers.inspect(Id, { size: false })).State).toMatchObject({
      Status: "created",
      ExitCode: 127,
    });
  });
});

test("the end of a run is told when attached clients have the output, or have left", async () => {
  const { engine } = await open();
  const leave = new AbortController();
  const told: string[] = [];
  const { Id } = await engine.containers.create("slow", body(["echo", "hello"], ATTACHED));
  const attach = () =>
    engine.containers.attach(Id, { stdin: false, stdout: true, stderr: true, stream: true, logs: false });
  const events = (async () => {
    for await (const event of engine.events.subscribe({ filters: NO_FILTERS, signal: leave.signal }))
      if (event.Action === "die") told.push("die");
  })();
  const first = (await attach()).output[Symbol.asyncIterator]();
  const { result } = await engine.containers.wait(Id, "next-exit", never);
  const exit = result.then(() => told.push("exit code"));
  const line = first.next();
  await engine.containers.start(Id);
  expect(new TextDecoder().decode((await line).value?.bytes)).toBe("hello\n");
  await Bun.sleep(50);
  // The client has not asked for what comes after the line, so it has not got it yet.
  expect(told).toEqual([]);
  expect(await first.next()).toMatchObject({ done: true });
  await exit;
  expect(told.toSorted()).toEqual(["die", "exit code"]);

  const abandoned = await attach();
  const again = await engine.containers.wait(Id, "next-exit", never);
  const second = abandoned.output[Symbol.asyncIterator]().next();
  await engine.containers.start(Id);
  await second;
  await Bun.sleep(50);
  expect(told).toHaveLength(2);
  abandoned.detach();
  await again.result;
  leave.abort();
  await events.catch(() => undefined);
  expect(told).toHaveLength(3);
});

test("stdin reaches the process and its end ends it", async () => {
  const { engine } = await open();
  const { Id } = await engine.containers.create(
    undefined,
    body(["cat"], { ...ATTACHED, AttachStdin: true, OpenStdin: true, StdinOnce: true }),
  );
  const stream = await engine.containers.attach(Id, {
    stdin: true,
    stdout: true,
    stderr: true,
    stream: true,
    logs: false,
  });
  const output = collect(stream.output);
  await engine.containers.start(Id);
  await stream.write(new TextEncoder().encode("ping"));
  await stream.endInput();
  expect(await output).toBe("ping");
});

test("of ended execs a container keeps the last ones", async () => {
  const { engine } = await open();
  const { Id } = await engine.containers.create("busy", body(["sleep"]));
  await engine.containers.start(Id);
  const execs: string[] = [];
  for (let count = 0; count < EXEC_HISTORY + 5; count++) {
    const exec = await engine.execs.create(Id, { Cmd: ["ls"], AttachStdout: true });
    const stream = await engine.execs.start(exec.Id, { detach: false, terminal: false });
    await collect(stream?.output ?? fail());
    execs.push(exec.Id);
  }
  const [first = "", last = ""] = [execs[0], execs.at(-1)];
  expect((await refusal(engine.execs.inspect(first))).message).toBe(`No such exec instance: ${first}`);
  expect(await engine.execs.inspect(last)).toMatchObject({ ExitCode: 3 });
  // The one that ended last is counted when the next comes.
  const known = await Promise.all(
    execs.map((id) =>
      engine.execs.inspect(id).then(
        () => 1,
        () => 0,
      ),
    ),
  );
  expect(known.filter((is) => is === 1)).toHaveLength(EXEC_HISTORY + 1);
});

test("stop, kill, start again, logs from memory, exec", async () => {
  const { engine, actions } = await open();
  const { Id } = await engine.containers.create("long", body(["sleep", "1000"]));
  await engine.containers.start(Id);
  expect((await refusal(engine.containers.start(Id))).kind).toBe("not-modified");
  const exec = await engine.execs.create(Id, { Cmd: ["ls"], AttachStdout: true });
  const stream = await engine.execs.start(exec.Id, { detach: false, terminal: false });
  expect(await collect(stream?.output ?? fail())).toBe("from exec\n");
  expect(await engine.execs.inspect(exec.Id)).toMatchObject({ ExitCode: 3, Running: false });
  await engine.containers.stop(Id, { timeoutSeconds: 1 });
  expect((await engine.containers.inspect(Id, { size: false })).State?.ExitCode).toBe(143);
  await engine.containers.start(Id);
  await engine.containers.kill(Id, undefined);
  expect((await engine.containers.inspect(Id, { size: false })).State?.ExitCode).toBe(137);
  await engine.containers.remove(Id, { force: false, volumes: false, link: false });
  expect((await refusal(engine.containers.inspect(Id, { size: false }))).message).toBe(`No such container: ${Id}`);
  expect(actions.filter((action) => action.startsWith("container "))).toEqual(
    [
      "create",
      "start",
      "exec_create: ls",
      "exec_start: ls",
      "exec_die",
      "kill",
      "die",
      "stop",
      "start",
      "kill",
      "die",
      "destroy",
    ].map((action) => `container ${action}`),
  );
});

const fail = (): never => {
  throw new Error("no stream");
};

test("logs after the end need no loader VM when they are short", async () => {
  const { engine, vsphere } = await open();
  const { Id } = await engine.containers.create("talk", body(["echo", "one"]));
  const { result } = await engine.containers.wait(Id, "next-exit", never);
  await engine.containers.start(Id);
  await result;
  const { entries } = await engine.containers.logs(Id, {
    stdout: true,
    stderr: true,
    follow: false,
    tail: -1,
    signal: never,
  });
  expect(await collect(entries)).toBe("one\n");
  expect(vsphere.machines.size).toBe(1);
});

test("an administrator powers the VM off: exited 137", async () => {
  const { engine, vsphere } = await open();
  const { Id } = await engine.containers.create("victim", body(["sleep", "9"]));
  await engine.containers.start(Id);
  const { result } = await engine.containers.wait(Id, "not-running", never);
  const [machine] = vsphere.machines.values();
  if (machine) vsphere.cutPower(machine.reference);
  expect(await result).toEqual({ StatusCode: 137 });
});

test("names: conflicts, renames, prefixes", async () => {
  const { engine, vsphere } = await open();
  const first = await engine.containers.create("one", body(["true"]));
  const error = await refusal(engine.containers.create("one", body(["true"])));
  expect(error.kind).toBe("conflict");
  expect(error.message).toContain(`The container name "/one" is already in use by container "${first.Id}"`);
  await engine.containers.rename("one", "two");
  expect((await engine.containers.inspect(first.Id.slice(0, 6), { size: false })).Name).toBe("/two");
  expect([...vsphere.machines.values()][0]?.record.name).toBe(`two-${first.Id.slice(0, 12)}`);
  await engine.containers.create("one", body(["true"]));
});

test("twenty containers start and go at the same time", async () => {
  const { engine, vsphere } = await open();
  const ids = await Promise.all(
    Array.from(
      { length: 20 },
      async (_, index) => (await engine.containers.create(`c${index}`, body(["sleep", "9"]))).Id,
    ),
  );
  await Promise.all(ids.map((id) => engine.containers.start(id)));
  const listed = await engine.containers.list({ all: false, size: false, filters: NO_FILTERS });
  expect(listed).toHaveLength(20);
  const addresses = listed.map((entry) => entry.NetworkSettings?.Networks?.bridge?.IPAddress);
  expect(new Set(addresses).size).toBe(20);
  await Promise.all(ids.map((id) => engine.containers.remove(id, { force: true, volumes: true, link: false })));
  expect([...vsphere.machines]).toEqual([]);
});

test("a running container is taken up by the next engine", async () => {
  const first = await open();
  const { Id } = await first.engine.containers.create("kept", body(["sleep", "9"]));
  await first.engine.containers.start(Id);
  const { vsphere } = first;
  await first.close();
  fixtures = [];
  const second = await open(vsphere);
  const [listed] = await second.engine.containers.list({ all: false, size: false, filters: NO_FILTERS });
  expect(listed).toMatchObject({ Id, State: "running", Names: ["/kept"] });
});

test("the container limit", async () => {
  const { engine } = await open(undefined, { containerLimit: 1 });
  await engine.containers.create("aa", body(["true"]));
  expect((await refusal(engine.containers.create("bb", body(["true"])))).kind).toBe("forbidden");
});

describe("volumes", () => {
  test("named, anonymous, in use, removed with the container", async () => {
    const { engine } = await open(undefined, { image: { Cmd: ["true"], Volumes: { "/data": {} } } });
    const { Id } = await engine.containers.create(
      "db",
      body(["true"], { HostConfig: { Binds: ["named:/var/lib:ro"] } }),
    );
    const names = (await engine.volumes.list(NO_FILTERS)).map(({ Name }) => Name);
    expect(names).toHaveLength(2);
    expect(names).toContain("named");
    const error = await refusal(engine.volumes.remove("named", { force: false }));
    expect(error.message).toBe(`remove named: volume is in use - [${Id}]`);
    const { Mounts } = await engine.containers.inspect(Id, { size: false });
    expect(Mounts?.map(({ Destination, RW }) => [Destination, RW])).toEqual([
      ["/var/lib", false],
      ["/data", true],
    ]);
    await engine.containers.remove(Id, { force: false, volumes: true, link: false });
    expect((await engine.volumes.list(NO_FILTERS)).map(({ Name }) => Name)).toEqual(["named"]);
  });

  test("two running containers cannot have one volume", async () => {
    const { engine } = await open();
    const create = (name: string) =>
      engine.containers.create(name, body(["sleep", "9"], { HostConfig: { Binds: ["vol:/v"] } }));
    const first = await create("first");
    await engine.containers.start(first.Id);
    const second = await create("second");
    expect(second.Warnings).toHaveLength(1);
    expect((await refusal(engine.containers.start(second.Id))).message).toContain("in use by running container first");
  });

  test("a host path is refused with a reason where none is allowed", async () => {
    const { engine } = await open();
    const error = await refusal(
      engine.containers.create(undefined, body(["true"], { HostConfig: { Binds: ["/etc:/etc"] } })),
    );
    expect(error.kind).toBe("not-implemented");
    expect(error.message).toContain("or use a volume");
  });
});

describe("an engine killed between any two steps leaves nothing that the next one cannot put right", () => {
  class Crash extends Error {}

  /** Steps of the whole story; the engine dies before step `n`. */
  async function crashAt(n: number): Promise<{ crashed: boolean; vsphere: FakeVSphere }> {
    const vsphere = new FakeVSphere();
    const fixture = await open(vsphere, { image: { Cmd: ["true"], Volumes: { "/data": {} } } });
    let step = 0;
    let crashed = false;
    vsphere.before = () => {
      // After its death an engine reaches nothing any more.
      if (crashed || step++ === n) {
        crashed = true;
        throw new Crash("killed");
      }
    };
    try {
      const { Id } = await fixture.engine.containers.create("story", body(["exit", "5"]));
      const { result } = await fixture.engine.containers.wait(Id, "next-exit", never);
      await fixture.engine.containers.start(Id);
      await result;
      await fixture.engine.containers.remove(Id, { force: true, volumes: true, link: false });
    } catch (error) {
      if (!(crashed && error instanceof Error)) throw error;
    }
    await Bun.sleep(5);
    await fixture.close().catch(() => undefined);
    vsphere.before = () => undefined;
    return { crashed, vsphere };
  }

  test("create, start, exit, remove", async () => {
    let steps = 0;
    for (; ; steps++) {
      const { crashed, vsphere } = await crashAt(steps);
      fixtures = [];
      const next = await openEngine(vsphere, { image: { Cmd: ["true"], Volumes: { "/data": {} } } });
      await Bun.sleep(10);
      const listed = await next.engine.containers.list({ all: true, size: false, filters: NO_FILTERS });
      const volumes = await next.engine.volumes.list(NO_FILTERS);
      // Every volume belongs to a container that is there, and every VM to a container.
      expect(volumes.length, `step ${steps}`).toBe(listed.length);
      for (const { Id, State } of listed) {
        expect(["created", "exited", "running"], `step ${steps}`).toContain(State ?? "");
        await next.engine.containers.remove(Id ?? "", { force: true, volumes: true, link: false });
      }
      await next.close();
      expect(
        [...vsphere.machines.values()].map(({ record }) => record.name),
        `step ${steps}`,
      ).toEqual([]);
      expect(
        [...vsphere.content.keys()].filter((path) => /containers|volumes/.test(path)),
        `step ${steps}`,
      ).toEqual([]);
      if (!crashed) break;
    }
    expect(steps).toBeGreaterThan(8);
  }, 60_000);
});
