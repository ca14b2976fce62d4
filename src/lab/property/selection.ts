import { LabFault } from "../fault.ts";
import { type DataObject, isReference, type Reference, referenceKey } from "../model/data.ts";
import type { ManagedObject } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import { isManagedSubtype } from "../model/schema.ts";
import type { Session } from "../session/sessions.ts";
import { followPath, parsePropertyPath } from "./path.ts";

/** Objects that one selection may visit; a traversal that goes on and on ends here. */
const VISIT_LIMIT = 200_000;

export interface Selection {
  /** Chosen objects by key, in the order in which they were reached. */
  objects: Map<string, ManagedObject>;
  /** Properties that the traversal read, by object key: when one changes, the selection may be different. */
  dependencies: Map<string, Set<string>>;
  /** References that lead to nothing. */
  missing: Reference[];
}

interface Step {
  object: ManagedObject;
  selections: DataObject[];
}

/** Walks the object set of a PropertyFilterSpec. What the session's user may not see is not reached. */
export function select(registry: Registry, objectSet: DataObject[], session: Session | undefined): Selection {
  const result: Selection = { objects: new Map(), dependencies: new Map(), missing: [] };
  for (const objectSpec of objectSet) {
    const reference = objectSpec.obj as Reference;
    const start = registry.find(reference);
    if (!start) {
      result.missing.push(reference);
      continue;
    }
    if (!objectSpec.skip) result.objects.set(start.key, start);
    const selections = (objectSpec.selectSet as DataObject[] | undefined) ?? [];
    if (selections.length > 0)
      walk(registry, { object: start, selections }, namedTraversals(selections), result, session);
  }
  return result;
}

function namedTraversals(selections: DataObject[]): Map<string, DataObject> {
  const named = new Map<string, DataObject>();
  const visit = (list: DataObject[]): void => {
    for (const selection of list) {
      if (selection._type !== "TraversalSpec") continue;
      if (typeof selection.name === "string") named.set(selection.name, selection);
      visit((selection.selectSet as DataObject[] | undefined) ?? []);
    }
  };
  visit(selections);
  return named;
}

function walk(
  registry: Registry,
  first: Step,
  named: Map<string, DataObject>,
  result: Selection,
  session: Session | undefined,
): void {
  // An object is visited once per traversal spec: back references make cycles otherwise.
  const visited = new Set<string>();
  const specIds = new Map<DataObject, number>();
  const queue: Step[] = [first];
  for (let step = queue.shift(); step; step = queue.shift()) {
    for (const selection of step.selections) {
      const traversal = resolveTraversal(selection, named);
      if (!isManagedSubtype(step.object.reference.type, traversal.type as string)) continue;
      const id = specIds.get(traversal) ?? specIds.size;
      specIds.set(traversal, id);
      const mark = `${id} ${step.object.key}`;
      if (visited.has(mark)) continue;
      visited.add(mark);
      if (visited.size > VISIT_LIMIT) {
        throw new LabFault("InvalidArgument", `The traversal visits more than ${VISIT_LIMIT} objects.`);
      }
      for (const next of follow(registry, step.object, traversal.path as string, result)) {
        if (session && !next.isVisibleTo(session)) continue;
        if (!traversal.skip) result.objects.set(next.key, next);
        const selections = traversal.selectSet as DataObject[] | undefined;
        if (selections && selections.length > 0) queue.push({ object: next, selections });
      }
    }
  }
}

function resolveTraversal(selection: DataObject, named: Map<string, DataObject>): DataObject {
  if (selection._type === "TraversalSpec") return selection;
  const traversal = named.get(String(selection.name));
  if (traversal) return traversal;
  throw new LabFault("InvalidArgument", `No TraversalSpec is named '${String(selection.name)}'.`, {
    invalidProperty: "selectSet",
  });
}

function follow(registry: Registry, object: ManagedObject, path: string, result: Selection): ManagedObject[] {
  const segments = parsePropertyPath(path);
  const root = segments[0].name;
  const dependencies = result.dependencies.get(object.key);
  if (dependencies) dependencies.add(root);
  else result.dependencies.set(object.key, new Set([root]));
  const value = followPath(object.read(root), segments);
  const references = Array.isArray(value) ? value.filter(isReference) : isReference(value) ? [value] : [];
  const found: ManagedObject[] = [];
  for (const reference of references) {
    const next = registry.find(reference);
    if (next) found.push(next);
  }
  return found;
}

export const sameReference = (a: Reference, b: Reference): boolean => referenceKey(a) === referenceKey(b);
