import { LabFault } from "../fault.ts";
import type { DataObject } from "../model/data.ts";
import type { ManagedObject } from "../model/managed-object.ts";
import {
  checkPropertyPath,
  isManagedSubtype,
  isManagedType,
  managedProperties,
  requireReadable,
} from "../model/schema.ts";
import type { Session } from "../session/sessions.ts";
import { followPath, parsePropertyPath, type Segment } from "./path.ts";

export interface WantedPath {
  path: string;
  segments: [Segment, ...Segment[]];
}

interface Rule {
  type: string;
  paths: WantedPath[];
  all: boolean;
}

/** The `propSet` of a filter: which properties are wanted of an object of which type. */
export class PropertySet {
  readonly #rules: Rule[];
  readonly #byType = new Map<string, WantedPath[]>();

  /** Checks types and paths against the schema: InvalidType, InvalidProperty. */
  constructor(propSet: DataObject[]) {
    this.#rules = propSet.map((spec) => {
      const type = spec.type as string;
      if (!isManagedType(type)) {
        throw new LabFault("InvalidType", `'${type}' is not the name of a managed object type.`, { argument: type });
      }
      const paths = ((spec.pathSet as string[] | undefined) ?? []).map((path) => wanted(path));
      for (const { path } of paths) checkPropertyPath(type, path);
      return { type, paths, all: spec.all === true };
    });
  }

  /** Without a login only what carries System.Anonymous may be read: NotAuthenticated otherwise. */
  requireAnonymous(): void {
    for (const { type, paths, all } of this.#rules) {
      for (const { segments } of all ? managedProperties(type).map(wanted) : paths) {
        requireReadable(type, segments[0].name, undefined);
      }
    }
  }

  /** Paths wanted of objects of this type; undefined when the filter does not ask for the type at all. */
  pathsFor(type: string): WantedPath[] | undefined {
    const known = this.#byType.get(type);
    if (known) return known;
    const rules = this.#rules.filter((rule) => isManagedSubtype(type, rule.type));
    if (rules.length === 0) return undefined;
    const paths = new Map<string, WantedPath>();
    for (const rule of rules) {
      for (const path of rule.all ? managedProperties(type).map(wanted) : rule.paths) paths.set(path.path, path);
    }
    const result = [...paths.values()];
    this.#byType.set(type, result);
    return result;
  }
}

const wanted = (path: string): WantedPath => ({ path, segments: parsePropertyPath(path) });

/** The value at a path of a live object; undefined when unset. */
export const readPath = (object: ManagedObject, { segments }: WantedPath, session: Session | undefined): unknown =>
  followPath(object.read(segments[0].name, session), segments);
