import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run, STATE } from "./docker.ts";

const vch = (...commandArguments: string[]): ReturnType<typeof run> => run(["dist/vch", ...commandArguments]);
const COMMANDS = ["up", "down", "env", "status", "doctor", "serve", "lab", "iso", "ca", "role", "version"];

test("help lists every command, and every command explains itself", async () => {
  const help = await vch("--help");
  expect(help.code).toBe(0);
  for (const command of COMMANDS) {
    expect(help.stdout).toMatch(new RegExp(`^  ${command}\\b`, "m"));
    const own = await vch(command, "--help");
    expect(own.code).toBe(0);
    expect(own.stdout).toStartWith(`Usage: vch ${command}`);
  }
  expect((await vch("iso", "build", "--help")).stdout).toContain("--kernel");
});

test("wrong use ends with exit code 2 and says what is wrong", async () => {
  const unknown = await vch("nosuch");
  expect(unknown.code).toBe(2);
  expect(unknown.stderr).toContain("nosuch");
  expect((await vch("up", "--listen", "here")).code).toBe(2);
});

test("doctor has one line per check and stable JSON", async () => {
  const text = await vch("doctor", "--state", STATE);
  expect(text.code).toBe(0);
  for (const line of text.stdout
    .trimEnd()
    .split("\n")
    .filter((line) => !line.startsWith(" ")))
    expect(line).toMatch(/^(PASS|FAIL) /);
  const checks = JSON.parse((await vch("doctor", "--json", "--state", STATE)).stdout) as {
    checks: { id: string; status: string }[];
  };
  expect(checks.checks.map(({ id }) => id)).toEqual(
    expect.arrayContaining(["qemu", "kvm", "bridge", "disk", "ports", "kernel-package", "docker-cli"]),
  );
});

test("env prints variables; --context makes a context that works", async () => {
  expect((await vch("env", "--state", STATE)).stdout).toContain("export DOCKER_HOST=tcp://127.0.0.1:");
  const home = await mkdtemp(join(tmpdir(), "vch-home-"));
  const environment = { HOME: home, DOCKER_HOST: "", DOCKER_CERT_PATH: "", DOCKER_TLS_VERIFY: "" };
  try {
    expect(
      await run(["dist/vch", "env", "--context", "test-context", "--state", STATE], { environment }),
    ).toMatchObject({ code: 0 });
    const listed = await run(["docker", "--context", "test-context", "ps", "-q"], { environment });
    expect(listed).toMatchObject({ code: 0 });
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});

test("ca issues a client certificate that the endpoint accepts", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vch-client-"));
  try {
    expect(await vch("ca", "client", "alice", "--out", folder, "--state", STATE)).toMatchObject({ code: 0 });
    const endpoint = process.env.VCH_E2E_ENDPOINT ?? process.env.DOCKER_HOST ?? "";
    const environment = { DOCKER_HOST: endpoint, DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: folder };
    expect(await run(["docker", "ps", "-q"], { environment })).toMatchObject({ code: 0 });
    expect((await vch("ca", "show", "--state", STATE)).stdout).toContain("SHA-256");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("the unix socket serves local use", async () => {
  const result = await run(
    ["docker", "-H", `unix://${STATE}/run/docker.sock`, "version", "--format", "{{.Server.Version}}"],
    { environment: { DOCKER_TLS_VERIFY: "", DOCKER_HOST: "", DOCKER_CERT_PATH: "" } },
  );
  expect(result).toMatchObject({ code: 0 });
});
