/** `docker builder prune`: the build cache of the classic builder are images of steps, which no name leads to any more. */
import type { Filters } from "../contract.ts";
import { invalid } from "../errors.ts";
import { booleanFilter, checkFilters } from "../filters.ts";
import type { BuildStepImage, BuildSteps } from "../images/contract.ts";
import { parseFilterTime } from "../time.ts";

export async function pruneBuildCache(
  steps: BuildSteps,
  filters: Filters,
): Promise<{ CachesDeleted: string[]; SpaceReclaimed: number }> {
  checkFilters(filters, ["until", "id", "parent", "inuse", "shared", "type", "description"]);
  for (const name of ["shared", "type"])
    if (filters.has(name))
      throw invalid(
        `the filter ${name} is BuildKit's: steps of the classic builder are found by until, id, parent and description`,
      );
  // Steps that containers or names use are never removed.
  if (booleanFilter(filters, "inuse") === true) return { CachesDeleted: [], SpaceReclaimed: 0 };
  const untils = (filters.get("until") ?? []).map((text) => {
    const time = parseFilterTime(text);
    if (time === undefined) throw invalid(`invalid value for "until" filter: "${text}"`);
    return time;
  });
  const matches = (name: string, test: (value: string) => boolean): boolean => {
    const values = filters.get(name) ?? [];
    return values.length === 0 || values.some(test);
  };
  const isId = (id: string | undefined, value: string): boolean =>
    (id ?? "").replace(/^sha256:/, "").startsWith(value.replace(/^sha256:/, ""));
  const chosen = (image: BuildStepImage): boolean =>
    untils.every((time) => image.created <= time) &&
    matches("id", (value) => isId(image.id, value)) &&
    matches("parent", (value) => isId(image.parent, value)) &&
    matches("description", (value) => image.createdBy.includes(value));
  const { deleted, bytes } = await steps.prune(chosen);
  return { CachesDeleted: deleted, SpaceReclaimed: bytes };
}
