import { randomBytes } from "node:crypto";
import { LabFault } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import type { ManagedObject } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import { typedPropertyValue } from "../model/schema.ts";
import type { Session } from "../session/sessions.ts";
import { PropertySet, readPath } from "./property-set.ts";
import { select } from "./selection.ts";

/** Objects in one page when the client names no limit; vCenter pages too. */
const PAGE_LIMIT = 1000;
/** Unfinished retrievals of a session; the oldest is dropped first. */
const TOKEN_LIMIT = 100;

interface Retrieval {
  objects: { object: ManagedObject; wanted: PropertySet }[];
  position: number;
  page: number;
}

/** RetrieveProperties, in pages. */
export class Retrievals {
  readonly #open = new Map<string, Retrieval>();

  constructor(
    private readonly registry: Registry,
    private readonly session: Session | undefined,
  ) {}

  all(specSet: DataObject[]): DataObject[] {
    return this.#choose(specSet).map(({ object, wanted }) => objectContent(object, wanted, this.session));
  }

  first(specSet: DataObject[], options: DataObject): DataObject | undefined {
    const limit = options.maxObjects as number | undefined;
    if (limit !== undefined && limit <= 0) {
      throw new LabFault("InvalidArgument", "A specified parameter was not correct: options.maxObjects", {
        invalidProperty: "options.maxObjects",
      });
    }
    const objects = this.#choose(specSet);
    if (objects.length === 0) return undefined;
    return this.#page({ objects, position: 0, page: Math.min(limit ?? PAGE_LIMIT, PAGE_LIMIT) });
  }

  next(token: string): DataObject {
    return this.#page(this.#take(token));
  }

  cancel(token: string): void {
    this.#take(token);
  }

  #take(token: string): Retrieval {
    const retrieval = this.#open.get(token);
    if (!this.#open.delete(token) || !retrieval) {
      throw new LabFault("InvalidProperty", `The token '${token}' is not known.`, { name: "token" });
    }
    return retrieval;
  }

  #page(retrieval: Retrieval): DataObject {
    const objects: DataObject[] = [];
    while (objects.length < retrieval.page && retrieval.position < retrieval.objects.length) {
      const entry = retrieval.objects[retrieval.position++];
      // An object that went away between two pages is left out.
      if (entry && (retrieval.position <= retrieval.page || this.registry.find(entry.object.reference))) {
        objects.push(objectContent(entry.object, entry.wanted, this.session));
      }
    }
    if (retrieval.position >= retrieval.objects.length) return data("RetrieveResult", { objects });
    const [oldest] = this.#open.keys();
    if (this.#open.size >= TOKEN_LIMIT && oldest !== undefined) this.#open.delete(oldest);
    const token = randomBytes(12).toString("hex");
    this.#open.set(token, retrieval);
    return data("RetrieveResult", { token, objects });
  }

  #choose(specSet: DataObject[]): Retrieval["objects"] {
    const chosen: Retrieval["objects"] = [];
    for (const spec of specSet) {
      const wanted = new PropertySet(spec.propSet as DataObject[]);
      if (!this.session) wanted.requireAnonymous();
      const { objects, missing } = select(this.registry, spec.objectSet as DataObject[], this.session);
      if (missing[0] && spec.reportMissingObjectsInResults !== true) throw notFound(missing[0]);
      for (const object of objects.values()) {
        if (wanted.pathsFor(object.reference.type)) chosen.push({ object, wanted });
      }
    }
    return chosen;
  }
}

function notFound(reference: Reference): LabFault {
  const text = `The object '${reference.type}:${reference.value}' has already been deleted or has not been completely created`;
  return new LabFault("ManagedObjectNotFound", text, { obj: reference });
}

function objectContent(object: ManagedObject, wanted: PropertySet, session: Session | undefined): DataObject {
  const propSet: DataObject[] = [];
  const hidden = session !== undefined && !object.isVisibleTo(session);
  const missingSet: DataObject[] = [];
  for (const path of wanted.pathsFor(object.reference.type) ?? []) {
    if (hidden) {
      const fault = data("NoPermission", { object: object.reference, privilegeId: "System.View" });
      missingSet.push(data("MissingProperty", { path: path.path, fault: data("LocalizedMethodFault", { fault }) }));
      continue;
    }
    const value = readPath(object, path, session);
    const val = typedPropertyValue(object.reference.type, path.path, value);
    if (val) propSet.push(data("DynamicProperty", { name: path.path, val }));
  }
  return data("ObjectContent", {
    obj: object.reference,
    propSet,
    missingSet: missingSet.length > 0 ? missingSet : undefined,
  });
}
