/**
 * GET /system/df in the two shapes of its history: lists up to 1.51, which is what the engine gives, and totals per kind
 * (with the lists on `verbose`) from 1.52 on. 1.52 alone carries both.
 */
import type { ApiVersion } from "../api-version.ts";

const TOTALS_SINCE = 52;
const LISTS_UNTIL = 52;
const ACTIVE_STATES: readonly unknown[] = ["running", "paused", "restarting"];

type Item = Record<string, unknown>;

interface Kind {
  type: string;
  list: string;
  totals: string;
  active(item: Item): boolean;
  size(item: Item): number;
}

const KINDS: readonly Kind[] = [
  {
    type: "image",
    list: "Images",
    totals: "ImageUsage",
    active: (image) => number(image.Containers) > 0,
    size: (image) => number(image.Size),
  },
  {
    type: "container",
    list: "Containers",
    totals: "ContainerUsage",
    active: (container) => ACTIVE_STATES.includes(container.State),
    size: (container) => number(container.SizeRw),
  },
  {
    type: "volume",
    list: "Volumes",
    totals: "VolumeUsage",
    active: (volume) => number(record(volume.UsageData).RefCount) > 0,
    size: (volume) => number(record(volume.UsageData).Size),
  },
  {
    type: "build-cache",
    list: "BuildCache",
    totals: "BuildCacheUsage",
    active: (entry) => entry.InUse === true,
    size: (entry) => number(entry.Size),
  },
];

/** `usage` is the engine's answer for `types`, as lists. */
export function diskUsageForVersion(
  usage: Record<string, unknown>,
  types: readonly string[],
  version: ApiVersion,
  verbose: boolean,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  const lists = version < TOTALS_SINCE || (version <= LISTS_UNTIL && !verbose);
  if (lists) result.LayersSize = number(usage.LayersSize);
  for (const kind of KINDS) {
    const wanted = types.includes(kind.type);
    const given = usage[kind.list];
    const items: Item[] = Array.isArray(given) ? given.map(record) : [];
    if (lists) result[kind.list] = wanted ? items : null;
    if (version < TOTALS_SINCE || !wanted) continue;
    const total = kind.type === "image" ? number(usage.LayersSize) : sum(items, kind);
    const inUse = items.filter(kind.active);
    result[kind.totals] = {
      ActiveCount: inUse.length,
      TotalCount: items.length,
      Reclaimable: Math.max(0, total - sum(inUse, kind)),
      TotalSize: total,
      ...(verbose ? { Items: items } : {}),
    };
  }
  return result;
}

function sum(items: readonly Item[], kind: Kind): number {
  return items.reduce((total, item) => total + kind.size(item), 0);
}

/** Sizes that are not known are -1 in Docker's shapes: they count as nothing. */
function number(value: unknown): number {
  return typeof value === "number" && value > 0 ? value : 0;
}

function record(value: unknown): Item {
  return typeof value === "object" && value !== null ? { ...value } : {};
}
