/** vim25 values as the lab's objects hold them. Values are never changed in place: a change makes a new value. */
import { isReference, type ManagedObjectReference, TypedValue } from "../../vsphere/vim25/index.ts";

/** A managed object reference. */
export type Reference = ManagedObjectReference;
export { isReference };

/** A data object with the name of its runtime type. */
export interface DataObject {
  readonly _type: string;
  readonly [field: string]: unknown;
}

/** Makes a data object; fields that are undefined are unset. */
export function data(type: string, fields: Record<string, unknown> = {}): DataObject {
  const object: Record<string, unknown> & { _type: string } = { _type: type };
  for (const name in fields) if (fields[name] !== undefined) object[name] = fields[name];
  return object;
}

export const isDataObject = (value: unknown): value is DataObject =>
  typeof value === "object" &&
  value !== null &&
  "_type" in value &&
  typeof value._type === "string" &&
  !(value instanceof TypedValue);

/** One string for a reference, to use as a key. */
export const referenceKey = (reference: Reference): string => `${reference.type}:${reference.value}`;
