/**
 * `docker build --cache-from`: steps are found in the history of images that came from elsewhere. What such an image has
 * below its last step is made an image of its own when it is used, out of the layers that are kept.
 */
import { digestOf } from "../../registry/digest.ts";
import { EngineError } from "../errors.ts";
import type { Catalog, CatalogImage } from "./catalog.ts";
import type { CachedStepRequest } from "./contract.ts";
import type { DiskStore, LayerSource } from "./disk-store.ts";
import type { HistoryEntry, ImageConfiguration } from "./image-config.ts";
import { imageContents } from "./image-contents.ts";

type Below = Pick<ImageConfiguration, "history" | "diffIds">;

const NOTHING: Below = { history: [], diffIds: [] };

/** Answers the id of the step's image; undefined when none of the sources has it. */
export async function cachedStep(
  { catalog, disks }: { catalog: Catalog; disks: DiskStore },
  request: CachedStepRequest,
  local: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  const sources = request.sources.flatMap((id) => catalog.images.get(id) ?? []);
  if (local !== undefined && sources.some(({ record }) => isAncestor(catalog, local, record.id))) return local;
  const parent = request.parent === undefined ? undefined : catalog.images.get(request.parent);
  if (request.parent !== undefined && parent === undefined) return undefined;
  const below = parent?.configuration ?? NOTHING;
  for (const source of sources) {
    const { history, diffIds } = source.configuration;
    const step = history[below.history.length];
    if (step?.created_by !== request.createdBy || !beginsWith(source.configuration, below)) continue;
    if (history.length === below.history.length + 1) return source.record.id;
    return await restore(
      { catalog, disks },
      request,
      source,
      {
        history: history.slice(0, below.history.length + 1),
        diffIds: diffIds.slice(0, below.diffIds.length + (step.empty_layer ? 0 : 1)),
      },
      signal,
    );
  }
  return undefined;
}

function isAncestor(catalog: Catalog, id: string, of: string): boolean {
  const seen = new Set<string>();
  for (let at: string | undefined = of; at !== undefined && !seen.has(at); at = catalog.images.get(at)?.record.parent) {
    if (at === id) return true;
    seen.add(at);
  }
  return false;
}

const sameEntry = (a: HistoryEntry, b: HistoryEntry | undefined): boolean =>
  b !== undefined &&
  a.created === b.created &&
  a.created_by === b.created_by &&
  a.comment === b.comment &&
  (a.empty_layer ?? false) === (b.empty_layer ?? false);

const beginsWith = (image: Below, below: Below): boolean =>
  below.history.every((entry, index) => sameEntry(entry, image.history[index])) &&
  below.diffIds.every((diffId, index) => diffId === image.diffIds[index]);

async function restore(
  { catalog, disks }: { catalog: Catalog; disks: DiskStore },
  request: CachedStepRequest,
  source: CatalogImage,
  { history, diffIds }: Below,
  signal: AbortSignal,
): Promise<string> {
  const { architecture, variant, os, osVersion, author } = source.configuration;
  const created = history.at(-1)?.created ?? new Date().toISOString();
  const text = JSON.stringify({
    architecture,
    ...(variant === undefined ? {} : { variant }),
    os,
    ...(osVersion === undefined ? {} : { "os.version": osVersion }),
    created,
    ...(author ? { author } : {}),
    config: request.config,
    rootfs: { type: "layers", diff_ids: diffIds },
    history: history.map(({ empty_layer, ...rest }) => ({ ...rest, ...(empty_layer ? { empty_layer } : {}) })),
  });
  const id = digestOf(text);
  const known = catalog.images.get(id);
  if (known !== undefined && !known.record.hidden) return id;
  const { disk, release } = await disks.ensure(diffIds, await keptLayers(catalog, source), signal);
  try {
    const layers = catalog.lineage(disk.name).flatMap((each) => each.layers);
    request.announce(id);
    await catalog.addImage(
      {
        version: 1,
        id,
        disk: disk.name,
        sizeBytes: layers.reduce((sum, { bytes }) => sum + bytes, 0),
        storedAt: new Date().toISOString(),
        ...(request.parent === undefined ? {} : { parent: request.parent }),
        buildKey: request.buildKey,
      },
      text,
      undefined,
    );
    return id;
  } finally {
    release();
  }
}

async function keptLayers(catalog: Catalog, source: CatalogImage): Promise<LayerSource> {
  const { layers } = await imageContents(catalog, source);
  return {
    open(index) {
      const layer = layers[index];
      if (layer === undefined) throw new EngineError("internal", `image ${source.record.id} has no layer ${index}`);
      return layer.parts();
    },
  };
}
