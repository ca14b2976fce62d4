/** docker push. */
import type { RegistryClient } from "../../registry/client.ts";
import type { BlobOutcome, PushedBlob } from "../../registry/push.ts";
import { familiarName, familiarString, type ImageReference } from "../../registry/reference.ts";
import type { ProgressMessage, ProgressSink, RegistryCredentials } from "../contract.ts";
import { EngineError, notFound } from "../errors.ts";
import type { Catalog } from "./catalog.ts";
import { type ImageContents, imageContents } from "./image-contents.ts";
import { hexOf } from "./layout.ts";
import { idOfName, repositoryKey } from "./names.ts";
import { checkPlatform } from "./platform.ts";
import { engineError } from "./registry-errors.ts";

export interface PushRequest {
  /** Without a tag: every tag of the repository. */
  reference: ImageReference;
  platform: string | undefined;
  credentials: RegistryCredentials | undefined;
}

/** Progress lines of one layer come this far apart. */
const PROGRESS_INTERVAL_MILLISECONDS = 100;
const SHORT_ID = 12;

/** Pushes one tag, or all of them; answers what was pushed. */
export async function pushImages(
  context: { catalog: Catalog; registry: RegistryClient },
  request: PushRequest,
  progress: ProgressSink,
  signal: AbortSignal,
): Promise<{ reference: ImageReference; id: string; digest: string }[]> {
  const { catalog } = context;
  const { reference } = request;
  progress({ status: `The push refers to repository [${repositoryKey(reference)}]` });
  const tags =
    reference.tag !== undefined
      ? [reference.tag]
      : Object.keys(catalog.repositories.repositories[repositoryKey(reference)]?.tags ?? {});
  if (tags.length === 0) {
    throw notFound(`An image does not exist locally with the tag: ${familiarName(reference)}`);
  }
  const pushed = [];
  for (const tag of tags) {
    const { id, digest } = await pushTag(context, { ...request, reference: { ...reference, tag } }, progress, signal);
    pushed.push({ reference: { ...reference, tag }, id, digest });
  }
  return pushed;
}

async function pushTag(
  { catalog, registry }: { catalog: Catalog; registry: RegistryClient },
  { reference, platform, credentials }: PushRequest,
  progress: ProgressSink,
  signal: AbortSignal,
): Promise<{ id: string; digest: string }> {
  const id = idOfName(catalog.repositories, reference);
  const image = id === undefined ? undefined : catalog.images.get(id);
  if (id === undefined || image === undefined || image.record.hidden) {
    throw notFound(`An image does not exist locally with the tag: ${familiarName(reference)}`);
  }
  checkPlatform(image, familiarString(reference), platform);
  const contents = await imageContents(catalog, image);
  const release = catalog.blobs.hold(image.configuration.diffIds);
  try {
    const result = await registry.push(
      reference,
      {
        blobs: [
          ...contents.layers.map(({ digest, size, parts }): PushedBlob => ({ digest, size, pieces: parts })),
          configBlob(contents),
        ],
        manifest: contents.manifest,
        mountFrom: neighbours(catalog, reference, id),
        ...layerProgress(contents, progress),
      },
      credentials,
      signal,
    );
    const tag = reference.tag ?? "latest";
    progress({ status: `${tag}: digest: ${result.digest} size: ${result.size}` });
    progress({ progressDetail: {}, aux: { Tag: tag, Digest: result.digest, Size: result.size } });
    await catalog.changeRepositories((repositories) => {
      const entry = repositories.repositories[repositoryKey(reference)];
      if (entry !== undefined && Object.values(entry.tags).includes(id)) entry.digests[result.digest] = id;
    });
    return { id, digest: result.digest };
  } catch (error) {
    throw engineError(error);
  } finally {
    release();
  }
}

function configBlob({ id, config }: ImageContents): PushedBlob {
  return {
    digest: id,
    size: config.length,
    pieces: async function* () {
      yield config;
    },
  };
}

/** Repositories of the same registry where this image, or one that shares its layers, has a name. */
function neighbours(catalog: Catalog, reference: ImageReference, id: string): string[] {
  const own = new Set(catalog.images.get(id)?.configuration.diffIds);
  const shares = (other: string): boolean =>
    catalog.images.get(other)?.configuration.diffIds.some((diffId) => own.has(diffId)) ?? false;
  return Object.entries(catalog.repositories.repositories).flatMap(([key, { tags, digests }]) => {
    const slash = key.indexOf("/");
    const path = key.slice(slash + 1);
    if (key.slice(0, slash) !== reference.domain || path === reference.path) return [];
    // Only what has a digest was seen at the registry.
    return Object.values(digests).some(shares) && Object.keys(tags).length + Object.keys(digests).length > 0
      ? [path]
      : [];
  });
}

/** Lines as dockerd's: one id per layer, by the short digest of its content. */
function layerProgress(
  { layers }: ImageContents,
  progress: ProgressSink,
): {
  sent(blob: PushedBlob, bytes: number): void;
  done(blob: PushedBlob, outcome: BlobOutcome, mountedFrom?: string): void;
} {
  const names = new Map(layers.map(({ digest, diffId }) => [digest, hexOf(diffId).slice(0, SHORT_ID)]));
  const last = new Map<string, number>();
  const line = (digest: string, message: ProgressMessage): void => {
    const id = names.get(digest);
    if (id !== undefined) progress({ progressDetail: {}, ...message, id });
  };
  for (const { digest } of layers.toReversed()) line(digest, { status: "Preparing" });
  return {
    sent({ digest, size }, bytes) {
      const now = performance.now();
      if (now - (last.get(digest) ?? Number.NEGATIVE_INFINITY) < PROGRESS_INTERVAL_MILLISECONDS) return;
      last.set(digest, now);
      line(digest, { status: "Pushing", progressDetail: { current: bytes, total: size } });
    },
    done({ digest }, outcome, mountedFrom) {
      const status = { exists: "Layer already exists", mounted: `Mounted from ${mountedFrom}`, pushed: "Pushed" };
      line(digest, { status: status[outcome] });
    },
  };
}

/** `docker push name@digest` makes no sense. */
export function refuseDigest(reference: ImageReference): void {
  if (reference.digest !== undefined) throw new EngineError("invalid", "cannot push a digest reference");
}
