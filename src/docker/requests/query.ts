/** Query parameters as Docker reads them, with a 400 that names the parameter when a value makes no sense. */
import type { Filters } from "../../engine/contract.ts";
import { invalid } from "../../engine/errors.ts";
import type { ApiContext } from "../environment.ts";
import { parseTimestamp } from "./timestamp.ts";

const FALSE_VALUES = new Set(["", "0", "no", "false", "none"]);
const MAX_UINT32 = 0xffffffff;
const MAX_FILTERS_LENGTH = 32 * 1024;

/** Docker's rule: everything is true except the empty string, 0, no, false and none. */
export function booleanQuery(c: ApiContext, name: string, absent = false): boolean {
  const value = c.req.query(name);
  return value === undefined ? absent : !FALSE_VALUES.has(value.trim().toLowerCase());
}

/** Undefined when absent or empty. */
export function textQuery(c: ApiContext, name: string): string | undefined {
  const value = c.req.query(name);
  return value === undefined || value === "" ? undefined : value;
}

export function requiredQuery(c: ApiContext, name: string): string {
  const value = textQuery(c, name);
  if (value === undefined) throw invalid(`missing query parameter "${name}"`);
  return value;
}

export function integerQuery(c: ApiContext, name: string): number | undefined {
  const value = textQuery(c, name);
  if (value === undefined) return undefined;
  if (!/^[+-]?\d{1,15}$/.test(value)) throw invalid(`invalid value for "${name}": "${value}" is not an integer`);
  return Number(value);
}

/** A terminal dimension. */
export function dimensionQuery(c: ApiContext, name: string, meaning: string): number {
  const value = c.req.query(name) ?? "";
  const parsed = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
  if (!(parsed <= MAX_UINT32)) throw invalid(`invalid resize ${meaning} "${value}": must be an unsigned 32-bit number`);
  return parsed;
}

/** Nanoseconds since the epoch. */
export function timestampQuery(c: ApiContext, name: string): bigint | undefined {
  const value = textQuery(c, name);
  if (value === undefined) return undefined;
  const parsed = parseTimestamp(value, Date.now());
  if (parsed === undefined) {
    throw invalid(
      `invalid value for "${name}": "${value}" is neither Unix seconds, an RFC 3339 time nor a duration such as 10m`,
    );
  }
  return parsed;
}

/** `filters`: `{"label":["a","b"]}`, or as clients before API 1.22 wrote it `{"label":{"a":true,"b":true}}`. */
export function filtersQuery(c: ApiContext, accepted?: readonly string[]): Filters {
  const text = textQuery(c, "filters");
  const filters = new Map<string, readonly string[]>();
  if (text === undefined) return filters;
  const malformed = (): Error => invalid('invalid filter: "filters" must be a JSON object of lists of strings');
  if (text.length > MAX_FILTERS_LENGTH) throw invalid(`invalid filter: longer than ${MAX_FILTERS_LENGTH} characters`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw malformed();
  }
  if (parsed === null) return filters;
  if (typeof parsed !== "object" || Array.isArray(parsed)) throw malformed();
  for (const [name, values] of Object.entries(parsed)) {
    if (accepted !== undefined && !accepted.includes(name)) throw invalid(`invalid filter '${name}'`);
    filters.set(name, filterValues(values, malformed));
  }
  return filters;
}

function filterValues(values: unknown, malformed: () => Error): string[] {
  if (Array.isArray(values)) {
    if (!values.every((value): value is string => typeof value === "string")) throw malformed();
    return values;
  }
  if (typeof values !== "object" || values === null) throw malformed();
  return Object.entries(values).flatMap(([value, wanted]) => {
    if (typeof wanted !== "boolean") throw malformed();
    return wanted ? [value] : [];
  });
}
