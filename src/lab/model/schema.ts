/** What the lab asks the vim25 schema: which properties a managed type has and whether a path leads somewhere. */
import { managedType, propertyType, type TypedValue, typedProperty } from "../../vsphere/vim25/index.ts";
import { LabFault } from "../fault.ts";
import { invalidProperty } from "../property/path.ts";
import type { Session } from "../session/sessions.ts";

export { isManagedSubtype } from "../../vsphere/vim25/index.ts";

export const isManagedType = (name: string): boolean => name === "ManagedObject" || managedType(name) !== undefined;

/** Names of all properties of a managed type, inherited ones included. */
export const managedProperties = (type: string): string[] => [...(managedType(type)?.properties.keys() ?? [])];

/** Throws InvalidProperty when no object of the managed type has this path. */
export function checkPropertyPath(type: string, path: string): void {
  if (propertyType(type, path) === undefined) throw invalidProperty(path);
}

/** A property's value for an `anyType` position of a reply. */
export function typedPropertyValue(type: string, path: string, value: unknown): TypedValue | undefined {
  return value === undefined ? undefined : typedProperty(type, path, value);
}

/** Refuses a property that the caller may not read: NotAuthenticated without a session. */
export function requireReadable(type: string, property: string, session: Session | undefined): void {
  if (session) return;
  const privilege = managedType(type)?.properties.get(property)?.privilege;
  if (privilege !== "System.Anonymous") {
    throw new LabFault("NotAuthenticated", "The session is not authenticated.", { privilegeId: "System.View" });
  }
}
