/** docker load: images in the format of `docker save` (manifest.json), or an OCI image layout (index.json). */
import { digestOf, isDigest } from "../../registry/digest.ts";
import { formatPlatform, type Platform, platformRuns } from "../../registry/manifest.ts";
import { familiarString, type ImageReference, withDefaultTag } from "../../registry/reference.ts";
import type { ProgressSink } from "../contract.ts";
import { EngineError, invalid, notFound } from "../errors.ts";
import { ArchiveMembers } from "./archive-members.ts";
import type { Catalog } from "./catalog.ts";
import { decompress } from "./decompress.ts";
import type { DiskStore } from "./disk-store.ts";
import { parseImageConfiguration } from "./image-config.ts";
import { hexOf } from "./layout.ts";
import { parseImageName, setName } from "./names.ts";
import { readPlatform } from "./platform.ts";
import { layersSize } from "./pull.ts";

const DOCUMENT_LIMIT_BYTES = 4 * 1024 * 1024;
const IMAGE_LIMIT = 1000;
const INDEX_DEPTH_LIMIT = 3;
const SHORT_ID = 12;

interface ArchivedImage {
  config: string;
  layers: string[];
  names: ImageReference[];
  /** Path of the manifest, in an OCI layout. */
  manifest?: string;
}

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

/** Answers the ids of the images. Images before a failing one stay. */
export async function loadImages(
  { catalog, disks, platform }: { catalog: Catalog; disks: DiskStore; platform: Platform },
  tar: AsyncIterable<Uint8Array>,
  options: { platform?: string; quiet: boolean; progress: ProgressSink; signal: AbortSignal },
): Promise<string[]> {
  const wanted = options.platform ? readPlatform(options.platform, platform) : undefined;
  const members = new ArchiveMembers(catalog.files, catalog.layout.incoming);
  try {
    await members.read(decompress(tar, "the archive"), options.signal);
    const images = members.find("manifest.json")
      ? await dockerImages(members)
      : await ociImages(members, wanted ?? platform);
    if (images.length === 0) throw invalid("the archive contains no image");
    if (images.length > IMAGE_LIMIT) throw invalid(`the archive contains more than ${IMAGE_LIMIT} images`);
    const ids: string[] = [];
    for (const image of images) {
      const id = await loadImage(catalog, disks, members, image, wanted, options);
      ids.push(id);
      if (image.names.length === 0) options.progress({ stream: `Loaded image ID: ${id}\n` });
      for (const name of image.names) options.progress({ stream: `Loaded image: ${familiarString(name)}\n` });
    }
    return ids;
  } finally {
    await members.remove();
  }
}

async function loadImage(
  catalog: Catalog,
  disks: DiskStore,
  members: ArchiveMembers,
  image: ArchivedImage,
  wanted: Platform | undefined,
  { quiet, progress, signal }: { quiet: boolean; progress: ProgressSink; signal: AbortSignal },
): Promise<string> {
  const configText = await members.text(image.config, DOCUMENT_LIMIT_BYTES);
  const id = digestOf(configText);
  const configuration = parseImageConfiguration(configText);
  if (configuration.os !== "linux") {
    throw invalid(`cannot load ${configuration.os} image on linux`);
  }
  const { diffIds, variant } = configuration;
  const own = { os: configuration.os, architecture: configuration.architecture, variant };
  if (wanted !== undefined && !platformRuns(own, wanted)) {
    throw notFound(`requested platform (${formatPlatform(wanted)}) not found: image is for ${formatPlatform(own)}`);
  }
  if (diffIds.length !== image.layers.length) {
    throw invalid(`invalid manifest, layers length mismatch: expected ${diffIds.length}, got ${image.layers.length}`);
  }
  const known = catalog.images.get(id);
  if (known === undefined || known.record.hidden) {
    const { disk, release } = await disks.ensure(
      diffIds,
      {
        open(index) {
          const path = image.layers[index] ?? "";
          const member = members.find(path);
          if (member === undefined) throw invalid(`invalid archive: it does not contain ${path}`);
          const layer = hexOf(diffIds[index] ?? "").slice(0, SHORT_ID);
          if (!quiet)
            progress({ status: "Loading layer", progressDetail: { current: 0, total: member.size }, id: layer });
          return member.open();
        },
        applied(index) {
          const size = members.find(image.layers[index] ?? "")?.size ?? 0;
          const layer = hexOf(diffIds[index] ?? "").slice(0, SHORT_ID);
          if (!quiet) progress({ status: "Loading layer", progressDetail: { current: size, total: size }, id: layer });
        },
      },
      signal,
    );
    try {
      const sizeBytes = catalog.lineage(disk.name).reduce((sum, { layers }) => sum + layersSize(layers), 0);
      const record = { version: 1 as const, id, disk: disk.name, sizeBytes, storedAt: new Date().toISOString() };
      const manifest = image.manifest && (await members.text(image.manifest, DOCUMENT_LIMIT_BYTES));
      await catalog.addImage(record, configText, manifest);
    } finally {
      release();
    }
  }
  if (image.names.length > 0) {
    await catalog.changeRepositories((repositories) => {
      for (const name of image.names) setName(repositories, name, id);
    });
  }
  return id;
}

async function dockerImages(members: ArchiveMembers): Promise<ArchivedImage[]> {
  const document = await json(members, "manifest.json");
  if (!Array.isArray(document)) throw invalid("invalid archive: manifest.json is not a list");
  return document.map((entry: unknown) => {
    if (!isObject(entry) || typeof entry.Config !== "string" || !isTexts(entry.Layers)) {
      throw invalid("invalid archive: an entry of manifest.json has no Config or Layers");
    }
    const tags = entry.RepoTags ?? [];
    if (!isTexts(tags)) throw invalid("invalid archive: RepoTags is not a list of strings");
    return {
      config: entry.Config,
      layers: entry.Layers,
      names: tags.map((tag) => {
        const name = parseImageName(tag);
        if (name.tag === undefined) throw invalid(`invalid tag ${JSON.stringify(tag)}`);
        return name;
      }),
    };
  });
}

const blobPath = (digest: unknown): string => {
  if (typeof digest !== "string" || !isDigest(digest))
    throw invalid("invalid archive: a descriptor has no valid digest");
  return `blobs/${digest.replace(":", "/")}`;
};

async function ociImages(members: ArchiveMembers, platform: Platform): Promise<ArchivedImage[]> {
  if (members.find("index.json") === undefined) {
    throw invalid("the archive is no image: it has neither manifest.json nor index.json");
  }
  return indexImages(members, "index.json", [], platform, 0);
}

async function indexImages(
  members: ArchiveMembers,
  path: string,
  inherited: ImageReference[],
  platform: Platform,
  depth: number,
): Promise<ArchivedImage[]> {
  if (depth > INDEX_DEPTH_LIMIT) throw invalid("invalid archive: indexes are nested too deep");
  const document = await json(members, path);
  const manifests = isObject(document) && Array.isArray(document.manifests) ? document.manifests : undefined;
  if (manifests === undefined) throw invalid(`invalid archive: ${path} has no manifests`);
  const images: ArchivedImage[] = [];
  // Below the top, an index is one image for several platforms.
  const chosen = depth === 0 ? manifests : forPlatform(manifests, platform);
  for (const descriptor of chosen.slice(0, IMAGE_LIMIT)) {
    if (!isObject(descriptor)) throw invalid(`invalid archive: ${path} has a damaged descriptor`);
    const blob = blobPath(descriptor.digest);
    // An archive may hold only some of the platforms that its index names.
    if (members.find(blob) === undefined && depth > 0) continue;
    const names = [...inherited, ...annotatedNames(descriptor.annotations)];
    const manifest = await json(members, blob);
    if (isObject(manifest) && Array.isArray(manifest.manifests)) {
      images.push(...(await indexImages(members, blob, names, platform, depth + 1)));
    } else if (isObject(manifest) && isObject(manifest.config) && Array.isArray(manifest.layers)) {
      if (isAttestation(descriptor)) continue;
      images.push({
        config: blobPath(manifest.config.digest),
        layers: manifest.layers.map((layer: unknown) => blobPath(isObject(layer) ? layer.digest : undefined)),
        names,
        manifest: blob,
      });
    } else throw new EngineError("invalid", `invalid archive: ${blob} is no image manifest`);
  }
  return images;
}

/** Those that run on the platform; all of them when none says what it is for. */
function forPlatform(manifests: readonly unknown[], platform: Platform): readonly unknown[] {
  const offered = (descriptor: unknown): Platform | undefined => {
    const value = isObject(descriptor) ? descriptor.platform : undefined;
    if (!isObject(value) || typeof value.os !== "string" || typeof value.architecture !== "string") return undefined;
    const variant = typeof value.variant === "string" ? { variant: value.variant } : {};
    return { os: value.os, architecture: value.architecture, ...variant };
  };
  const matching = manifests.filter((descriptor) => {
    const own = offered(descriptor);
    return own !== undefined && platformRuns(own, platform);
  });
  return matching.length > 0 || manifests.some((descriptor) => offered(descriptor) !== undefined)
    ? matching
    : manifests;
}

/** BuildKit puts its attestations beside the images, for a platform that does not exist. */
const isAttestation = (descriptor: JsonObject): boolean =>
  isObject(descriptor.platform) && descriptor.platform.os === "unknown";

function annotatedNames(annotations: unknown): ImageReference[] {
  if (!isObject(annotations)) return [];
  const full = annotations["io.containerd.image.name"] ?? annotations["org.opencontainers.image.ref.name"];
  // A plain tag in ref.name says nothing of the repository: such an image is loaded without a name.
  return typeof full === "string" && /[/:]/.test(full) ? [withDefaultTag(parseImageName(full))] : [];
}

async function json(members: ArchiveMembers, path: string): Promise<unknown> {
  try {
    return JSON.parse(await members.text(path, DOCUMENT_LIMIT_BYTES));
  } catch (error) {
    if (error instanceof SyntaxError) throw invalid(`invalid archive: ${path} is not JSON`);
    throw error;
  }
}
