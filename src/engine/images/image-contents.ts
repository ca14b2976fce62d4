/** A stored image as registries and archives carry it: manifest, configuration and compressed layers. */
import { gzipSync } from "node:zlib";
import { digestOf } from "../../registry/digest.ts";
import { MEDIA_TYPES } from "../../registry/manifest.ts";
import { conflict } from "../errors.ts";
import type { Catalog, CatalogImage } from "./catalog.ts";
import { EMPTY_LAYER_DIFF_ID } from "./chain.ts";
import type { LayerCompression } from "./compress.ts";

export interface LayerContent {
  diffId: string;
  digest: string;
  /** Bytes. */
  size: number;
  compression: LayerCompression;
  /** In pieces of bounded size. */
  parts(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

export interface ImageContents {
  id: string;
  config: Uint8Array<ArrayBuffer>;
  layers: LayerContent[];
  manifest: { mediaType: string; bytes: Uint8Array<ArrayBuffer>; digest: string };
}

/** Two zero blocks: the archive without members, whose digest is EMPTY_LAYER_DIFF_ID. */
const EMPTY_ARCHIVE_BYTES = 1024;
const encoder = new TextEncoder();

/** Throws EngineError when a layer is not kept (images stored before layers were). */
export async function imageContents(catalog: Catalog, image: CatalogImage): Promise<ImageContents> {
  const { id } = image.record;
  const config = encoder.encode(await catalog.configurationText(id));
  const layers = image.configuration.diffIds.map((diffId) => layerContent(catalog, id, diffId));
  const original = await catalog.manifestText(id);
  const manifest =
    original === undefined ? undefined : originalManifest(original, { id, layers: layers.map(({ digest }) => digest) });
  return { id, config, layers, manifest: manifest ?? newManifest(id, config, layers) };
}

function layerContent(catalog: Catalog, imageId: string, diffId: string): LayerContent {
  if (diffId === EMPTY_LAYER_DIFF_ID) {
    const bytes = new Uint8Array(gzipSync(new Uint8Array(EMPTY_ARCHIVE_BYTES)));
    return {
      diffId,
      digest: digestOf(bytes),
      size: bytes.length,
      compression: "gzip",
      parts: async function* () {
        yield bytes;
      },
    };
  }
  const record = catalog.blobs.get(diffId);
  if (record === undefined) {
    throw conflict(
      `layer ${diffId} of image ${imageId} is not kept in its packed form, because an earlier version stored it: remove the image and pull it again`,
    );
  }
  return {
    diffId,
    digest: record.digest,
    size: record.sizeBytes,
    compression: record.compression,
    parts: () => catalog.blobs.parts(record),
  };
}

/** The manifest as it was pulled, when it describes exactly what is kept: then the digest stays the same everywhere. */
function originalManifest(text: string, kept: { id: string; layers: string[] }): ImageContents["manifest"] | undefined {
  const document = JSON.parse(text) as {
    mediaType?: string;
    config?: { digest?: string };
    layers?: { digest?: string }[];
  };
  const same =
    document.config?.digest === kept.id &&
    document.layers?.length === kept.layers.length &&
    document.layers.every(({ digest }, index) => digest === kept.layers[index]);
  if (!same) return undefined;
  const bytes = encoder.encode(text);
  return { mediaType: document.mediaType ?? MEDIA_TYPES.ociManifest, bytes, digest: digestOf(bytes) };
}

/** Docker's own format, or OCI's when a layer is compressed with what only OCI has a name for. */
function newManifest(id: string, config: Uint8Array<ArrayBuffer>, layers: LayerContent[]): ImageContents["manifest"] {
  return layers.some(({ compression }) => compression === "zstd")
    ? ociManifest({ id, config, layers })
    : writeManifest(id, config, layers, {
        mediaType: MEDIA_TYPES.dockerManifest,
        configType: MEDIA_TYPES.dockerConfig,
        layerType: () => "application/vnd.docker.image.rootfs.diff.tar.gzip",
      });
}

/** The image's manifest in OCI's format, as an OCI layout must have it. */
export function ociManifest(
  contents: Pick<ImageContents, "id" | "config" | "layers"> & { manifest?: ImageContents["manifest"] },
): ImageContents["manifest"] {
  const { id, config, layers, manifest } = contents;
  if (manifest?.mediaType === MEDIA_TYPES.ociManifest) return manifest;
  return writeManifest(id, config, layers, {
    mediaType: MEDIA_TYPES.ociManifest,
    configType: MEDIA_TYPES.ociConfig,
    layerType: (compression) => `application/vnd.oci.image.layer.v1.tar+${compression}`,
  });
}

function writeManifest(
  id: string,
  config: Uint8Array<ArrayBuffer>,
  layers: LayerContent[],
  types: { mediaType: string; configType: string; layerType(compression: LayerCompression): string },
): ImageContents["manifest"] {
  const document = {
    schemaVersion: 2,
    mediaType: types.mediaType,
    config: { mediaType: types.configType, size: config.length, digest: id },
    layers: layers.map(({ digest, size, compression }) => ({ mediaType: types.layerType(compression), size, digest })),
  };
  const bytes = encoder.encode(JSON.stringify(document, null, 3));
  return { mediaType: types.mediaType, bytes, digest: digestOf(bytes) };
}
