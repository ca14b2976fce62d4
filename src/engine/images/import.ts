/** docker import: a root filesystem as an image of one layer. */
import { digestOf } from "../../registry/digest.ts";
import type { Platform } from "../../registry/manifest.ts";
import type { ImageReference } from "../../registry/reference.ts";
import { download, isUrl } from "../build/download.ts";
import type { ProgressSink } from "../contract.ts";
import { invalid } from "../errors.ts";
import type { Catalog } from "./catalog.ts";
import { applyChanges } from "./changes.ts";
import type { DiskStore } from "./disk-store.ts";
import { setName } from "./names.ts";
import { readPlatform } from "./platform.ts";
import { layersSize } from "./pull.ts";

export interface ImportRequest {
  reference: ImageReference | undefined;
  message: string | undefined;
  changes: readonly string[];
  platform: string | undefined;
}

/** Answers the image's id. */
export async function importImage(
  { catalog, disks, platform }: { catalog: Catalog; disks: DiskStore; platform: Platform },
  tar: AsyncIterable<Uint8Array>,
  request: ImportRequest,
  progress: ProgressSink,
  signal: AbortSignal,
): Promise<string> {
  const config = applyChanges(request.changes);
  const target = importPlatform(request.platform, platform);
  const { disk, release } = await disks.makeFromTar(tar, signal);
  try {
    const created = new Date().toISOString();
    const comment = request.message || "Imported from -";
    const text = JSON.stringify({
      architecture: target.architecture,
      ...(target.variant === undefined ? {} : { variant: target.variant }),
      os: target.os,
      created,
      comment,
      config,
      rootfs: { type: "layers", diff_ids: disk.layers.map(({ diffId }) => diffId) },
      history: [{ created, comment }],
    });
    const id = digestOf(text);
    await catalog.addImage(
      { version: 1, id, disk: disk.name, sizeBytes: layersSize(disk.layers), storedAt: created },
      text,
      undefined,
    );
    const { reference } = request;
    if (reference !== undefined)
      await catalog.changeRepositories((repositories) => setName(repositories, reference, id));
    progress({ status: id });
    return id;
  } finally {
    release();
  }
}

/** What Docker takes for an address: one without a scheme is of the web, too. */
export async function downloaded(
  url: string,
  progress: ProgressSink,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(url) ? url : `http://${url}`;
  if (!isUrl(address)) throw invalid(`${url} is no address of the web: only http and https are supported`);
  progress({ status: `Downloading from ${address}` });
  return (await download(address, signal)).body;
}

function importPlatform(text: string | undefined, own: Platform): Platform {
  if (text === undefined || text === "") return own;
  const platform = readPlatform(text, own);
  if (platform.os !== "linux") throw invalid(`operating system is not supported: ${platform.os}`);
  return platform;
}
