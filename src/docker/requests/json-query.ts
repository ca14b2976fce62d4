/** Query parameters that carry JSON. */
import { invalid } from "../../engine/errors.ts";
import type { ApiContext } from "../environment.ts";
import { textQuery } from "./query.ts";

const MAX_LENGTH = 1024 * 1024;
const MAX_ENTRIES = 10_000;

/** `{"name":"value"}`; null values only where they mean something. Throws `invalid` with the parameter's name. */
export function stringMapQuery(
  c: ApiContext,
  name: string,
  { nulls }: { nulls: boolean },
): ReadonlyMap<string, string | null> {
  const value = jsonQuery(c, name);
  const result = new Map<string, string | null>();
  if (value === undefined || value === null) return result;
  if (typeof value !== "object" || Array.isArray(value)) throw mismatch(name, "an object");
  for (const [key, item] of entriesOf(value, name)) {
    if (typeof item !== "string" && !(nulls && item === null)) throw mismatch(name, "an object of strings");
    result.set(key, item as string | null);
  }
  return result;
}

/** `["a","b"]` */
export function textListQuery(c: ApiContext, name: string): string[] {
  const value = jsonQuery(c, name);
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > MAX_ENTRIES || !value.every((item) => typeof item === "string"))
    throw mismatch(name, "a list of strings");
  return value;
}

export function jsonQuery(c: ApiContext, name: string): unknown {
  const text = textQuery(c, name);
  if (text === undefined) return undefined;
  if (text.length > MAX_LENGTH) throw invalid(`invalid value for "${name}": longer than ${MAX_LENGTH} characters`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw error instanceof SyntaxError ? mismatch(name, "JSON") : error;
  }
}

function entriesOf(value: object, name: string): [string, unknown][] {
  const entries = Object.entries(value);
  if (entries.length > MAX_ENTRIES) throw invalid(`invalid value for "${name}": more than ${MAX_ENTRIES} entries`);
  return entries;
}

const mismatch = (name: string, wanted: string): Error => invalid(`invalid value for "${name}": it must be ${wanted}`);
