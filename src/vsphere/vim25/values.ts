/** Values of the wire's basic types as TypeScript values. */

/** A managed object reference: `{ type: "VirtualMachine", value: "vm-12" }`. */
export interface ManagedObjectReference<T extends string = string> {
  type: T;
  value: string;
  serverGuid?: string;
}

/** 64-bit integers: a number when it is safe as one, else a bigint. Both are accepted when writing. */
export type Long = number | bigint;

/** A data object whose type is told by its discriminator. */
export interface TypedObject {
  _type: string;
}

/**
 * What may stand in an `anyType` position: strings, booleans, dates, bytes, references, data objects with `_type`, lists of these.
 * A plain integer is written as `xsd:int` (`xsd:long` outside of 32 bits), another number as `xsd:double`; use `typed()` to choose.
 */
export type AnyValue =
  | string
  | boolean
  | number
  | bigint
  | Date
  | Uint8Array
  | ManagedObjectReference
  | TypedObject
  | TypedValue
  | readonly AnyValue[];

/** A value for an `anyType` position with its schema type, `long` or `VirtualDevice[]`; needed for numbers and empty lists. */
export class TypedValue {
  constructor(
    readonly type: string,
    readonly value: unknown,
  ) {}
}

export function typed(type: string, value: unknown): TypedValue {
  return new TypedValue(type, value);
}

/** A 64-bit integer as a number; exact up to 2^53, which every size in bytes and memory figure stays below. */
export function toNumber(value: Long): number {
  return typeof value === "bigint" ? Number(value) : value;
}

export function isReference(value: unknown): value is ManagedObjectReference {
  return (
    typeof value === "object" &&
    value !== null &&
    !("_type" in value) &&
    "type" in value &&
    "value" in value &&
    typeof value.type === "string" &&
    typeof value.value === "string"
  );
}
