/** What `vch doctor --target` finds, on every server, and that the operations role is what the driver needs. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { checkTarget, OPERATIONS, OPERATIONS_PRIVILEGES } from "../../src/vsphere/index.ts";
import { Session } from "../../src/vsphere/session.ts";
import { method, methodNames } from "../../src/vsphere/vim25/index.ts";
import { type RunningServer, SERVERS, stateFolder } from "./servers.ts";

const SOURCE = join(import.meta.dir, "../../src/vsphere");

describe.each([...SERVERS])("$name", ({ network, start }) => {
  let server: RunningServer;
  let folder: Awaited<ReturnType<typeof stateFolder>>;
  beforeAll(async () => {
    folder = await stateFolder();
    server = await start(folder.path);
  });
  afterAll(async () => {
    await server.stop();
    await folder.remove();
  });
  const failed = async (change: Partial<RunningServer["target"]>, on: string | undefined = network) =>
    (await checkTarget({ ...server.target, ...change }, on)).filter(({ passed }) => !passed);

  test("all is well for the administrator", async () => {
    const checks = await checkTarget(server.target, network);
    expect(checks.filter(({ passed, id }) => !passed && id !== "datastore")).toEqual([]);
    expect(checks.map(({ id }) => id)).toEqual([
      "connection",
      "inventory",
      "licence",
      "network",
      "datastore",
      "privileges",
    ]);
  });

  test("what is wrong is named with its remedy", async () => {
    expect(await failed({ password: "wrong" })).toMatchObject([
      { id: "connection", fix: expect.stringMatching(/VCH_TARGET_PASSWORD/) },
    ]);
    const [untrusted] = await failed({ fingerprint: undefined });
    const hex = (text = ""): string => text.replaceAll(":", "").toLowerCase();
    expect(hex(untrusted?.fix)).toBe(`--thumbprint ${hex(server.target.fingerprint)}`);
    expect(await failed({ url: "https://127.0.0.1:1/sdk" })).toMatchObject([
      { id: "connection", fix: expect.stringMatching(/address/) },
    ]);
    expect(await failed({ datastore: "nope" })).toMatchObject([
      { id: "inventory", detail: expect.stringMatching(/visible are/) },
    ]);
    expect((await failed({}, "nope")).map(({ id }) => id)).toContain("network");
    const groups = (await checkTarget(server.target, network, [network, "no such group"])).filter(
      ({ id }) => id === "container-network",
    );
    expect(groups.map(({ passed }) => passed)).toEqual([true, false]);
    expect(groups[1]?.detail).toContain('there is no network "no such group"; visible are: ');
    expect((await failed({}, undefined)).map(({ id }) => id)).not.toContain("connection");
  });
});

test("a user without the role is told each missing privilege", async () => {
  const kind = SERVERS.find(({ name }) => name === "lab as vCenter");
  const folder = await stateFolder();
  const server = await kind?.start(folder.path);
  if (!kind || !server) throw new Error("no server");
  try {
    const stranger = { ...server.target, username: "operator@vsphere.local", password: "operate" };
    const problems = (await checkTarget(stranger, kind.network)).filter(({ passed }) => !passed);
    // It sees nothing at all, so it is told of that first.
    expect(problems[0]).toMatchObject({ id: "inventory", passed: false });

    const admin = await Session.open(server.target);
    const { authorizationManager, rootFolder } = admin.content;
    if (!authorizationManager) throw new Error("no authorization manager");
    const readOnly = { principal: stranger.username, group: false, roleId: -2, propagate: true };
    await admin.call("SetEntityPermissions", authorizationManager, { entity: rootFolder, permission: [readOnly] });
    await admin.close();
    const privileges = (await checkTarget(stranger, kind.network)).find(({ id }) => id === "privileges");
    expect(privileges).toMatchObject({ passed: false, fix: expect.stringContaining("vch role") });
    for (const [privilege, scope] of Object.entries(OPERATIONS_PRIVILEGES))
      expect(privileges?.detail).toContain(`${privilege} (${scope})`);
  } finally {
    await server.stop();
    await folder.remove();
  }
});

/** Names of methods in quotes in the driver's source. */
function calledMethods(): Set<string> {
  const known = new Set(methodNames());
  const called = new Set<string>();
  for (const file of readdirSync(SOURCE).filter((name) => name.endsWith(".ts") && name !== "operations.ts"))
    for (const [, name = ""] of readFileSync(join(SOURCE, file), "utf8").matchAll(
      /(?:call|run|exchange)\(\s*"([A-Z][A-Za-z]+(?:_Task)?)"/g,
    ))
      if (known.has(name)) called.add(name);
  return called;
}

test("the table of operations is what the source calls", () => {
  expect(Object.keys(OPERATIONS).sort()).toEqual([...calledMethods()].sort());
});

test("the role holds what methods need by vSphere's own schema, and nothing that no method needs", () => {
  const needed = new Set<string>();
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    const declared = method(name)?.privilege ?? "";
    for (const privilege of operation.privileges) needed.add(privilege);
    // A privilege of "dynamic" depends on the parameters; reading depends on the property.
    if (declared !== "" && !declared.startsWith("System.") && declared !== "dynamic")
      expect({ name, privileges: operation.privileges as readonly string[] }).toEqual({
        name,
        privileges: expect.arrayContaining([declared]),
      });
  }
  for (const privilege of Object.keys(OPERATIONS_PRIVILEGES)) expect([...needed]).toContain(privilege);
});
