/** A new image: another image's layers and one more on top (docker commit). */
import { digestOf } from "../../registry/digest.ts";
import type { ImageReference } from "../../registry/reference.ts";
import { notFound } from "../errors.ts";
import type { Catalog } from "./catalog.ts";
import { EMPTY_LAYER_DIFF_ID } from "./chain.ts";
import { applyChanges } from "./changes.ts";
import type { ImageRuntimeConfig } from "./contract.ts";
import type { DiskStore } from "./disk-store.ts";
import { setName } from "./names.ts";

export interface AddLayerRequest {
  /** Id of the image below; it may be hidden. */
  parent: string;
  /** An OCI layer, uncompressed. */
  tar: AsyncIterable<Uint8Array>;
  config: ImageRuntimeConfig;
  /** Dockerfile instructions that change `config`. */
  changes: readonly string[];
  author: string | undefined;
  comment: string | undefined;
  createdBy: string;
  reference: ImageReference | undefined;
}

/** Answers the image's id. */
export async function addLayer(
  { catalog, disks }: { catalog: Catalog; disks: DiskStore },
  request: AddLayerRequest,
  signal: AbortSignal,
): Promise<string> {
  const config = applyChanges(request.changes, request.config);
  const parent = catalog.images.get(request.parent);
  const below = parent && catalog.disks.get(parent.record.disk);
  if (parent === undefined || below === undefined) throw notFound(`No such image: ${request.parent}`);
  const { disk, diffId, bytes, release } = await disks.addLayer(below, request.tar, signal);
  try {
    const created = new Date().toISOString();
    const { architecture, variant, os, osVersion, diffIds, history } = parent.configuration;
    const isEmpty = diffId === EMPTY_LAYER_DIFF_ID;
    const entry = {
      created,
      ...(request.author ? { author: request.author } : {}),
      ...(request.createdBy === "" ? {} : { created_by: request.createdBy }),
      ...(request.comment ? { comment: request.comment } : {}),
      ...(isEmpty ? { empty_layer: true } : {}),
    };
    const text = JSON.stringify({
      architecture,
      ...(variant === undefined ? {} : { variant }),
      os,
      ...(osVersion === undefined ? {} : { "os.version": osVersion }),
      created,
      ...(request.author ? { author: request.author } : {}),
      ...(request.comment ? { comment: request.comment } : {}),
      config,
      rootfs: { type: "layers", diff_ids: isEmpty ? diffIds : [...diffIds, diffId] },
      history: [
        ...history.map(({ empty_layer, ...rest }) => ({ ...rest, ...(empty_layer ? { empty_layer } : {}) })),
        entry,
      ],
    });
    const id = digestOf(text);
    const sizeBytes = parent.record.sizeBytes + bytes;
    await catalog.addImage({ version: 1, id, disk: disk.name, sizeBytes, storedAt: created }, text, undefined);
    const { reference } = request;
    if (reference !== undefined)
      await catalog.changeRepositories((repositories) => setName(repositories, reference, id));
    return id;
  } finally {
    release();
  }
}
