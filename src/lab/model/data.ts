/** vim25 values as the lab's objects hold them. Values are never changed in place: a change makes a new value. */

/** A managed object reference. */
export interface Reference {
  readonly type: string;
  readonly value: string;
}

/** A data object with the name of its runtime type. */
export interface DataObject {
  readonly _type: string;
  readonly [field: string]: unknown;
}

export const data = (type: string, fields: Record<string, unknown> = {}): DataObject => ({ ...fields, _type: type });

export const isDataObject = (value: unknown): value is DataObject =>
  typeof value === "object" && value !== null && "_type" in value && typeof value._type === "string";

export const isReference = (value: unknown): value is Reference =>
  typeof value === "object" && value !== null && "type" in value && "value" in value && !("_type" in value);

/** One string for a reference, to use as a key. */
export const referenceKey = (reference: Reference): string => `${reference.type}:${reference.value}`;
