/** Images as the Docker API shows them: list, inspect, history. */
import type { Filters, Schemas } from "../contract.ts";
import { invalid } from "../errors.ts";
import { anyOf, booleanFilter, checkFilters, labelsMatch } from "../filters.ts";
import { parseFilterTime, parseTime, ZERO_TIME } from "../time.ts";
import type { Catalog, CatalogImage } from "./catalog.ts";
import type { ImageUsage } from "./contract.ts";
import { findImage, namesByImage, parentIds } from "./names.ts";
import { checkPlatform } from "./platform.ts";
import { matchesReference } from "./reference-pattern.ts";

const created = (image: CatalogImage): bigint => parseTime(image.configuration.created) ?? 0n;
const createdSeconds = (image: CatalogImage): number => Number(created(image) / 1_000_000_000n);

export function listImages(
  catalog: Catalog,
  usage: ImageUsage,
  options: { all: boolean; digests: boolean; filters: Filters },
): Schemas["ImageSummary"][] {
  const { filters } = options;
  checkFilters(filters, ["dangling", "label", "label!", "before", "since", "until", "reference"]);
  const names = namesByImage(catalog.repositories);
  const parents = parentIds(catalog);
  const dangling = booleanFilter(filters, "dangling");
  const newest = (values: readonly string[] | undefined): bigint[] =>
    (values ?? []).map((value) => created(findImage(catalog, value).image));
  const before = newest(filters.get("before"));
  const since = newest(filters.get("since"));
  const until = (filters.get("until") ?? []).map((value) => {
    const time = parseFilterTime(value);
    if (time === undefined) throw invalid(`invalid value for "until" filter: "${value}"`);
    return time;
  });

  const summaries: Schemas["ImageSummary"][] = [];
  for (const [id, image] of catalog.images) {
    if (image.record.hidden) continue;
    let { tags, digests } = names.get(id) ?? { tags: [], digests: [] };
    if (dangling !== undefined && dangling !== (tags.length === 0)) continue;
    // What only leads to another image is shown by --all.
    if (!options.all && tags.length === 0 && digests.length === 0 && parents.has(id)) continue;
    if (!labelsMatch(filters, image.configuration.config.Labels ?? {})) continue;
    const time = created(image);
    if (before.some((limit) => time >= limit) || since.some((limit) => time <= limit)) continue;
    if (until.some((limit) => time > limit)) continue;
    if (filters.get("reference")?.length) {
      const matching = (list: string[]): string[] =>
        list.filter((name) => anyOf(filters, "reference", (pattern) => matchesReference(pattern, name)));
      tags = matching(tags);
      digests = matching(digests);
      if (tags.length === 0 && digests.length === 0) continue;
    }
    summaries.push({
      Id: id,
      ParentId: parentOf(catalog, image) ?? "",
      RepoTags: tags,
      RepoDigests: digests,
      Created: createdSeconds(image),
      Size: image.record.sizeBytes,
      SharedSize: -1,
      Labels: image.configuration.config.Labels ?? {},
      Containers: usage.containersOf(id).length,
    });
  }
  return summaries.sort((a, b) => b.Created - a.Created);
}

/** The image that this one was made of, when it is still there. */
function parentOf(catalog: Catalog, { record }: CatalogImage): string | undefined {
  const parent = record.parent === undefined ? undefined : catalog.images.get(record.parent);
  return parent === undefined || parent.record.hidden ? undefined : parent.record.id;
}

export function inspectImage(catalog: Catalog, reference: string, platform?: string): Schemas["ImageInspect"] {
  const { image } = findImage(catalog, reference);
  checkPlatform(image, reference, platform);
  const { record, configuration } = image;
  const { tags, digests } = namesByImage(catalog.repositories).get(record.id) ?? { tags: [], digests: [] };
  const { config } = configuration;
  return {
    Id: record.id,
    RepoTags: tags,
    RepoDigests: digests,
    Comment: configuration.comment ?? "",
    Created: configuration.created ?? ZERO_TIME,
    Author: configuration.author ?? "",
    Config: {
      ...(config as Schemas["ImageConfig"]),
      ArgsEscaped: config.ArgsEscaped ?? null,
    },
    Architecture: configuration.architecture,
    ...(configuration.variant === undefined ? {} : { Variant: configuration.variant }),
    Os: configuration.os,
    ...(configuration.osVersion === undefined ? {} : { OsVersion: configuration.osVersion }),
    Size: record.sizeBytes,
    GraphDriver: {
      Name: "vmdk",
      Data: {
        Disk: catalog.layout.disk(record.disk).file,
        Depth: String(catalog.disks.get(record.disk)?.depth ?? 0),
      },
    },
    RootFS: { Type: "layers", ...(configuration.diffIds.length === 0 ? {} : { Layers: configuration.diffIds }) },
    Metadata: { LastTagTime: catalog.repositories.lastTagged[record.id] ?? ZERO_TIME },
  };
}

/** Newest first, as `docker history` shows it. */
export function imageHistory(catalog: Catalog, reference: string, platform?: string): Record<string, unknown>[] {
  const { image } = findImage(catalog, reference);
  checkPlatform(image, reference, platform);
  const { record, configuration } = image;
  const names = namesByImage(catalog.repositories);
  const sizes = catalog
    .lineage(record.disk)
    .toReversed()
    .flatMap(({ layers }) => layers.map(({ bytes }) => bytes));
  // Configurations without history (docker import by other tools) still have layers.
  const entries =
    configuration.history.length > 0
      ? configuration.history
      : configuration.diffIds.map(() => ({ empty_layer: false }));
  let layer = 0;
  const rows = entries.map((entry: (typeof configuration.history)[number]) => ({
    Id: "<missing>",
    Created: Number((parseTime(entry.created) ?? 0n) / 1_000_000_000n),
    CreatedBy: entry.created_by ?? "",
    Tags: null as string[] | null,
    Size: entry.empty_layer ? 0 : (sizes[layer++] ?? 0),
    Comment: entry.comment ?? "",
  }));
  rows.reverse();
  // Every entry of a build is an image of its own: as far down as they are here, their ids are known.
  let described: CatalogImage | undefined = image;
  for (const row of rows) {
    if (described === undefined) break;
    const tags = names.get(described.record.id)?.tags ?? [];
    row.Id = described.record.id;
    row.Tags = tags.length === 0 ? null : tags;
    const parent: string | undefined = parentOf(catalog, described);
    const below: CatalogImage | undefined = parent === undefined ? undefined : catalog.images.get(parent);
    described =
      below && below.configuration.history.length === described.configuration.history.length - 1 ? below : undefined;
  }
  return rows;
}
