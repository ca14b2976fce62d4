/** docker save: an OCI image layout that is also an archive in Docker's format (manifest.json), as one tar stream. */
import { type TarMember, writeTar } from "../../format/tar/index.ts";
import { digestOf } from "../../registry/digest.ts";
import { familiarString, type ImageReference, parseReference } from "../../registry/reference.ts";
import { invalid, notFound } from "../errors.ts";
import type { Catalog, CatalogImage } from "./catalog.ts";
import { type ImageContents, imageContents, type LayerContent, ociManifest } from "./image-contents.ts";
import { hexOf } from "./layout.ts";
import { findImage, repositoryKey } from "./names.ts";
import { checkPlatform } from "./platform.ts";

interface SavedImage {
  image: CatalogImage;
  /** With tags. */
  names: ImageReference[];
}

const encoder = new TextEncoder();
const INDEX_TYPE = "application/vnd.oci.image.index.v1+json";

/** Everything is looked up before the first byte, so that a missing image is an error and not a broken archive. */
export async function saveImages(
  catalog: Catalog,
  names: readonly string[],
  platform: string | undefined,
): Promise<{ ids: string[]; archive: AsyncIterable<Uint8Array> }> {
  if (names.length === 0) throw invalid("no image names are given");
  const images = new Map<string, SavedImage>();
  for (const name of names) {
    for (const { image, reference } of select(catalog, name)) {
      checkPlatform(image, name, platform);
      const { id } = image.record;
      const saved = images.get(id) ?? { image, names: [] };
      images.set(id, saved);
      if (reference !== undefined && !isNamed(saved, reference)) saved.names.push(reference);
    }
  }
  const contents: (ImageContents & { names: ImageReference[] })[] = [];
  for (const saved of images.values()) {
    const image = await imageContents(catalog, saved.image);
    contents.push({ ...image, manifest: ociManifest(image), names: saved.names });
  }
  const release = catalog.blobs.hold([...images.values()].flatMap(({ image }) => image.configuration.diffIds));
  return { ids: [...images.keys()], archive: releasing(writeTar(members(contents)), release) };
}

const isNamed = ({ names }: SavedImage, reference: ImageReference): boolean =>
  names.some((name) => familiarString(name) === familiarString(reference));

/** A repository without a tag means all its tags; an id, the image without any name. */
function select(catalog: Catalog, name: string): { image: CatalogImage; reference: ImageReference | undefined }[] {
  const repository = nameOnly(name);
  const tags =
    repository === undefined ? {} : (catalog.repositories.repositories[repositoryKey(repository)]?.tags ?? {});
  if (repository !== undefined && Object.keys(tags).length > 0) {
    return Object.keys(tags).flatMap((tag) => {
      const image = catalog.images.get(tags[tag] ?? "");
      return image === undefined || image.record.hidden ? [] : [{ image, reference: { ...repository, tag } }];
    });
  }
  try {
    const { image, reference } = findImage(catalog, name);
    return [{ image, reference: reference?.tag === undefined ? undefined : reference }];
  } catch (error) {
    throw error instanceof Error && error.message.startsWith("No such image")
      ? notFound("reference does not exist")
      : error;
  }
}

function nameOnly(name: string): ImageReference | undefined {
  try {
    const reference = parseReference(name);
    return reference.tag === undefined && reference.digest === undefined ? reference : undefined;
  } catch {
    return undefined; // An id, or nothing at all: findImage tells.
  }
}

const blobPath = (digest: string): string => `blobs/sha256/${hexOf(digest)}`;

function member(name: string, content: Uint8Array): TarMember {
  return { header: { name, type: "file", size: content.length }, body: [content] };
}

function* members(images: readonly (ImageContents & { names: ImageReference[] })[]): Generator<TarMember> {
  yield { header: { name: "blobs", type: "directory" } };
  yield { header: { name: "blobs/sha256", type: "directory" } };
  const written = new Set<string>();
  const fresh = (digest: string): boolean => !written.has(digest) && written.add(digest) !== undefined;
  for (const image of images) {
    for (const layer of image.layers) if (fresh(layer.digest)) yield layerMember(layer);
    if (fresh(image.id)) yield member(blobPath(image.id), image.config);
    if (fresh(image.manifest.digest)) yield member(blobPath(image.manifest.digest), image.manifest.bytes);
  }
  yield member("oci-layout", encoder.encode('{"imageLayoutVersion":"1.0.0"}'));
  yield member("index.json", encoder.encode(JSON.stringify(index(images))));
  yield member("manifest.json", encoder.encode(JSON.stringify(images.map(dockerEntry))));
}

function layerMember({ digest, size, parts }: LayerContent): TarMember {
  return { header: { name: blobPath(digest), type: "file", size }, body: parts() };
}

function index(images: readonly (ImageContents & { names: ImageReference[] })[]): object {
  return {
    schemaVersion: 2,
    mediaType: INDEX_TYPE,
    manifests: images.flatMap(({ manifest, names }) => {
      const descriptor = {
        mediaType: manifest.mediaType,
        digest: digestOf(manifest.bytes),
        size: manifest.bytes.length,
      };
      if (names.length === 0) return [descriptor];
      return names.map((name) => ({
        ...descriptor,
        annotations: {
          "io.containerd.image.name": `${repositoryKey(name)}:${name.tag}`,
          "org.opencontainers.image.ref.name": name.tag,
        },
      }));
    }),
  };
}

function dockerEntry({ id, layers, names }: ImageContents & { names: ImageReference[] }): object {
  return {
    Config: blobPath(id),
    RepoTags: names.length === 0 ? null : names.map(familiarString),
    Layers: layers.map(({ digest }) => blobPath(digest)),
  };
}

/** A generator that was never started runs no `finally`; a client may leave before the first byte. */
function releasing(stream: AsyncIterable<Uint8Array>, release: () => void): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]: () => {
      const iterator = stream[Symbol.asyncIterator]();
      return {
        async next() {
          try {
            const next = await iterator.next();
            if (next.done) release();
            return next;
          } catch (error) {
            release();
            throw error;
          }
        },
        async return() {
          release();
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}
