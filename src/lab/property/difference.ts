import { isDataObject } from "../model/data.ts";
import { elementKey, elementPath } from "./path.ts";

export interface PropertyChange {
  name: string;
  op: "assign" | "add" | "remove" | "indirectRemove";
  value?: unknown;
}

/** How the whole property at `path` went from `before` to `after`; nothing when they are equal. */
export function wholeChange(path: string, before: unknown, after: unknown): PropertyChange[] {
  if (Bun.deepEquals(before, after)) return [];
  return after === undefined ? [{ name: path, op: "indirectRemove" }] : [{ name: path, op: "assign", value: after }];
}

/** As `wholeChange`, but names the smallest changed parts: fields of data objects and keyed list elements. */
export function partialChange(path: string, before: unknown, after: unknown): PropertyChange[] {
  if (Bun.deepEquals(before, after)) return [];
  if (isDataObject(before) && isDataObject(after) && before._type === after._type) {
    const names = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...names].flatMap((name) => partialChange(`${path}.${name}`, before[name], after[name]));
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    const old = keyed(before);
    const next = keyed(after);
    if (old && next) return listChange(path, old, next);
  }
  return wholeChange(path, before, after);
}

function keyed(list: unknown[]): Map<string | number, unknown> | undefined {
  const result = new Map<string | number, unknown>();
  for (const element of list) {
    const key = isDataObject(element) ? elementKey(element) : undefined;
    if (key === undefined || (typeof key === "string" && key.includes('"'))) return undefined;
    result.set(key, element);
  }
  return result.size === list.length ? result : undefined;
}

function listChange(path: string, before: Map<string | number, unknown>, after: Map<string | number, unknown>) {
  const changes: PropertyChange[] = [];
  for (const key of before.keys()) if (!after.has(key)) changes.push({ name: elementPath(path, key), op: "remove" });
  for (const [key, value] of after) {
    const name = elementPath(path, key);
    if (!before.has(key)) changes.push({ name, op: "add", value });
    else changes.push(...partialChange(name, before.get(key), value));
  }
  return changes;
}
