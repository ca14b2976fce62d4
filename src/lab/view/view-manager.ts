import { LabFault } from "../fault.ts";
import { type DataObject, type Reference, referenceKey } from "../model/data.ts";
import { type Call, ManagedObject, sessionOf } from "../model/managed-object.ts";
import type { Change, Registry } from "../model/registry.ts";
import { isManagedSubtype, isManagedType } from "../model/schema.ts";
import type { Session } from "../session/sessions.ts";

/** Views of a session; more are a leak of the client. */
const VIEW_LIMIT = 1000;

/** An entity whose children a ContainerView may walk. */
export interface Container {
  viewChildren(): readonly ManagedObject[];
}

const isContainer = (object: ManagedObject): object is ManagedObject & Container => "viewChildren" in object;

/** Creates views; each belongs to the session that made it and ends with it. */
export class ViewManager extends ManagedObject {
  readonly #views = new WeakMap<Session, Map<string, View>>();
  #lastId = 0;

  constructor(registry: Registry, reference: Reference) {
    super(registry, reference);
    this.methods({
      CreateContainerView: (p, call) => {
        const container = registry.get(p.container as Reference);
        if (!isContainer(container)) {
          throw new LabFault("InvalidArgument", "A specified parameter was not correct: container", {
            invalidProperty: "container",
          });
        }
        const types = (p.type as string[] | undefined) ?? [];
        for (const type of types) {
          if (!isManagedType(type))
            throw new LabFault("InvalidType", `'${type}' is not a managed object type.`, { argument: type });
        }
        return this.#add(call, "ContainerView", (reference, end) => {
          const session = sessionOf(call);
          return new ContainerView(registry, reference, end, container, types, p.recursive as boolean, session);
        });
      },
      CreateListView: (p, call) =>
        this.#add(
          call,
          "ListView",
          (reference, end) => new ListView(registry, reference, end, (p.obj as Reference[]) ?? []),
        ),
      CreateListViewFromView: (p, call) => {
        const source = registry.getAs(View, p.view, "view");
        return this.#add(call, "ListView", (reference, end) => new ListView(registry, reference, end, source.members));
      },
    });
  }

  #add(call: Call, type: string, make: (reference: Reference, end: (view: View) => void) => View): Reference {
    const session = sessionOf(call);
    const views = this.#viewsOf(session);
    if (views.size >= VIEW_LIMIT) {
      throw new LabFault("LimitExceeded", `A session can have ${VIEW_LIMIT} views; destroy those no longer needed.`, {
        limit: VIEW_LIMIT,
      });
    }
    const reference = { type, value: `session[${session.key}]view-${++this.#lastId}` };
    const view = make(reference, (gone) => views.delete(gone.key));
    views.set(view.key, view);
    return this.registry.add(view).reference;
  }

  #viewsOf(session: Session): Map<string, View> {
    const known = this.#views.get(session);
    if (known) return known;
    const views = new Map<string, View>();
    this.#views.set(session, views);
    session.onEnd(() => {
      for (const view of [...views.values()]) view.end();
    });
    return views;
  }
}

abstract class View extends ManagedObject {
  constructor(
    registry: Registry,
    reference: Reference,
    private readonly forget: (view: View) => void,
  ) {
    super(registry, reference);
    this.properties({ view: () => this.members });
    this.methods({ DestroyView: () => this.end() });
  }

  abstract get members(): readonly Reference[];

  end(): void {
    this.forget(this);
    this.registry.remove(this);
  }
}

/** Live: what is created below the container shows up, what is removed disappears. */
class ContainerView extends View {
  #members: Reference[];
  readonly #unsubscribe: () => void;

  constructor(
    registry: Registry,
    reference: Reference,
    forget: (view: View) => void,
    private readonly container: ManagedObject & Container,
    private readonly types: string[],
    private readonly recursive: boolean,
    private readonly session: Session,
  ) {
    super(registry, reference, forget);
    this.#members = this.#walk();
    this.properties({ container: () => container.reference, type: () => types, recursive: () => recursive });
    this.#unsubscribe = registry.onChange((change) => this.#onChange(change));
  }

  override get members(): readonly Reference[] {
    return this.#members;
  }

  override end(): void {
    this.#unsubscribe();
    super.end();
  }

  #onChange(change: Change): void {
    // Containers announce changes of their children through these properties.
    const structural = change.kind === "changed" && change.properties.some((name) => MEMBERSHIP.has(name));
    if (!structural) return;
    const members = this.#walk();
    if (Bun.deepEquals(members, this.#members)) return;
    this.#members = members;
    this.changed("view");
  }

  #walk(): Reference[] {
    const found = new Map<string, Reference>();
    const visit = (container: ManagedObject & Container): void => {
      for (const child of container.viewChildren()) {
        if (found.has(child.key)) continue;
        if (this.#accepts(child) && child.isVisibleTo(this.session)) found.set(child.key, child.reference);
        if (this.recursive && isContainer(child)) visit(child);
      }
    };
    visit(this.container);
    return [...found.values()];
  }

  #accepts(object: ManagedObject): boolean {
    return this.types.length === 0 || this.types.some((type) => isManagedSubtype(object.reference.type, type));
  }
}

const MEMBERSHIP = new Set(["childEntity", "resourcePool", "host", "vm", "datastore", "network"]);

/** A list that the client keeps itself. Members that are removed from the inventory stay until the client takes them out. */
class ListView extends View {
  #members: Map<string, Reference>;

  constructor(registry: Registry, reference: Reference, forget: (view: View) => void, members: readonly Reference[]) {
    super(registry, reference, forget);
    this.#members = new Map(members.map((member) => [referenceKey(member), member]));
    this.methods({
      ModifyListView: (p) => {
        const add = (p.add as Reference[] | undefined) ?? [];
        const missing = add.filter((member) => !registry.find(member));
        for (const member of add) if (registry.find(member)) this.#members.set(referenceKey(member), member);
        for (const member of (p.remove as Reference[] | undefined) ?? []) this.#members.delete(referenceKey(member));
        this.changed("view");
        return missing;
      },
      ResetListView: (p) => this.#reset((p.obj as Reference[] | undefined) ?? []),
      ResetListViewFromView: (p) => {
        this.#reset(registry.getAs(View, p.view, "view").members);
      },
    });
  }

  override get members(): readonly Reference[] {
    return [...this.#members.values()];
  }

  #reset(members: readonly Reference[]): Reference[] {
    const found = members.filter((member) => this.registry.find(member));
    this.#members = new Map(found.map((member) => [referenceKey(member), member]));
    this.changed("view");
    return members.filter((member) => !this.registry.find(member));
  }
}

export type { DataObject };
