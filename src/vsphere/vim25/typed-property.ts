import { propertyType } from "./schema.ts";
import { TypedValue } from "./values.ts";

/** A property's value for an `anyType` position, written with the type that the schema declares for that path. */
export function typedProperty(managed: string, path: string, value: unknown): TypedValue {
  const declared = propertyType(managed, path);
  if (!declared) throw new Error(`${managed} has no property ${path}`);
  const type = declared.kind === "reference" ? `→${declared.type}` : declared.type;
  return new TypedValue(declared.array ? `${type}[]` : type, value);
}
