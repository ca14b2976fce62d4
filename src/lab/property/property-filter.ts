import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";
import type { Change, Registry } from "../model/registry.ts";
import { typedPropertyValue } from "../model/schema.ts";
import type { Session } from "../session/sessions.ts";
import { type PropertyChange, partialChange, wholeChange } from "./difference.ts";
import { PropertySet, readPath } from "./property-set.ts";
import { type Selection, select } from "./selection.ts";

/** What the client was last told of one object. */
type Told = Map<string, unknown>;

/** Follows one PropertyFilterSpec: remembers what the client knows and produces what changed since. */
export class PropertyFilter extends ManagedObject {
  readonly #wanted: PropertySet;
  readonly #told = new Map<string, { reference: Reference; values: Told }>();
  readonly #dirty = new Set<string>();
  #selection: Selection;
  #selectionStale = false;
  readonly #unsubscribe: () => void;

  constructor(
    registry: Registry,
    reference: Reference,
    readonly spec: DataObject,
    readonly partialUpdates: boolean,
    private readonly session: Session,
    private readonly hooks: { changed: () => void; destroy: (filter: PropertyFilter) => void },
  ) {
    super(registry, reference);
    this.#wanted = new PropertySet(spec.propSet as DataObject[]);
    this.#selection = select(registry, spec.objectSet as DataObject[], session);
    for (const key of this.#selection.objects.keys()) this.#dirty.add(key);
    this.#unsubscribe = registry.onChange((change) => this.#onChange(change));
    this.properties({ spec: () => this.spec, partialUpdates: () => this.partialUpdates });
    this.methods({ DestroyPropertyFilter: () => this.hooks.destroy(this) });
  }

  get hasChanges(): boolean {
    return this.#selectionStale || this.#dirty.size > 0;
  }

  /** Forgets what the client knows, so that the next updates describe everything again. */
  restart(): void {
    this.#told.clear();
    this.#selectionStale = true;
  }

  /** At most `limit` object updates; what is left over comes with the next call. */
  takeUpdates(limit: number): DataObject[] {
    if (this.#selectionStale) this.#refreshSelection();
    const updates: DataObject[] = [];
    for (const key of this.#dirty) {
      if (updates.length >= limit) break;
      this.#dirty.delete(key);
      const update = this.#updateOf(key);
      if (update) updates.push(update);
    }
    return updates;
  }

  /** The FilterUpdate around `objectSet`. */
  filterUpdate(objectSet: DataObject[]): DataObject {
    return data("PropertyFilterUpdate", { filter: this.reference, objectSet });
  }

  dispose(): void {
    this.#unsubscribe();
    this.registry.remove(this);
  }

  #onChange(change: Change): void {
    const { object } = change;
    if (object === this) return;
    if (change.kind === "changed") {
      const dependencies = this.#selection.dependencies.get(object.key);
      if (dependencies && change.properties.some((name) => dependencies.has(name))) this.#selectionStale = true;
      if (this.#selection.objects.has(object.key) && this.#wants(object, change.properties))
        this.#dirty.add(object.key);
    } else if (change.kind === "removed" && this.#selection.objects.has(object.key)) {
      this.#selectionStale = true;
    }
    if (this.hasChanges) this.hooks.changed();
  }

  #wants(object: ManagedObject, properties: readonly string[]): boolean {
    const paths = this.#wanted.pathsFor(object.reference.type) ?? [];
    return paths.some(({ segments }) => properties.includes(segments[0].name));
  }

  #refreshSelection(): void {
    this.#selectionStale = false;
    this.#selection = select(this.registry, this.spec.objectSet as DataObject[], this.session);
    for (const key of this.#selection.objects.keys()) if (!this.#told.has(key)) this.#dirty.add(key);
    for (const key of this.#told.keys()) if (!this.#selection.objects.has(key)) this.#dirty.add(key);
  }

  #updateOf(key: string): DataObject | undefined {
    const object = this.#selection.objects.get(key);
    const told = this.#told.get(key);
    if (!object || this.registry.find(object.reference) !== object) {
      this.#told.delete(key);
      return told && data("ObjectUpdate", { kind: "leave", obj: told.reference });
    }
    const paths = this.#wanted.pathsFor(object.reference.type);
    if (!paths) return undefined;
    const values: Told = new Map();
    const changes: PropertyChange[] = [];
    for (const wanted of paths) {
      const value = readPath(object, wanted, this.session);
      values.set(wanted.path, value);
      if (!told) {
        if (value !== undefined) changes.push({ name: wanted.path, op: "assign", value });
      } else {
        const difference = this.partialUpdates ? partialChange : wholeChange;
        changes.push(...difference(wanted.path, told.values.get(wanted.path), value));
      }
    }
    this.#told.set(key, { reference: object.reference, values });
    if (told && changes.length === 0) return undefined;
    return data("ObjectUpdate", {
      kind: told ? "modify" : "enter",
      obj: object.reference,
      changeSet: changes.map(({ name, op, value }) => {
        const val = typedPropertyValue(object.reference.type, name, value);
        return data("PropertyChange", { name, op, val });
      }),
    });
  }
}
