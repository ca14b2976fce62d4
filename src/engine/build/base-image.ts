/** The images that FROM and COPY --from name: local ones, or pulled. */
import { familiarString, type ImageReference, parseReference, withDefaultTag } from "../../registry/reference.ts";
import { RegistryError } from "../../registry/registry-error.ts";
import type { BuildOptions, Images, ProgressMessage, RegistryCredentials } from "../contract.ts";
import { EngineError, invalid } from "../errors.ts";
import type { ImageStore } from "../images/contract.ts";
import type { BuildOutput } from "./output.ts";

export interface BaseImageSource {
  store: ImageStore;
  images: Images;
  options: Pick<BuildOptions, "pull" | "credentials" | "signal">;
  output: BuildOutput;
}

const DOCKER_HUB = ["https://index.docker.io/v1/", "index.docker.io", "docker.io"];

/** Answers the image's id. Throws EngineError in Docker's words when it is nowhere. */
export async function baseImage(source: BaseImageSource, name: string, platform: string | undefined): Promise<string> {
  const { store, images, options } = source;
  if (!options.pull) {
    try {
      const { id } = await store.resolve(name);
      await images.inspect(id, platform === undefined ? {} : { platform });
      return id;
    } catch (error) {
      if (!(error instanceof EngineError) || error.kind !== "not-found") throw error;
    }
  }
  const reference = checkedName(name);
  const progress = new PullProgress(source.output);
  await images.pull(familiarString(reference), {
    ...(platform === undefined ? {} : { platform }),
    ...credentialsOf(reference.domain, options.credentials),
    progress: (message) => progress.add(message),
    signal: options.signal,
  });
  await progress.sent;
  return (await store.resolve(name)).id;
}

/** A pull does not wait for its listener: for a client that reads slowly, counters in between are left out. */
class PullProgress {
  sent: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(private readonly output: BuildOutput) {}

  add(message: ProgressMessage): void {
    if (this.#waiting > 0 && message.progressDetail?.current !== undefined) return;
    this.#waiting += 1;
    this.sent = this.sent
      .then(() => this.output.progress(message))
      .finally(() => {
        this.#waiting -= 1;
      });
  }
}

/** An image's name, checked. Throws EngineError `invalid`. */
export function checkedName(name: string): ImageReference {
  try {
    return withDefaultTag(parseReference(name));
  } catch (error) {
    throw error instanceof RegistryError ? invalid(error.message) : error;
  }
}

/** X-Registry-Config names registries as `docker login` does. */
function credentialsOf(
  domain: string,
  all: ReadonlyMap<string, RegistryCredentials>,
): { credentials?: RegistryCredentials } {
  const names = domain === "docker.io" ? DOCKER_HUB : [domain, `https://${domain}`, `https://${domain}/`];
  for (const name of names) {
    const credentials = all.get(name);
    if (credentials !== undefined) return { credentials };
  }
  return {};
}
