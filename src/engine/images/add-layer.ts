/** A new image out of another one: one more layer on top (docker commit, RUN and COPY of a build), or only another configuration. */
import { digestOf } from "../../registry/digest.ts";
import type { Platform } from "../../registry/manifest.ts";
import type { ImageReference } from "../../registry/reference.ts";
import { EngineError, notFound } from "../errors.ts";
import type { Catalog } from "./catalog.ts";
import { EMPTY_LAYER_DIFF_ID } from "./chain.ts";
import { applyChanges } from "./changes.ts";
import type { LayerContentSource } from "./contract.ts";
import type { DiskStore, PinnedDisk } from "./disk-store.ts";
import type { ImageConfiguration } from "./image-config.ts";
import { setName } from "./names.ts";

export interface AddLayerRequest {
  /** Id of the image below, which may be hidden; undefined for nothing (FROM scratch). */
  parent: string | undefined;
  /** An OCI layer, uncompressed; undefined changes the configuration only. */
  tar: LayerContentSource | undefined;
  config: ImageConfiguration["config"];
  /** Dockerfile instructions that change `config`. */
  changes: readonly string[];
  author: string | undefined;
  comment: string | undefined;
  createdBy: string;
  reference: ImageReference | undefined;
  /** Of a build's step: what finds it again. */
  buildKey?: string;
  /** Called with the id just before the image is there, so that it can be held from its first moment. */
  announce?: (id: string) => void;
}

interface Below {
  configuration: Pick<
    ImageConfiguration,
    "architecture" | "variant" | "os" | "osVersion" | "diffIds" | "history" | "author"
  >;
  sizeBytes: number;
  pinned: PinnedDisk;
}

/** Answers the image's id. */
export async function addLayer(
  stores: { catalog: Catalog; disks: DiskStore; platform: Platform },
  request: AddLayerRequest,
  signal: AbortSignal,
): Promise<string> {
  const { catalog, disks } = stores;
  const config = applyChanges(request.changes, request.config);
  const below = await openBelow(stores, request.parent, signal);
  const releases = [below.pinned.release];
  try {
    const layer = request.tar === undefined ? undefined : await disks.addLayer(below.pinned.disk, request.tar, signal);
    if (layer !== undefined) releases.push(layer.release);
    const created = new Date().toISOString();
    const isEmpty = layer === undefined || layer.diffId === EMPTY_LAYER_DIFF_ID;
    const text = configurationText(below.configuration, request, {
      config,
      created,
      addedDiffId: isEmpty ? undefined : layer.diffId,
    });
    const id = digestOf(text);
    const { reference, parent, buildKey } = request;
    request.announce?.(id);
    await catalog.addImage(
      {
        version: 1,
        id,
        disk: (layer?.disk ?? below.pinned.disk).name,
        sizeBytes: below.sizeBytes + (layer?.bytes ?? 0),
        storedAt: created,
        ...(parent === undefined ? {} : { parent }),
        ...(buildKey === undefined ? {} : { buildKey }),
      },
      text,
      undefined,
    );
    if (reference !== undefined)
      await catalog.changeRepositories((repositories) => setName(repositories, reference, id));
    return id;
  } finally {
    for (const release of releases) release();
  }
}

async function openBelow(
  { catalog, disks, platform }: { catalog: Catalog; disks: DiskStore; platform: Platform },
  parent: string | undefined,
  signal: AbortSignal,
): Promise<Below> {
  if (parent === undefined) {
    const { architecture, os, variant } = platform;
    const configuration = {
      architecture,
      variant,
      os,
      osVersion: undefined,
      diffIds: [],
      history: [],
      author: undefined,
    };
    return { configuration, sizeBytes: 0, pinned: await disks.ensure([], NO_LAYERS, signal) };
  }
  const image = catalog.images.get(parent);
  const disk = image && catalog.disks.get(image.record.disk);
  if (image === undefined || disk === undefined) throw notFound(`No such image: ${parent}`);
  const { configuration, record } = image;
  return { configuration, sizeBytes: record.sizeBytes, pinned: { disk, release: disks.pin(disk.name) } };
}

const NO_LAYERS = {
  open: (): never => {
    throw new EngineError("internal", "an image without layers has none to open");
  },
};

function configurationText(
  { architecture, variant, os, osVersion, diffIds, history, author: inherited }: Below["configuration"],
  request: AddLayerRequest,
  { config, created, addedDiffId }: { config: object; created: string; addedDiffId: string | undefined },
): string {
  const author = request.author || (request.buildKey === undefined ? undefined : inherited);
  const entry = {
    created,
    ...(author ? { author } : {}),
    ...(request.createdBy === "" ? {} : { created_by: request.createdBy }),
    ...(request.comment ? { comment: request.comment } : {}),
    ...(addedDiffId === undefined ? { empty_layer: true } : {}),
  };
  return JSON.stringify({
    architecture,
    ...(variant === undefined ? {} : { variant }),
    os,
    ...(osVersion === undefined ? {} : { "os.version": osVersion }),
    created,
    ...(author ? { author } : {}),
    ...(request.comment ? { comment: request.comment } : {}),
    config,
    rootfs: { type: "layers", diff_ids: addedDiffId === undefined ? diffIds : [...diffIds, addedDiffId] },
    history: [
      ...history.map(({ empty_layer, ...rest }) => ({ ...rest, ...(empty_layer ? { empty_layer } : {}) })),
      entry,
    ],
  });
}
