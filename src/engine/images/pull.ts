/** docker pull. */
import type { RegistryClient, RemoteImage } from "../../registry/client.ts";
import { formatPlatform, type Platform, platformRuns } from "../../registry/manifest.ts";
import { familiarString, type ImageReference } from "../../registry/reference.ts";
import type { ProgressSink, RegistryCredentials } from "../contract.ts";
import { conflict, EngineError, notFound } from "../errors.ts";
import type { Catalog } from "./catalog.ts";
import { EMPTY_LAYER_DIFF_ID } from "./chain.ts";
import type { DiskStore } from "./disk-store.ts";
import { startDownloads } from "./downloads.ts";
import { parseImageConfiguration } from "./image-config.ts";
import { hexOf } from "./layout.ts";
import { idOfName, setName } from "./names.ts";
import { checkPlatform, readPlatform } from "./platform.ts";
import { engineError } from "./registry-errors.ts";

export interface PullRequest {
  /** With a tag or digest. */
  reference: ImageReference;
  platform: string | undefined;
  credentials: RegistryCredentials | undefined;
}

export interface PullContext {
  catalog: Catalog;
  disks: DiskStore;
  registry: RegistryClient;
  /** What this container host runs. */
  platform: Platform;
}

const SHORT_ID = 12;

/** Answers the image's id. */
export async function pullImage(
  context: PullContext,
  request: PullRequest,
  progress: ProgressSink,
  signal: AbortSignal,
): Promise<string> {
  const { reference } = request;
  const platform = request.platform ? readPlatform(request.platform, context.platform) : context.platform;
  try {
    const remote = await context.registry.image(reference, platform, request.credentials, signal);
    progress({
      status: `Pulling from ${reference.path}`,
      id: reference.tag ?? reference.digest,
    });
    const id = remote.manifest.config.digest;
    const named = { ...reference, digest: remote.digest };
    const before = idOfName(context.catalog.repositories, reference);
    const known = context.catalog.images.get(id);
    if (known !== undefined) checkPlatform(known, familiarString(reference), request.platform);
    if (known === undefined || known.record.hidden) {
      await storeImage(context, remote, request, platform, progress, signal);
    } else {
      for (const layer of remote.manifest.layers) {
        progress({ status: "Already exists", progressDetail: {}, id: hexOf(layer.digest).slice(0, SHORT_ID) });
      }
    }
    await context.catalog.changeRepositories((repositories) => setName(repositories, named, id));
    const kept = context.catalog.images.get(id);
    if (kept === undefined || kept.record.hidden) {
      throw conflict(`image ${familiarString(reference)} was removed while it was being pulled: pull it again`);
    }
    progress({ status: `Digest: ${remote.digest}` });
    const fresh = before !== id;
    progress({
      status: `Status: ${fresh ? "Downloaded newer image" : "Image is up to date"} for ${familiarString(reference)}`,
    });
    return id;
  } catch (error) {
    throw engineError(error);
  }
}

async function storeImage(
  { catalog, disks }: PullContext,
  remote: RemoteImage,
  request: PullRequest,
  platform: Platform,
  progress: ProgressSink,
  signal: AbortSignal,
): Promise<void> {
  const { manifest } = remote;
  const configBytes = await remote.config(signal);
  const configText = new TextDecoder().decode(configBytes);
  const configuration = parseImageConfiguration(configText);
  const { diffIds } = configuration;
  if (diffIds.length !== manifest.layers.length) {
    throw new EngineError("internal", "number of layers and diffIDs don't match");
  }
  if (configuration.os !== "linux") {
    throw notFound(
      `image operating system "${configuration.os}" cannot be used on this platform: operating system is not supported`,
    );
  }
  const offered = { os: configuration.os, architecture: configuration.architecture, variant: configuration.variant };
  if (request.platform && offered.architecture !== "" && !platformRuns(offered, platform)) {
    throw notFound(
      `image with reference ${familiarString(request.reference)} was found but its platform (${formatPlatform(offered)}) does not match the specified platform (${formatPlatform(platform)})`,
    );
  }

  const layerProgress = (index: number): ProgressSink => {
    const id = hexOf(manifest.layers[index]?.digest ?? "").slice(0, SHORT_ID);
    return (message) => progress({ ...message, id });
  };
  const stored = disks.storedPrefix(diffIds).count;
  /** Layers from `first` on that have content; an empty one needs no download. */
  const from = (first: number): number[] =>
    diffIds.flatMap((diffId, index) => (index >= first && diffId !== EMPTY_LAYER_DIFF_ID ? [index] : []));
  for (const index of diffIds.keys()) {
    layerProgress(index)({ status: index < stored ? "Already exists" : "Pulling fs layer", progressDetail: {} });
  }
  for (const index of from(stored).slice(1)) layerProgress(index)({ status: "Waiting", progressDetail: {} });

  // Started by the first layer that is really needed: another pull may be making this very disk, and we then wait for it.
  let downloads: ReturnType<typeof startDownloads> | undefined;
  const { disk, release } = await disks
    .ensure(
      diffIds,
      {
        open(index) {
          downloads ??= startDownloads(remote, from(index), layerProgress, signal);
          layerProgress(index)({ status: "Extracting", progressDetail: {} });
          return downloads.open(index);
        },
        applied: (index) => layerProgress(index)({ status: "Pull complete", progressDetail: {} }),
      },
      signal,
    )
    .catch((error: unknown) => {
      downloads?.stop(error);
      throw error;
    });
  try {
    await catalog.addImage(
      {
        version: 1,
        id: manifest.config.digest,
        disk: disk.name,
        sizeBytes: catalog.lineage(disk.name).reduce((sum, { layers }) => sum + layersSize(layers), 0),
        storedAt: new Date().toISOString(),
      },
      configText,
      new TextDecoder().decode(remote.manifestBytes),
    );
  } finally {
    release();
  }
}

export const layersSize = (layers: readonly { bytes: number }[]): number =>
  layers.reduce((sum, { bytes }) => sum + bytes, 0);
