/** The images that FROM and COPY --from name: local ones, or pulled. */
import { familiarString, parseReference, withDefaultTag } from "../../registry/reference.ts";
import { RegistryError } from "../../registry/registry-error.ts";
import type { BuildOptions, Images, RegistryCredentials } from "../contract.ts";
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
  const reference = named(name);
  const sending: Promise<void>[] = [];
  await images.pull(familiarString(reference), {
    ...(platform === undefined ? {} : { platform }),
    ...credentialsOf(reference.domain, options.credentials),
    progress: (message) => sending.push(source.output.progress(message)),
    signal: options.signal,
  });
  await Promise.all(sending);
  return (await store.resolve(name)).id;
}

function named(name: string) {
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
