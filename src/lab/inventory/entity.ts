import { method } from "../../vsphere/vim25/index.ts";
import { LabFault } from "../fault.ts";
import type { Reference } from "../model/data.ts";
import { ManagedObject, type Method } from "../model/managed-object.ts";
import type { Session } from "../session/sessions.ts";
import { ROLES, userHolds } from "../session/users.ts";
import type { LabContext } from "./context.ts";
import { customFields, customValues, setCustomValue } from "./custom-values.ts";

/** vSphere's limit for names of inventory objects, in characters. */
const NAME_LIMIT = 80;

/** A ManagedEntity: it has a name and a place. */
export abstract class Entity extends ManagedObject {
  parent: Entity | undefined;
  #name: string;
  /** Methods that solutions took out of use, with who did. As on vCenter they are usable again after a restart. */
  readonly #disabledMethods = new Map<string, string>();

  constructor(
    readonly context: LabContext,
    reference: Reference,
    name: string,
    parent: Entity | undefined,
  ) {
    super(context.registry, reference);
    this.#name = name;
    this.parent = parent;
    this.properties({
      name: () => escapeName(this.#name),
      parent: () => this.parent?.reference,
      overallStatus: () => "green",
      configStatus: () => "green",
      configIssue: () => [],
      effectiveRole: (session) =>
        session ? (context.authorization?.rolesOn(session.user, this) ?? [session.user.roleId]) : [ROLES.noAccess],
      permission: () => context.authorization?.permissionsOn(this) ?? [],
      disabledMethod: () => [...this.#disabledMethods.keys()],
      recentTask: () => context.tasks.recent(this).map((task) => task.reference),
      declaredAlarmState: () => [],
      triggeredAlarmState: () => [],
      alarmActionsEnabled: () => false,
      tag: () => [],
      availableField: () => customFields(context.store, this.reference.type),
      value: () => customValues(context.store, this),
      customValue: () => customValues(context.store, this),
    });
    this.methods({
      setCustomValue: (p) => {
        const field = context.store.inventory.customFields?.find(({ name }) => name === p.key);
        if (!field)
          throw new LabFault("InvalidArgument", "There is no custom field of that name.", { invalidProperty: "key" });
        return setCustomValue(context.store, this, field.key, p.value as string);
      },
      Reload: () => undefined,
    });
  }

  disableMethods(names: readonly string[], source: string): void {
    for (const name of names) {
      if (method(name) === undefined)
        throw new LabFault("InvalidArgument", `There is no method '${name}'.`, { invalidProperty: "method" });
      this.#disabledMethods.set(name, source);
    }
    this.changed("disabledMethod");
  }

  enableMethods(names: readonly string[], source: string): void {
    for (const name of names) if (this.#disabledMethods.get(name) === source) this.#disabledMethods.delete(name);
    this.changed("disabledMethod");
  }

  override findMethod(name: string): Method | undefined {
    const source = this.#disabledMethods.get(name);
    if (source === undefined) return super.findMethod(name);
    throw new LabFault("MethodDisabled", `The method is disabled by '${source}'`, { source });
  }

  /** Entities whose permissions hold here too. */
  get authorityParents(): readonly Entity[] {
    return this.parent ? [this.parent] : [];
  }

  override isVisibleTo(session: Session): boolean {
    return userHolds(session.user, "System.View", this.reference);
  }

  get name(): string {
    return this.#name;
  }

  setName(name: string): void {
    this.#name = name;
    this.changed("name");
  }
}

/** Names travel with `%`, `/` and `\` escaped, as on vSphere. */
export const escapeName = (name: string): string =>
  name.replace(/[%/\\]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);

const unescapeName = (name: string): string =>
  name.replace(/%(25|2f|5c)/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

/** The name that a client gave, checked: InvalidName. */
export function checkedName(given: string, entity?: Entity): string {
  const name = unescapeName(given);
  if (name.trim() === "" || name.length > NAME_LIMIT || /[\x00-\x1f\x7f]/.test(name)) {
    throw new LabFault("InvalidName", `The name '${given.slice(0, NAME_LIMIT)}' is invalid.`, {
      name: given,
      entity: entity?.reference,
    });
  }
  return name;
}

/** DuplicateName when one of `siblings` other than `self` has the name. */
export function refuseDuplicate(name: string, siblings: Iterable<Entity>, self?: Entity): void {
  for (const sibling of siblings) {
    if (sibling === self || sibling.name !== name) continue;
    throw new LabFault("DuplicateName", `The name '${name}' already exists.`, {
      name: escapeName(name),
      object: sibling.reference,
    });
  }
}
