/** Status codes, bodies and version differences, each answer checked against the API document. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { MAXIMUM_API_VERSION, versionText } from "../../src/docker/api-version.ts";
import { type ServerFixture, startServer } from "./server-fixture.ts";
import { ResponseValidator } from "./validate.ts";

let fixture: ServerFixture;
let validator: ResponseValidator;
beforeAll(async () => {
  fixture = await startServer();
  validator = await ResponseValidator.load();
});
afterAll(async () => {
  await fixture.close();
});

interface Answer {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  body: any;
}

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`http://docker${path}`, {
    method,
    unix: fixture.socket,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const json =
    response.headers.get("content-type")?.startsWith("application/json") === true &&
    text.trim().split("\n").length === 1 &&
    text !== "";
  return { status: response.status, headers: response.headers, text, body: json ? JSON.parse(text) : undefined };
}

/** Calls and expects an answer that the API document describes. */
async function conforming(method: string, path: string, status: number, body?: unknown): Promise<Answer> {
  const answer = await call(method, path, body);
  expect({ path, status: answer.status, text: status === answer.status ? "" : answer.text }).toEqual({
    path,
    status,
    text: "",
  });
  expect(validator.problems(method, path, answer.status, answer.body)).toEqual([]);
  return answer;
}

const create = async (name: string, more: object = {}): Promise<string> =>
  (await conforming("POST", `/containers/create?name=${name}`, 201, { Image: "shell", Cmd: ["sleep", "30"], ...more }))
    .body.Id;

describe("answers conform to the API document", () => {
  test("containers", async () => {
    const id = await create("conforming");
    await conforming("GET", "/containers/json?all=1", 200);
    await conforming("GET", `/containers/${id}/json`, 200);
    expect((await call("POST", `/containers/${id}/start`)).status).toBe(204);
    expect((await call("POST", `/containers/${id}/start`)).status).toBe(304);
    await conforming("GET", `/containers/${id}/top`, 200);
    await conforming("POST", `/containers/${id}/pause`, 204);
    await conforming("POST", `/containers/${id}/unpause`, 204);
    await conforming("POST", `/containers/${id}/update`, 200, { Memory: 1e9, RestartPolicy: { Name: "always" } });
    await conforming("GET", `/containers/${id}/changes`, 200);
    await conforming("POST", `/commit?container=${id}&repo=r&tag=t&changes=ENV%20A=b`, 201, {});
    const exec = await conforming("POST", `/containers/${id}/exec`, 201, { Cmd: ["true"] });
    await conforming("GET", `/exec/${exec.body.Id}/json`, 200);
    await conforming("DELETE", `/containers/${id}`, 409);
    expect((await call("POST", `/containers/${id}/kill?signal=KILL`)).status).toBe(204);
    await conforming("POST", `/containers/${id}/wait`, 200);
    expect((await call("DELETE", `/containers/${id}?force=1`)).status).toBe(204);
    await conforming("GET", `/containers/${id}/json`, 404);
    await conforming("POST", "/containers/create", 404, { Image: "missing" });
    await conforming("POST", "/containers/prune", 200);
  });

  test("images, volumes, networks, system", async () => {
    await conforming("GET", "/images/json", 200);
    await conforming("GET", "/images/registry.example/a/b:c/json", 200);
    await conforming("GET", "/images/missing/json", 404);
    await conforming("GET", "/images/a/b/history", 200);
    expect((await call("POST", "/images/a/b/tag?repo=c")).status).toBe(201);
    await conforming("DELETE", "/images/registry.example/a", 200);
    await conforming("POST", "/images/prune", 200);
    await conforming("GET", "/images/search?term=x", 200);
    await conforming("GET", "/images/search", 400);
    await conforming("GET", "/distribution/registry.example/a/b:c/json", 200);
    await conforming("GET", "/distribution/missing/json", 404);
    await conforming("GET", "/images/get?names=missing", 404);
    await conforming("GET", "/images/a/json?platform=x", 400);
    for (const path of ["/images/a/b/get", "/images/get?names=a/b"]) {
      const saved = await call("GET", path);
      expect(saved.headers.get("content-type")).toBe("application/x-tar");
      expect(saved.text).toBe("a/b");
    }
    const pushed = await call("POST", "/images/registry.example/a/push?tag=t");
    expect(pushed.text).toContain('"aux":{"Tag":"t"');
    expect((await call("POST", "/images/missing/push")).text).toContain("does not exist locally with the tag");
    await conforming("POST", "/volumes/create", 201, { Name: "v" });
    await conforming("GET", "/volumes", 200);
    await conforming("GET", "/volumes/v", 200);
    await conforming("GET", "/volumes/w", 404);
    expect((await call("DELETE", "/volumes/v")).status).toBe(204);
    await conforming("POST", "/volumes/prune", 200);
    await conforming("GET", "/networks", 200);
    await conforming("GET", "/networks/bridge", 200);
    await conforming("POST", "/networks/create", 201, { Name: "n" });
    await conforming("POST", "/networks/create", 409, { Name: "bridge" });
    await conforming("POST", "/networks/prune", 200);
    await conforming("GET", "/version", 200);
    await conforming("GET", "/info", 200);
    await conforming("GET", "/system/df", 200);
    await conforming("GET", "/system/df?verbose=1", 200);
    await conforming("POST", "/auth", 200, { username: "ada", password: "secret" });
    await conforming("POST", "/auth", 401, { username: "ada", password: "x" });
  });

  test("families that the engine does not have", async () => {
    for (const path of ["/swarm", "/services", "/nodes", "/tasks", "/secrets", "/configs", "/nodes/x"]) {
      expect((await conforming("GET", path, 503)).body.message).toStartWith("This node is not a swarm manager.");
    }
    expect((await conforming("GET", "/plugins", 200)).body).toEqual([]);
    for (const [method, path] of [
      ["POST", "/session"],
      ["GET", "/images/a/b/attestations"],
      ["POST", "/swarm/init"],
    ] as const) {
      const { status, body } = await call(method, path);
      expect({ path, status }).toEqual({ path, status: 501 });
      expect(body.message).toMatch(/not supported|not kept|not part of this endpoint/);
    }
    expect(await call("GET", "/nonsense")).toMatchObject({ status: 404, body: { message: "page not found" } });
  });
});

describe("versions", () => {
  test("the range is announced and enforced with Docker's words", async () => {
    const ping = await call("GET", "/_ping");
    expect(ping.text).toBe("OK");
    expect(ping.headers.get("api-version")).toBe(versionText(MAXIMUM_API_VERSION));
    expect(ping.headers.get("ostype")).toBe("linux");
    expect(ping.headers.get("server")).toBe("Docker/0.0.1 (linux)");
    expect((await call("GET", "/v1.24/version")).body.MinAPIVersion).toBe("1.24");
    expect((await call("GET", "/v1.23/version")).body.message).toBe(
      "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
    );
    expect((await call("GET", "/v1.99/version")).body.message).toContain("client version 1.99 is too new");
    expect((await call("GET", "/v2.0/version")).status).toBe(400);
  });

  test("shapes follow the version", async () => {
    const id = await create("shapes");
    const address = async (version: string) =>
      (await call("GET", `${version}/containers/${id}/json`)).body.NetworkSettings.IPAddress;
    expect(await address("/v1.51")).toBe("10.9.8.7");
    expect(await address("/v1.52")).toBeUndefined();
    const annotations = async (version: string) =>
      (await call("GET", `${version}/containers/json?all=1`)).body[0].HostConfig.Annotations;
    expect(await annotations("/v1.46")).toEqual({ a: "b" });
    expect(await annotations("/v1.45")).toBeUndefined();
    expect((await call("GET", "/v1.43/images/json")).body[0].VirtualSize).toBe(7);
    expect((await call("GET", "/v1.44/images/json")).body[0].VirtualSize).toBeUndefined();
    expect(Object.keys((await call("GET", "/v1.51/system/df?type=image")).body).sort()).toEqual([
      "BuildCache",
      "Containers",
      "Images",
      "LayersSize",
      "Volumes",
    ]);
    expect(Object.keys((await call("GET", "/v1.53/system/df?type=image")).body)).toEqual(["ImageUsage"]);
    expect((await call("GET", "/v1.53/system/df")).body).toMatchObject({
      ImageUsage: { ActiveCount: 0, TotalCount: 1, Reclaimable: 7, TotalSize: 7 },
      ContainerUsage: { ActiveCount: 0, TotalCount: 1, Reclaimable: 5, TotalSize: 5 },
    });
    const start = await call("POST", `/v1.41/containers/${id}/start`);
    expect(start.status).toBe(204);
    const exec = async (version: string): Promise<string> => {
      const { Id } = (await call("POST", `/containers/${id}/exec`, { Cmd: ["true"], AttachStdout: true })).body;
      const response = await fetch(`http://docker${version}/exec/${Id}/start`, {
        method: "POST",
        unix: fixture.socket,
        headers: { "content-type": "application/json" },
        body: "{}",
      });
      return response.headers.get("content-type") ?? "";
    };
    expect(await exec("/v1.41")).toBe("application/vnd.docker.raw-stream");
    const logs = async (version: string) =>
      (await call("GET", `${version}/containers/${id}/logs?stdout=1`)).headers.get("content-type");
    expect(await logs("/v1.41")).toBe("application/vnd.docker.raw-stream");
    expect(await logs("/v1.42")).toBe("application/vnd.docker.multiplexed-stream");
    await call("DELETE", `/containers/${id}?force=1`);
  });
});

describe("requests that make no sense", () => {
  test("wrong JSON names the field", async () => {
    const message = async (body: unknown, headers = {}) =>
      (await call("POST", "/containers/create", body, headers)).body.message;
    expect(await message("{")).toStartWith("invalid JSON: ");
    expect(await message("")).toContain("EOF");
    expect(await message({ Image: 7 })).toBe('invalid JSON: field "Image" must be a string, not a number');
    expect(await message({ HostConfig: { Memory: "1g" } })).toContain('"HostConfig.Memory" must be an integer');
    expect(await message({ HostConfig: { PortBindings: { "80/tcp": [{ HostPort: 80 }] } } })).toContain(
      '"HostConfig.PortBindings.80/tcp[0].HostPort"',
    );
    expect(await message([])).toContain("must be an object, not a list");
    expect(await message("{}", { "content-type": "text/plain" })).toContain("must be 'application/json'");
  });

  test("field names match without case, a plain string stands for a list, null for absent", async () => {
    const { body } = await call("POST", "/containers/create", {
      image: "shell",
      cmd: "true",
      hostconfig: { binds: null },
    });
    expect(fixture.engine.find(body.Id).body).toEqual({ Image: "shell", Cmd: ["true"], HostConfig: {} } as never);
  });

  test("parameters", async () => {
    for (const path of [
      "/containers/json?filters={",
      "/containers/json?filters=[]",
      '/containers/json?filters={"label":"x"}',
      "/containers/json?limit=x",
      "/events?since=yesterday",
      "/events?since=20&until=10",
      "/containers/x/logs",
      "/containers/x/archive",
      "/system/df?type=moon",
    ]) {
      const { status, body } = await call("GET", path.replace(/[{}"[\]]/g, encodeURIComponent));
      expect({ path, status }).toEqual({ path, status: 400 });
      expect(body.message).toBeString();
    }
    expect((await call("POST", "/containers/x/resize?h=-1&w=3")).status).toBe(400);
    expect((await call("POST", "/containers/x/wait?condition=never")).status).toBe(400);
    expect((await call("POST", "/containers/x/attach?detachKeys=ctrl-!")).body.message).toContain(
      "Invalid detach keys",
    );
    expect((await call("POST", "/volumes/prune?filters=%7B%22moon%22%3A%5B%22x%22%5D%7D")).body.message).toBe(
      "invalid filter 'moon'",
    );
  });

  test("filters in both forms, credentials", async () => {
    const filters = (value: unknown) =>
      call("GET", `/containers/json?filters=${encodeURIComponent(JSON.stringify(value))}`);
    await filters({ label: ["a", "b"] });
    expect(fixture.engine.lastFilters?.get("label")).toEqual(["a", "b"]);
    await filters({ label: { a: true, b: false } });
    expect(fixture.engine.lastFilters?.get("label")).toEqual(["a"]);
    const auth = Buffer.from(JSON.stringify({ username: "ü", password: "p", serveraddress: "r" })).toString(
      "base64url",
    );
    await call("POST", "/images/create?fromImage=a&tag=b", undefined, { "x-registry-auth": auth });
    expect(fixture.engine.pulledWith.at(-1)).toEqual({ username: "ü", password: "p", serveraddress: "r" });
    expect((await call("POST", "/images/create?fromImage=a", undefined, { "x-registry-auth": "%%%" })).status).toBe(
      400,
    );
    expect((await call("GET", `/events?filters=${encodeURIComponent('{"moon":["x"]}')}`)).body.message).toBe(
      "invalid filter 'moon'",
    );
  });
});
