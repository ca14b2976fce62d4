/** The image store as builds see it: steps are images that remember their parent and what made them. */
import type { Platform } from "../../registry/manifest.ts";
import { EngineError, notFound } from "../errors.ts";
import type { LoaderPool } from "../loader/contract.ts";
import { parseTime } from "../time.ts";
import { addLayer } from "./add-layer.ts";
import { cachedStep } from "./cache-from.ts";
import type { Catalog, CatalogImage } from "./catalog.ts";
import type { BuildStepImage, BuildSteps } from "./contract.ts";
import type { DiskStore } from "./disk-store.ts";
import { withFiles } from "./layer-writer.ts";
import { namesByImage } from "./names.ts";
import { deleteImage, type RemoveContext } from "./remove.ts";

export interface BuildStepsOptions {
  catalog: Catalog;
  disks: DiskStore;
  loaders: LoaderPool;
  platform: Platform;
  removal: RemoveContext;
  /** One removal at a time. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
}

export function makeBuildSteps(options: BuildStepsOptions): BuildSteps {
  const { catalog, loaders, removal } = options;
  const shown = (id: string): CatalogImage => {
    const image = catalog.images.get(id);
    if (image === undefined || image.record.hidden) throw notFound(`No such image: ${id}`);
    return image;
  };
  const cached = (parent: string | undefined, buildKey: string): string | undefined => {
    const made = [...catalog.images.values()].filter(
      ({ record }) => record.parent === parent && record.buildKey === buildKey && !record.hidden,
    );
    made.sort((a, b) => (a.record.storedAt < b.record.storedAt ? 1 : -1));
    return made[0]?.record.id;
  };
  return {
    configurationOf: (imageId) => shown(imageId).configuration,
    cached,
    cachedFrom: (request, signal) => cachedStep(options, request, cached(request.parent, request.buildKey), signal),
    add: (step, signal) =>
      addLayer(options, { ...step, changes: [], comment: undefined, reference: undefined }, signal),
    async withFiles(imageId, work) {
      const { file } = catalog.layout.disk(shown(imageId).record.disk);
      return loaders.use([{ path: file, readOnly: true }], ({ link, disks: [disk] }) => {
        if (disk === undefined) throw new EngineError("internal", "the loader VM has no address for the image disk");
        return withFiles(link, disk, work);
      });
    },
    prune: (chosen) =>
      options.exclusively(async () => {
        const deleted: string[] = [];
        let bytes = 0;
        for (const image of removable(removal)) {
          if (!chosen(image)) continue;
          deleted.push(image.id);
          bytes += await deleteImage(removal, image.id, []);
        }
        return { deleted, bytes };
      }),
  };
}

/** Steps that only a cache lookup would use again: without a name and without containers. */
function removable({ catalog, usage, isHeld }: RemoveContext): BuildStepImage[] {
  const names = namesByImage(catalog.repositories);
  return [...catalog.images]
    .filter(
      ([id, { record }]) =>
        record.buildKey !== undefined &&
        !record.hidden &&
        (names.get(id)?.tags.length ?? 0) + (names.get(id)?.digests.length ?? 0) === 0 &&
        usage.containersOf(id).length === 0 &&
        !isHeld(id),
    )
    .map(([id, { record, configuration }]) => ({
      id,
      parent: record.parent,
      createdBy: configuration.history.at(-1)?.created_by ?? "",
      created: parseTime(configuration.created) ?? 0n,
    }));
}
