import { LabFault } from "../fault.ts";
import { type Reference, referenceKey } from "./data.ts";
import type { ManagedObject } from "./managed-object.ts";

export type Change =
  | { kind: "added" | "removed"; object: ManagedObject }
  | { kind: "changed"; object: ManagedObject; properties: readonly string[] };

/** Every live managed object by reference, and the one stream of changes that views and property filters follow. */
export class Registry {
  readonly #objects = new Map<string, ManagedObject>();
  readonly #listeners = new Set<(change: Change) => void>();

  add<T extends ManagedObject>(object: T): T {
    this.#objects.set(object.key, object);
    this.notify({ kind: "added", object });
    return object;
  }

  remove(object: ManagedObject): void {
    if (this.#objects.delete(object.key)) this.notify({ kind: "removed", object });
  }

  find(reference: Reference): ManagedObject | undefined {
    return this.#objects.get(referenceKey(reference));
  }

  /** The object, or ManagedObjectNotFound. */
  get(reference: Reference): ManagedObject {
    const object = this.find(reference);
    if (object) return object;
    throw new LabFault(
      "ManagedObjectNotFound",
      `The object '${reference.type}:${reference.value}' has already been deleted or has not been completely created`,
      { obj: reference },
    );
  }

  /** The object as an instance of `type`; ManagedObjectNotFound or InvalidArgument (with `parameter`) otherwise. */
  getAs<T extends ManagedObject>(type: abstract new (...all: never[]) => T, reference: unknown, parameter: string): T {
    const object = this.get(reference as Reference);
    if (object instanceof type) return object;
    throw new LabFault("InvalidArgument", `A specified parameter was not correct: ${parameter}`, {
      invalidProperty: parameter,
    });
  }

  notify(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }

  /** The returned function ends the subscription. */
  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
