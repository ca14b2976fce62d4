/** Drives the real docker CLI against the environment that tests/e2e/with-environment started. */
import { expect } from "bun:test";

const state = process.env.VCH_E2E_STATE;
const registryAddress = process.env.VCH_E2E_REGISTRY;
if (state === undefined || registryAddress === undefined)
  throw new Error("These tests need their environment: tests/e2e/with-environment bun test tests/e2e");

export const STATE = state;
/** host:port of the test registry; spoken to without TLS because it is on the loopback. */
export const REGISTRY = registryAddress;
export const image = (name: string): string => `${REGISTRY}/${name}:latest`;
export const BUSYBOX = image("busybox");

/** How long one docker command may take before it counts as hanging. */
const COMMAND_TIMEOUT_MILLISECONDS = 120_000;

export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  input?: string | Uint8Array;
  environment?: Record<string, string>;
  timeoutMilliseconds?: number;
}

/** Runs any command to its end. */
export async function run(command: string[], options: RunOptions = {}): Promise<Result> {
  const child = Bun.spawn(command, {
    stdin: options.input === undefined ? "ignore" : new Blob([options.input as string | Uint8Array<ArrayBuffer>]),
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...options.environment },
    timeout: options.timeoutMilliseconds ?? COMMAND_TIMEOUT_MILLISECONDS,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

/** `docker ARGUMENTS`, whatever its exit code. */
export const docker = (commandArguments: string[], options?: RunOptions): Promise<Result> =>
  run(["docker", ...commandArguments], options);

/** `docker ARGUMENTS` that must succeed; answers stdout without the last line end. */
export async function dockerOk(...commandArguments: string[]): Promise<string> {
  const result = await docker(commandArguments);
  expect(result, `docker ${commandArguments.join(" ")}`).toMatchObject({ code: 0 });
  return result.stdout.replace(/\n$/, "");
}

/** Removes containers by name or id, running or not; absent ones are no error. */
export async function removeContainers(...names: string[]): Promise<void> {
  if (names.length > 0) await docker(["rm", "-f", "-v", ...names]);
}

let names = 0;
/** A container name that no other test uses. */
export const uniqueName = (purpose: string): string => `${purpose}-${process.pid}-${++names}`;

/** One value of `docker inspect`, as JSON. */
export async function inspect<T>(name: string, template = "."): Promise<T> {
  return JSON.parse(await dockerOk("inspect", "--format", `{{json ${template}}}`, name)) as T;
}
