/** Builds with the classic builder, by the docker CLI and by plain requests. */
import { expect } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { docker, type Result } from "./docker.ts";

/** One build may boot several VMs, one after the other. */
const BUILD_TIMEOUT_MILLISECONDS = 240_000;

/** A context on disk, by path and text; removed with `dispose`. */
export async function contextOf(
  files: Record<string, string | Uint8Array>,
): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), "vch-context-"));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), content);
  }
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** `docker build ARGUMENTS CONTEXT` with the classic builder, whatever its exit code. */
export async function build(context: string, ...buildArguments: string[]): Promise<Result> {
  return await docker(["build", ...buildArguments, context], {
    environment: { DOCKER_BUILDKIT: "0" },
    timeoutMilliseconds: BUILD_TIMEOUT_MILLISECONDS,
  });
}

/** Must succeed; answers what was told, without the CLI's remark that the classic builder is old. */
export async function buildOk(context: string, ...buildArguments: string[]): Promise<string> {
  const result = await build(context, ...buildArguments);
  expect(result, `docker build ${buildArguments.join(" ")}`).toMatchObject({ code: 0 });
  return result.stdout;
}

/** A Dockerfile alone, by stdin. */
export async function buildText(dockerfile: string, ...buildArguments: string[]): Promise<Result> {
  return await docker(["build", ...buildArguments, "-"], {
    input: dockerfile,
    environment: { DOCKER_BUILDKIT: "0" },
    timeoutMilliseconds: BUILD_TIMEOUT_MILLISECONDS,
  });
}

/** Output without ids and without what intermediate containers wrote, one line each. */
export const steps = (output: string): string[] =>
  output
    .replaceAll(/\u001b\[\d+m/g, "")
    .split("\n")
    .filter((line) => /^(Step| ---> (Using|Running|Removed|$)|Successfully|#|\[Warning)/.test(line))
    .map((line) => line.replace(/[0-9a-f]{12}$/, "ID"));

/** POST /build without a client between: any body, any parameters. */
export async function postBuild(body: Uint8Array, query = ""): Promise<{ status: number; text: string }> {
  const host = process.env.DOCKER_HOST ?? "";
  if (!host.startsWith("unix://")) throw new Error("these requests go to the proxy's unix socket");
  const response = await fetch(`http://docker/build?${query}`, {
    method: "POST",
    headers: { "content-type": "application/x-tar" },
    body: body as Uint8Array<ArrayBuffer>,
    unix: host.slice("unix://".length),
  });
  return { status: response.status, text: await response.text() };
}
