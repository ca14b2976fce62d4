/** docker rmi and docker image prune. */
import { familiarString } from "../../registry/reference.ts";
import type { Filters, Schemas } from "../contract.ts";
import { conflict, invalid } from "../errors.ts";
import { booleanFilter, checkFilters, labelsMatch } from "../filters.ts";
import { shortId } from "../identifiers.ts";
import { parseFilterTime, parseTime } from "../time.ts";
import type { Catalog } from "./catalog.ts";
import type { ImageUsage } from "./contract.ts";
import type { DiskStore } from "./disk-store.ts";
import { hexOf } from "./layout.ts";
import { findImage, namesByImage, parentIds, referencesOf, removeName } from "./names.ts";

type DeletedItem = Schemas["ImageDeleteResponseItem"];

export interface RemoveContext {
  catalog: Catalog;
  disks: DiskStore;
  usage: ImageUsage;
  /** Images that a container is being made from. */
  isHeld(imageId: string): boolean;
  publish(action: "untag" | "delete", imageId: string, name: string): void;
}

const shortImage = (id: string): string => shortId(hexOf(id));

export async function removeImage(
  context: RemoveContext,
  text: string,
  options: { force: boolean; noPrune: boolean },
): Promise<DeletedItem[]> {
  const { catalog, usage } = context;
  const { image, reference } = findImage(catalog, text);
  const { id } = image.record;
  const containers = usage.containersOf(id);
  const references = referencesOf(catalog.repositories, id);
  const tags = references.filter(({ tag }) => tag !== undefined);
  const deleted: DeletedItem[] = [];

  if (reference !== undefined) {
    // By name: the name goes, and the image with it when that was the last tag.
    const isLast =
      reference.digest === undefined
        ? tags.length <= 1
        : references.length <= 1 || (tags.length === 0 && references.length <= 1);
    const [container] = containers;
    if (isLast && container !== undefined && !options.force) {
      throw conflict(
        `conflict: unable to remove repository reference "${text}" (must force) - container ${shortId(container.id)} is using its referenced image ${shortImage(id)}`,
      );
    }
    if (!isLast) {
      await untag(context, id, [reference], deleted);
      return deleted;
    }
    // Other images were made of it: it only loses its name, as with Docker.
    if (parentIds(catalog).has(id)) {
      await untag(context, id, references, deleted);
      return deleted;
    }
    refuseBusy(context, id, options.force);
  } else {
    const repositories = new Set(references.map(({ domain, path }) => `${domain}/${path}`));
    if (parentIds(catalog).has(id))
      throw conflict(
        `conflict: unable to delete ${shortImage(id)} (cannot be forced) - image has dependent child images`,
      );
    refuseBusy(context, id, options.force);
    if (repositories.size > 1 && !options.force) {
      throw conflict(
        `conflict: unable to delete ${shortImage(id)} (must be forced) - image is referenced in multiple repositories`,
      );
    }
  }
  await untag(context, id, references, deleted);
  const parent = image.record.parent;
  await deleteImage(context, id, deleted);
  if (!options.noPrune) await deleteUnusedParents(context, parent, deleted);
  return deleted;
}

/** Steps of a build go with the image that they led to, unless something else uses them. */
async function deleteUnusedParents(
  context: RemoveContext,
  first: string | undefined,
  deleted: DeletedItem[],
): Promise<number> {
  const { catalog, usage } = context;
  let bytes = 0;
  for (let id = first; id !== undefined; ) {
    const image = catalog.images.get(id);
    if (image === undefined || image.record.hidden || context.isHeld(id)) break;
    const isUsed =
      parentIds(catalog).has(id) ||
      usage.containersOf(id).length > 0 ||
      referencesOf(catalog.repositories, id).length > 0;
    if (isUsed) break;
    const { parent }: { parent?: string } = image.record;
    bytes += await deleteImage(context, id, deleted);
    id = parent;
  }
  return bytes;
}

function refuseBusy(context: RemoveContext, id: string, force: boolean): void {
  const containers = context.usage.containersOf(id);
  const running = containers.find((container) => container.running);
  if (running !== undefined) {
    throw conflict(
      `conflict: unable to delete ${shortImage(id)} (cannot be forced) - image is being used by running container ${shortId(running.id)}`,
    );
  }
  if (context.isHeld(id)) {
    throw conflict(
      `conflict: unable to delete ${shortImage(id)} (cannot be forced) - a container is being created from the image`,
    );
  }
  const [stopped] = containers;
  if (stopped !== undefined && !force) {
    throw conflict(
      `conflict: unable to delete ${shortImage(id)} (must be forced) - image is being used by stopped container ${shortId(stopped.id)}`,
    );
  }
}

async function untag(
  { catalog, publish }: RemoveContext,
  id: string,
  references: ReturnType<typeof referencesOf>,
  deleted: DeletedItem[],
): Promise<void> {
  if (references.length === 0) return;
  await catalog.changeRepositories((repositories) => {
    for (const reference of references) removeName(repositories, reference);
  });
  for (const reference of references) {
    const name = familiarString(reference);
    deleted.push({ Untagged: name });
    publish("untag", id, name);
  }
}

/** Answers the bytes that came free. */
export async function deleteImage(context: RemoveContext, id: string, deleted: DeletedItem[]): Promise<number> {
  const { catalog, disks, usage, publish } = context;
  const image = catalog.images.get(id);
  if (image === undefined) return 0;
  await catalog.changeRepositories((repositories) => {
    delete repositories.lastTagged[id];
  });
  deleted.push({ Deleted: id });
  // Also when a container began to be made from it in the meantime.
  if (usage.containersOf(id).length > 0 || context.isHeld(id)) {
    await catalog.hideImage(id);
    publish("delete", id, id);
    return 0;
  }
  await catalog.removeImage(id);
  publish("delete", id, id);
  return removeDisks(catalog, disks, deleted);
}

async function removeDisks(catalog: Catalog, disks: DiskStore, deleted: DeletedItem[]): Promise<number> {
  let bytes = 0;
  for (const disk of await catalog.removeUnusedDisks(disks.pinned)) {
    for (const layer of disk.layers.toReversed()) {
      deleted.push({ Deleted: layer.chainId });
      bytes += layer.bytes;
    }
  }
  return bytes;
}

/** Removes images that were removed by force while containers used them, once these have gone. */
export async function collectHidden(context: RemoveContext): Promise<void> {
  const { catalog, usage } = context;
  let any = false;
  for (const [id, { record }] of catalog.images) {
    if (!record.hidden || usage.containersOf(id).length > 0 || context.isHeld(id)) continue;
    await catalog.removeImage(id);
    any = true;
  }
  if (any) await removeDisks(catalog, context.disks, []);
}

export async function pruneImages(
  context: RemoveContext,
  filters: Filters,
): Promise<{ ImagesDeleted: DeletedItem[]; SpaceReclaimed: number }> {
  const { catalog, usage } = context;
  checkFilters(filters, ["dangling", "label", "label!", "until"]);
  const danglingOnly = booleanFilter(filters, "dangling") ?? true;
  const until = (filters.get("until") ?? []).map((value) => {
    const time = parseFilterTime(value);
    if (time === undefined) throw invalid(`invalid value for "until" filter: "${value}"`);
    return time;
  });
  await collectHidden(context);
  const names = namesByImage(catalog.repositories);
  const deleted: DeletedItem[] = [];
  let space = 0;
  // Children before their parents: what is made of an image keeps it.
  const newestFirst = [...catalog.images].sort(([, a], [, b]) => (a.record.storedAt < b.record.storedAt ? 1 : -1));
  for (const [id, { record, configuration }] of newestFirst) {
    if (record.hidden || usage.containersOf(id).length > 0 || context.isHeld(id)) continue;
    if (danglingOnly && (names.get(id)?.tags.length ?? 0) > 0) continue;
    if (parentIds(catalog).has(id) || !catalog.images.has(id)) continue;
    if (!labelsMatch(filters, configuration.config.Labels ?? {})) continue;
    const time = parseTime(configuration.created) ?? 0n;
    if (until.some((limit) => time > limit)) continue;
    await untag(context, id, referencesOf(catalog.repositories, id), deleted);
    space += await deleteImage(context, id, deleted);
    space += await deleteUnusedParents(context, record.parent, deleted);
  }
  return { ImagesDeleted: deleted, SpaceReclaimed: space };
}
