/** GET /system/df in the two shapes of its history: lists up to 1.51, totals with lists from 1.52 on. */
import type { ApiVersion } from "../api-version.ts";

/** First version with the totals; it carries the old lists too, 1.53 no longer does. */
const TOTALS_SINCE = 52;
const LISTS_UNTIL = 52;

const KINDS = [
  { type: "image", totals: "ImageUsage", list: "Images" },
  { type: "container", totals: "ContainerUsage", list: "Containers" },
  { type: "volume", totals: "VolumeUsage", list: "Volumes" },
  { type: "build-cache", totals: "BuildCacheUsage", list: "BuildCache" },
] as const;

interface Usage {
  ActiveCount: number;
  TotalCount: number;
  Reclaimable: number;
  TotalSize: number;
  Items?: unknown[];
}

const NOTHING: Usage = { ActiveCount: 0, TotalCount: 0, Reclaimable: 0, TotalSize: 0, Items: [] };

/** `usage` is the engine's answer in the newest shape, with items. There is no build cache: it is reported as empty. */
export function diskUsageForVersion(
  usage: Record<string, unknown>,
  types: readonly string[],
  version: ApiVersion,
  verbose: boolean,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  const legacy = version < TOTALS_SINCE || (version <= LISTS_UNTIL && !verbose);
  for (const { type, totals, list } of KINDS) {
    if (!types.includes(type)) {
      if (legacy) result[list] = null;
      continue;
    }
    const all = isUsage(usage[totals]) ? usage[totals] : NOTHING;
    if (legacy) {
      result[list] = all.Items ?? [];
      if (type === "image") result.LayersSize = all.TotalSize;
    }
    if (version >= TOTALS_SINCE) {
      const { Items, ...rest } = all;
      result[totals] = verbose ? { ...rest, Items: Items ?? [] } : rest;
    }
  }
  return result;
}

function isUsage(value: unknown): value is Usage {
  return typeof value === "object" && value !== null && "TotalCount" in value;
}
