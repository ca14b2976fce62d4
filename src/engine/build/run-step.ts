/** RUN: a container VM of the stage's image runs the command, and what it changed becomes the next image. */
import { attachContainer } from "../containers/attach.ts";
import { withChangesAsLayer } from "../containers/commit.ts";
import type { Container } from "../containers/container.ts";
import { createContainer } from "../containers/create.ts";
import { documentChunks, encodeDocument } from "../containers/document.ts";
import { removeContainer } from "../containers/remove.ts";
import { startContainer } from "../containers/start.ts";
import { writeEntries } from "../containers/stored-entries.ts";
import { waitContainer } from "../containers/wait.ts";
import type { EngineContext } from "../context.ts";
import type { BuildOptions, ContainerCreateBody, HostConfig } from "../contract.ts";
import { CommandFailed } from "../errors.ts";
import { shortId } from "../identifiers.ts";
import { aborted } from "../waiting.ts";
import type { BuildOutput } from "./output.ts";

export interface RunRequest {
  imageId: string;
  commandLine: readonly string[];
  /** Build arguments. */
  environment: readonly string[];
  /** RUN --network. */
  network: string | undefined;
}

/** Calls `commit` with the layer of a command that ended well. Rejects with CommandFailed otherwise. */
export async function runCommand(
  context: EngineContext,
  options: BuildOptions,
  output: BuildOutput,
  request: RunRequest,
  commit: (layer: AsyncIterable<Uint8Array>) => Promise<string>,
): Promise<string> {
  options.signal.throwIfAborted();
  const container = await makeContainer(context, options, request);
  let outcome: "committed" | "failed" | "cancelled" = "failed";
  try {
    await output.arrow(`Running in ${shortId(container.id)}`);
    const code = await execute(context, container, output, options.signal);
    if (code !== 0)
      throw new CommandFailed(code, `The command '${request.commandLine.join(" ")}' returned a non-zero code: ${code}`);
    const id = await withChangesAsLayer(context, container, commit);
    outcome = "committed";
    return id;
  } catch (error) {
    if (options.signal.aborted) outcome = "cancelled";
    throw error;
  } finally {
    const remove =
      outcome === "cancelled" || options.forceRemove || (outcome === "committed" && options.removeIntermediate);
    await (remove ? removeIntermediate(context, container, output) : keep(context, container));
  }
}

/** The outcome of the command counts, not that of tidying up: the next start tries again. */
async function removeIntermediate(context: EngineContext, container: Container, output: BuildOutput): Promise<void> {
  const id = shortId(container.id);
  try {
    await removeContainer(context, container, { force: true, volumes: true });
  } catch (error) {
    const reason = messageOf(error);
    context.log(`container ${container.name} of a build: ${reason}`);
    await output.line(`Error removing intermediate container ${id}: ${reason}`);
    return;
  }
  await output.arrow(`Removed intermediate container ${id}`);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const NO_INPUT = { AttachStdin: false, Tty: false, OpenStdin: false, StdinOnce: false, ArgsEscaped: false };

async function makeContainer(context: EngineContext, options: BuildOptions, request: RunRequest): Promise<Container> {
  const hostConfig: Partial<HostConfig> = {
    ...options.hostConfig,
    ...(request.network === undefined
      ? {}
      : { NetworkMode: request.network === "default" ? "bridge" : request.network }),
  };
  const { Id } = await createContainer(
    context,
    undefined,
    {
      ...NO_INPUT,
      Image: request.imageId,
      Cmd: [...request.commandLine],
      Entrypoint: [""],
      Env: [...request.environment],
      Healthcheck: { Test: ["NONE"] },
      AttachStdout: true,
      AttachStderr: true,
      HostConfig: hostConfig as HostConfig,
    } as ContainerCreateBody,
    undefined,
    { intermediate: options.removeIntermediate || options.forceRemove },
  );
  return context.table.get(Id);
}

/** Answers the exit code. */
async function execute(
  context: EngineContext,
  container: Container,
  output: BuildOutput,
  signal: AbortSignal,
): Promise<number> {
  const stdio = await attachContainer(context, container, {
    stdin: false,
    stdout: true,
    stderr: true,
    stream: true,
    logs: false,
  });
  const leaving = aborted(signal);
  const waiting = new AbortController();
  try {
    const { result } = waitContainer(container, "next-exit", waiting.signal);
    await Promise.race([container.queue.run(() => startContainer(context, container)), leaving.promise]);
    const reading = (async () => {
      for await (const { stream, bytes } of stdio.output) await output.command(stream, bytes);
      await output.commandEnded();
    })();
    await Promise.race([reading, leaving.promise]);
    return (await Promise.race([result, leaving.promise])).StatusCode;
  } finally {
    leaving.stop();
    waiting.abort(new Error("the build no longer waits"));
    stdio.detach();
  }
}

/** From now on it belongs to the user, also after a restart of the engine. */
async function keep(context: EngineContext, container: Container): Promise<void> {
  if (container.document.intermediate !== true) return;
  const { intermediate: _, ...document } = container.document;
  try {
    await container.queue.run(() =>
      writeEntries(context, container, encodeDocument(document, documentChunks(container.stored))),
    );
    container.document = document;
  } catch (error) {
    context.log(`container ${container.name} of a build will go at the next start: ${messageOf(error)}`);
  }
}

/** Containers of builds that an engine did not finish. Ask before this one builds. */
export const unfinishedContainers = (context: EngineContext): Container[] =>
  context.table.all().filter(({ document }) => document.intermediate === true);

export async function removeUnfinished(context: EngineContext, containers: readonly Container[]): Promise<void> {
  for (const container of containers) {
    context.log(`removing container ${container.name} of a build that was cut off`);
    try {
      await removeContainer(context, container, { force: true, volumes: true });
    } catch (error) {
      context.log(`container ${container.name}: ${messageOf(error)}`);
    }
  }
}
