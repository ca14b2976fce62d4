import { dataType } from "../../vsphere/vim25/index.ts";
import { type DataObject, data } from "./data.ts";

/** A data object of many required booleans (what a product can do): those that are not given are false. */
export function falseUnless(type: string, given: Record<string, unknown>): DataObject {
  const fields: Record<string, unknown> = {};
  for (const field of dataType(type)?.fields ?? []) {
    if (field.type === "boolean" && !field.optional && !field.array) fields[field.name] = false;
  }
  return data(type, { ...fields, ...given });
}
