/** `docker commit`: the container's changes become one more layer over its image's. */
import type { EngineContext } from "../context.ts";
import type { CommitOptions, ContainerConfig } from "../contract.ts";
import { EngineError } from "../errors.ts";
import type { ImageRuntimeConfig } from "../images/contract.ts";
import { Semaphore } from "../waiting.ts";
import { withBothTrees } from "./changes.ts";
import type { Container } from "./container.ts";
import { publishContainer } from "./container-events.ts";
import { mergeImage } from "./image-merge.ts";

/** A commit reads through one loader and writes through another: more at a time could wait for each other. */
const turns = new Semaphore(1);

export async function commitContainer(
  context: EngineContext,
  container: Container,
  options: CommitOptions,
): Promise<{ Id: string }> {
  if (container.status === "removing" || container.status === "dead")
    throw new EngineError("conflict", `You cannot commit container ${container.id} which is being removed`);
  const config = imageConfig(options.config, container);
  const release = context.images.hold(container.document.image.id);
  try {
    const { id, reference } = await turns.run(() =>
      standingStill(container, options.pause, () =>
        withBothTrees(context, container, ({ layer }) =>
          context.images.addLayer({
            parent: container.document.image.id,
            tar: layer(),
            config,
            changes: options.changes,
            author: options.author,
            comment: options.comment,
            createdBy: (container.document.config.Cmd ?? []).join(" "),
            repository: options.repository,
            tag: options.tag,
          }),
        ),
      ),
    );
    publishContainer(context.events, container, "commit", {
      comment: options.comment ?? "",
      imageID: id,
      ...(reference === undefined ? {} : { imageRef: reference }),
    });
    return { Id: id };
  } finally {
    release();
  }
}

/** What the container has changed, as an OCI layer, while `work` runs. */
export function withChangesAsLayer<T>(
  context: EngineContext,
  container: Container,
  work: (layer: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  return turns.run(() => withBothTrees(context, container, ({ layer }) => work(layer())));
}

/** The guest lets the processes go on by itself should this engine be gone. */
async function standingStill<T>(container: Container, pause: boolean, work: () => Promise<T>): Promise<T> {
  await container.finishing;
  if (!pause || !container.isRunning || container.status === "paused") return await work();
  const link = await container.link();
  const channel = link.open("freeze", {});
  try {
    const first = await channel[Symbol.asyncIterator]().next();
    if (first.done)
      throw new EngineError("internal", `container ${container.name} has ended while it was to stand still`);
    return await work();
  } finally {
    channel.close();
  }
}

/** The container's configuration under what the client gives, as far as it belongs to an image. */
function imageConfig(given: Partial<ContainerConfig>, { document }: Container): ImageRuntimeConfig {
  const own = document.config as Partial<ContainerConfig> & ImageRuntimeConfig;
  const merged = mergeImage(given, own) as ImageRuntimeConfig & { OnBuild?: string[] };
  const { User, ExposedPorts, Env, Entrypoint, Cmd, Volumes, WorkingDir, Labels, StopSignal } = merged;
  const { StopTimeout, Shell, Healthcheck } = merged;
  return Object.fromEntries(
    Object.entries({
      User,
      ExposedPorts,
      Env,
      Entrypoint,
      Cmd,
      Volumes,
      WorkingDir,
      Labels,
      StopSignal,
      StopTimeout,
      Shell,
      Healthcheck,
    }).filter(([, value]) => value !== undefined && value !== null && value !== "" && !isEmpty(value)),
  );
}

const isEmpty = (value: unknown): boolean => typeof value === "object" && Object.keys(value ?? {}).length === 0;
