import { LabFault } from "../fault.ts";
import { isDataObject, isReference } from "../model/data.ts";

export interface Segment {
  name: string;
  /** `device[4000]`, `extraConfig["guestinfo.x"]`: the element with this key. */
  key?: string;
}

const PATH_LIMIT = 1024;
const SEGMENT = /([A-Za-z_][A-Za-z0-9_]*)(?:\[(?:"([^"]*)"|([^\]"]+))\])?(?:\.|$)/y;

export const invalidProperty = (name: string): LabFault =>
  new LabFault("InvalidProperty", `The property path '${name}' is invalid.`, { name });

/** Takes a property path apart. Throws InvalidProperty. */
export function parsePropertyPath(path: string): [Segment, ...Segment[]] {
  const segments: Segment[] = [];
  SEGMENT.lastIndex = 0;
  while (path.length <= PATH_LIMIT && SEGMENT.lastIndex < path.length) {
    const match = SEGMENT.exec(path);
    if (!match?.[1]) break;
    const key = match[2] ?? match[3];
    segments.push(key === undefined ? { name: match[1] } : { name: match[1], key });
    if (SEGMENT.lastIndex === path.length && !path.endsWith(".")) {
      const [first, ...rest] = segments;
      if (first) return [first, ...rest];
    }
  }
  throw invalidProperty(path);
}

/** The key by which an element of a list is addressed in a path and in partial updates. */
export function elementKey(element: unknown): string | number | undefined {
  if (isReference(element)) return element.value;
  if (!isDataObject(element)) return undefined;
  const key = element.key;
  return typeof key === "string" || typeof key === "number" ? key : undefined;
}

/** Spells an element of the list at `path`. */
export const elementPath = (path: string, key: string | number): string =>
  typeof key === "number" ? `${path}[${key}]` : `${path}["${key}"]`;

/** Follows `segments` from the value of the property that the first one names. undefined: something on the way is unset. */
export function followPath(property: unknown, segments: readonly Segment[]): unknown {
  let value = property;
  for (const [index, segment] of segments.entries()) {
    if (index > 0) value = isDataObject(value) ? value[segment.name] : undefined;
    if (segment.key !== undefined) {
      value = Array.isArray(value) ? value.find((element) => String(elementKey(element)) === segment.key) : undefined;
    }
    if (value === undefined || value === null) return undefined;
  }
  return value;
}
