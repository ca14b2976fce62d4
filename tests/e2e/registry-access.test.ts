/** Registries that ask who somebody is, by password and by token, and registries without TLS that are listed, and that are not. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Registry, startRegistry } from "../registry/registries.ts";
import { BUSYBOX, docker, dockerOk, type Result, run } from "./docker.ts";
import { startTokenServer, type TokenServer } from "./token-server.ts";

/** Not a loopback address, where registries may always be without TLS. tests/e2e/with-environment lists the first network. */
const INTERFACE = "vche2ereg";
const LISTED = "10.99.8.1";
const UNLISTED = "10.99.9.1";
const PASSWORDS = "auth: { htpasswd: { realm: test, path: DIRECTORY/htpasswd } }";

const scratch = mkdtempSync(join(tmpdir(), "vch-access-"));
let tokens: TokenServer;
let listed: Registry;
let unlisted: Registry;
let byToken: Registry;

/** The CLI with a folder for credentials that starts empty. */
const as = (user: string, ...words: string[]): Promise<Result> =>
  docker(words, { environment: { DOCKER_CONFIG: join(scratch, user) } });

async function fill(registry: Registry, credentials: string): Promise<void> {
  const copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
  const words = [...copy, "--dest-creds", credentials, `docker://${BUSYBOX}`];
  expect(await run([...words, `docker://${registry.address}/private:1`])).toMatchObject({ code: 0 });
}

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await run(["ip", "link", "del", INTERFACE]);
  const addresses = `ip link add ${INTERFACE} type bridge && ip addr add ${LISTED}/32 dev ${INTERFACE} &&
    ip addr add ${UNLISTED}/32 dev ${INTERFACE} && ip link set ${INTERFACE} up`;
  expect(await run(["sh", "-c", addresses])).toMatchObject({ code: 0 });
  tokens = await startTokenServer("bob", "secret");
  writeFileSync(join(scratch, "root.pem"), tokens.certificatePem);
  const auth = `realm: "${tokens.url}", service: tests, issuer: tests, rootcertbundle: ${join(scratch, "root.pem")}`;
  [listed, unlisted, byToken] = await Promise.all([
    startRegistry(PASSWORDS, LISTED),
    startRegistry("", UNLISTED),
    startRegistry(`auth: { token: { ${auth} } }`),
  ]);
  await fill(listed, "alice:secret");
  await fill(byToken, "bob:secret");
});

afterAll(async () => {
  await Promise.all([listed.stop(), unlisted.stop(), byToken.stop()]);
  await tokens.stop();
  await run(["ip", "link", "del", INTERFACE]);
  await docker(["rmi", `${listed.address}/private:1`, `${byToken.address}/private:1`]);
  rmSync(scratch, { recursive: true, force: true });
});

describe.each([
  ["passwords, without TLS as it is listed", () => listed, "alice"],
  ["tokens", () => byToken, "bob"],
] as const)("a registry with %s", (_title, registry, user) => {
  test("refuses strangers and wrong passwords", async () => {
    const name = `${registry().address}/private:1`;
    const refused = await as("nobody", "pull", name);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`pull access denied for ${registry().address}/private`);
    const wrong = await as("nobody", "login", "-u", user, "-p", "wrong", registry().address);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/unauthorized|incorrect username or password/i);
  });

  test("serves whoever has logged in, until they log out", async () => {
    const name = `${registry().address}/private:1`;
    expect((await as(user, "login", "-u", user, "-p", "secret", registry().address)).stdout).toContain(
      "Login Succeeded",
    );
    expect(await as(user, "pull", "-q", name)).toMatchObject({ code: 0, stdout: `${name}\n` });
    expect(await as(user, "push", "-q", name)).toMatchObject({ code: 0 });
    expect(await as(user, "logout", registry().address)).toMatchObject({ code: 0 });
    expect((await as(user, "pull", name)).code).toBe(1);
  });
});

test("a registry without TLS that is not listed is not spoken to", async () => {
  const refused = await docker(["pull", `${unlisted.address}/private:1`]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/https|TLS|SSL/i);
});
