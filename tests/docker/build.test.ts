/** POST /build and /build/prune at the API: parameters, output at the client's pace, errors. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import net from "node:net";
import { apiDocument } from "../../src/docker/openapi/document.ts";
import { BUILD_FIELDS } from "../../src/engine/build/fields.ts";
import { IMAGE_ID } from "./fake-engine.ts";
import { type ServerFixture, startServer } from "./server-fixture.ts";

let fixture: ServerFixture;
beforeAll(async () => {
  fixture = await startServer();
});
afterAll(async () => {
  await fixture.close();
});

async function build(
  query: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; lines: Record<string, unknown>[] }> {
  const response = await fetch(`http://docker/build?${query}`, {
    method: "POST",
    unix: fixture.socket,
    headers: { "content-type": "application/x-tar", ...headers },
    body: "context",
  });
  const text = await response.text();
  const lines = text.split("\n").filter(Boolean);
  return { status: response.status, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}
const encoded = (value: unknown): string => encodeURIComponent(JSON.stringify(value));

test("every parameter of the API document has its place in the table", async () => {
  const { paths } = await apiDocument();
  const known = new Set(BUILD_FIELDS.map(({ field }) => field));
  for (const [path, section] of [
    ["/build", "Build"],
    ["/build/prune", "BuildPrune"],
  ] as const)
    for (const { name } of paths[path]?.post?.parameters ?? []) expect([...known]).toContain(`${section}.${name}`);
  expect(known.size).toBe(BUILD_FIELDS.length);
});

describe("build", () => {
  test("all lines arrive in order, the last one is the id", async () => {
    const { status, lines } = await build("t=a&t=b:c");
    expect(status).toBe(200);
    expect(lines).toHaveLength(1002);
    expect(lines[1000]).toEqual({ stream: "line 999\n" });
    expect(lines[1001]).toEqual({ aux: { ID: IMAGE_ID } });
    expect(fixture.engine.built.at(-1)).toMatchObject({ bytes: 7, tags: ["a", "b:c"] });
  });

  test("a command that fails is told with its code", async () => {
    const { status, lines } = await build("t=fails");
    expect(status).toBe(200);
    const message = "The command 'false' returned a non-zero code: 42";
    expect(lines.at(-1)).toEqual({ errorDetail: { code: 42, message }, error: message });
  });

  test("what RUN's containers get", async () => {
    const query = `memory=1&cpuquota=5&shmsize=7&networkmode=none&extrahosts=a:1.2.3.4&extrahosts=b:5.6.7.8&securityopt=${encoded(["x"])}&ulimits=${encoded([{ Name: "nofile", Hard: 2, Soft: 1 }])}`;
    expect((await build(query)).status).toBe(200);
    expect(fixture.engine.built.at(-1)?.hostConfig).toEqual({
      Memory: 1,
      CpuQuota: 5,
      ShmSize: 7,
      NetworkMode: "none",
      ExtraHosts: ["a:1.2.3.4", "b:5.6.7.8"],
      SecurityOpt: ["x"],
      Ulimits: [{ Name: "nofile", Hard: 2, Soft: 1 }],
    });
  });

  test.each([
    ["squash=1", 400, "squash is only supported with experimental mode"],
    ["version=2", 501, "docker buildx create --driver docker-container"],
    [`outputs=${encoded([{ Type: "moby" }])}`, 501, "BuildKit"],
    ["session=abc", 501, "BuildKit"],
    ["buildargs=x", 400, "buildargs"],
    [`buildargs=${encoded({ a: 1 })}`, 400, "buildargs"],
    [`labels=${encoded({ a: null })}`, 400, "labels"],
    [`cachefrom=${encoded("a")}`, 400, "cachefrom"],
    [`ulimits=${encoded([{ Name: "nofile" }])}`, 400, "ulimits"],
    ["memory=much", 400, "memory"],
    [`${"t=a&".repeat(101)}`, 400, "more than 100 tags"],
  ])("%s is answered with %i", async (query, status, reason) => {
    const answer = await build(query);
    expect(answer.status).toBe(status);
    expect(answer.lines[0]?.message).toContain(reason);
  });

  test("credentials must be readable", async () => {
    const config = Buffer.from(JSON.stringify({ "r.example": { username: "a", password: "b" } })).toString("base64url");
    expect((await build("", { "x-registry-config": config })).status).toBe(200);
    const bad = Buffer.from("[1]").toString("base64url");
    for (const header of ["%", bad]) expect((await build("", { "x-registry-config": header })).status).toBe(400);
  });

  test("a client that does not read holds the build, one that leaves ends it", async () => {
    const left = Promise.withResolvers<void>();
    let told = 0;
    const before = fixture.engine.builds.build;
    fixture.engine.builds.build = async ({ progress, signal }) => {
      signal.addEventListener("abort", () => left.resolve(), { once: true });
      while (!signal.aborted) {
        await progress({ stream: "x".repeat(10_000) });
        told += 1;
      }
    };
    try {
      const socket = net.connect(fixture.socket);
      socket.pause();
      socket.write("POST /build HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n");
      let last = -1;
      // Buffers on the way fill up, then nothing moves.
      while (told !== last || told === 0) {
        last = told;
        await Bun.sleep(300);
      }
      expect(told).toBeLessThan(5000);
      socket.destroy();
      await left.promise;
    } finally {
      fixture.engine.builds.build = before;
    }
  });
});

describe("prune", () => {
  test("what was removed; sizes are refused", async () => {
    const prune = (query: string): Promise<Response> =>
      fetch(`http://docker/build/prune?${query}`, { method: "POST", unix: fixture.socket });
    expect(await (await prune("")).json()).toEqual({ CachesDeleted: [IMAGE_ID], SpaceReclaimed: 7 });
    for (const name of ["keep-storage", "reserved-space", "max-used-space", "min-free-space"])
      expect((await prune(`${name}=1`)).status, name).toBe(501);
  });
});
