/** docker search. */
import type { RegistryClient } from "../../registry/client.ts";
import type { Filters, RegistryCredentials } from "../contract.ts";
import { invalid } from "../errors.ts";
import { booleanFilter, checkFilters } from "../filters.ts";
import { engineError } from "./registry-errors.ts";

/** As dockerd: what Docker Hub gives at most on one page. */
const LIMIT = 100;
const DEFAULT_LIMIT = 25;

export async function searchImages(
  registry: RegistryClient,
  term: string,
  options: { limit: number; filters: Filters; credentials?: RegistryCredentials; signal: AbortSignal },
): Promise<Record<string, unknown>[]> {
  const { limit, filters, credentials, signal } = options;
  if (limit < 0 || limit > LIMIT) throw invalid(`limit ${limit} is outside the range of [1, ${LIMIT}]`);
  checkFilters(filters, ["is-automated", "is-official", "stars"]);
  const automated = booleanFilter(filters, "is-automated");
  const official = booleanFilter(filters, "is-official");
  const stars = (filters.get("stars") ?? []).map((value) => {
    if (!/^\d{1,9}$/.test(value)) throw invalid(`invalid filter 'stars=${value}'`);
    return Number(value);
  });
  try {
    const found = await registry.search(term, limit || DEFAULT_LIMIT, credentials, signal);
    return found
      .filter((entry) => official === undefined || entry.is_official === official)
      .filter((entry) => automated === undefined || entry.is_automated === automated)
      .filter((entry) => stars.every((least) => entry.star_count >= least))
      .map((entry) => ({ ...entry }));
  } catch (error) {
    throw engineError(error);
  }
}
