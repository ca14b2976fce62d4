/** Roles and permissions: who may do what where. A permission holds on its entity and, when it propagates, on everything below. */
import { LabFault } from "../fault.ts";
import { Entity } from "../inventory/entity.ts";
import type { InventoryStore, StoredPermission, StoredRole } from "../inventory/inventory-store.ts";
import { type DataObject, data, type Reference, referenceKey } from "../model/data.ts";
import type { ManagedObject } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import { ROLES, roleHolds, SYSTEM_PRIVILEGES, type User, type Users } from "./users.ts";

const ROLE_LIMIT = 1000;
const PERMISSION_LIMIT = 10_000;
/** First id of a role that users make. */
const FIRST_ROLE = 1000;

export class Authorization {
  constructor(
    private readonly registry: Registry,
    private readonly store: InventoryStore,
    private readonly users: Users,
    private readonly root: () => Reference,
    private readonly known: ReadonlySet<string>,
  ) {
    registry.onChange((change) => {
      if (change.kind === "removed" && change.object instanceof Entity) this.#forget(change.object);
    });
    users.authorizeBy((user) => ({ ...user, holds: (privilege, object) => this.holds(user, privilege, object) }));
  }

  get roles(): readonly StoredRole[] {
    return this.store.inventory.roles ?? [];
  }

  get permissions(): readonly StoredPermission[] {
    return this.store.inventory.permissions ?? [];
  }

  holds(user: User, privilege: string, reference: Reference): boolean {
    const mine = this.#permissionsOf(user.name);
    // Most users have one role on everything.
    if (mine.length === 0) return roleHolds(user.roleId, privilege);
    const roles = this.#rolesAt(this.#authorityOf(reference), mine, user, true);
    if (roles.some((role) => this.roleHolds(role, privilege))) return true;
    // Managers and the like are there for everybody who may see anything.
    const isEntity = this.registry.find(reference) instanceof Entity;
    const everybody = privilege === "System.View" || privilege === "System.Read" || privilege === "System.Anonymous";
    return everybody && !isEntity && mine.some(({ roleId }) => this.roleHolds(roleId, privilege));
  }

  rolesOn(user: User, entity: Entity): number[] {
    return this.#rolesAt(entity, this.#permissionsOf(user.name), user, true);
  }

  permissionsOn(entity: Entity): DataObject[] {
    return this.permissions.filter(({ entity: key }) => key === entity.key).map(vimPermission);
  }

  roleHolds(roleId: number, privilege: string): boolean {
    const role = this.roles.find(({ id }) => id === roleId);
    return role ? role.privileges.includes(privilege) : roleHolds(roleId, privilege);
  }

  privilegesOf(roleId: number): string[] {
    const role = this.roles.find(({ id }) => id === roleId);
    if (role) return role.privileges;
    return roleId === ROLES.administrator ? [...this.known] : [...(SYSTEM_PRIVILEGES.get(roleId) ?? [])];
  }

  async addRole(name: string, privileges: readonly string[]): Promise<number> {
    if (this.roles.length >= ROLE_LIMIT) throw new LabFault("LimitExceeded", `There are ${ROLE_LIMIT} roles already.`);
    this.#requireFreeName(name);
    const id = Math.max(FIRST_ROLE, ...this.roles.map((role) => role.id)) + 1;
    this.store.inventory.roles = [...this.roles, { id, name, privileges: this.#checked(privileges) }];
    await this.store.save();
    return id;
  }

  async updateRole(roleId: number, name: string, privileges: readonly string[]): Promise<void> {
    const role = this.#ownRole(roleId);
    if (name !== role.name) this.#requireFreeName(name);
    const changed = { id: roleId, name, privileges: this.#checked(privileges) };
    this.store.inventory.roles = this.roles.map((other) => (other === role ? changed : other));
    await this.store.save();
  }

  async removeRole(roleId: number, failIfUsed: boolean): Promise<void> {
    const role = this.#ownRole(roleId);
    if (failIfUsed && this.permissions.some((permission) => permission.roleId === roleId)) {
      throw new LabFault("RemoveFailed", `The role '${role.name}' is in use; remove its permissions first.`);
    }
    this.store.inventory.roles = this.roles.filter((other) => other !== role);
    this.store.inventory.permissions = this.permissions.filter((permission) => permission.roleId !== roleId);
    await this.store.save();
  }

  async mergePermissions(from: number, to: number): Promise<void> {
    this.requireRole(from);
    this.requireRole(to);
    this.store.inventory.permissions = this.permissions.map((permission) =>
      permission.roleId === from ? { ...permission, roleId: to } : permission,
    );
    await this.store.save();
  }

  async setPermission(entity: Entity, spec: DataObject): Promise<void> {
    if (this.permissions.length >= PERMISSION_LIMIT) {
      throw new LabFault("LimitExceeded", `There are ${PERMISSION_LIMIT} permissions already.`);
    }
    const principal = this.#principal(spec);
    const roleId = spec.roleId as number;
    this.requireRole(roleId);
    this.#requireAdministratorStays(entity, principal, roleId);
    const others = this.permissions.filter((known) => known.entity !== entity.key || known.principal !== principal);
    this.store.inventory.permissions = [
      ...others,
      { entity: entity.key, principal, roleId, propagate: spec.propagate === true },
    ];
    entity.changed("permission", "effectiveRole");
    await this.store.save();
  }

  async removePermission(entity: Entity, user: string): Promise<void> {
    const known = this.permissions.find(
      (permission) => permission.entity === entity.key && permission.principal.toLowerCase() === user.toLowerCase(),
    );
    if (!known) throw new LabFault("NotFound", `'${user}' has no permission on ${entity.name}.`);
    this.store.inventory.permissions = this.permissions.filter((permission) => permission !== known);
    entity.changed("permission", "effectiveRole");
    await this.store.save();
  }

  /** Forgets what was said about an entity that is gone. */
  #forget(entity: Entity): void {
    if (!this.permissions.some((permission) => permission.entity === entity.key)) return;
    this.store.inventory.permissions = this.permissions.filter((permission) => permission.entity !== entity.key);
  }

  requireRole(roleId: number): void {
    const builtIn = Object.values(ROLES).some((id) => id === roleId);
    if (!builtIn && !this.roles.some(({ id }) => id === roleId)) {
      throw new LabFault("NotFound", `There is no role ${roleId}.`);
    }
  }

  #ownRole(roleId: number): StoredRole {
    const role = this.roles.find(({ id }) => id === roleId);
    if (role) return role;
    this.requireRole(roleId);
    throw new LabFault("InvalidArgument", "A specified parameter was not correct: roleId. System roles are fixed.", {
      invalidProperty: "roleId",
    });
  }

  #requireFreeName(name: string): void {
    if (name.trim() === "") throw new LabFault("InvalidName", "A role needs a name.", { name });
    if (Object.values(BUILT_IN_NAMES).includes(name) || this.roles.some((role) => role.name === name)) {
      throw new LabFault("AlreadyExists", `The specified key, name, or identifier '${name}' already exists.`, { name });
    }
  }

  #checked(privileges: readonly string[]): string[] {
    const unknown = privileges.find((privilege) => !this.known.has(privilege));
    if (unknown !== undefined) {
      throw new LabFault(
        "InvalidArgument",
        `A specified parameter was not correct: privIds. '${unknown}' is unknown.`,
        {
          invalidProperty: "privIds",
        },
      );
    }
    return [...new Set(["System.Anonymous", "System.View", "System.Read", ...privileges])];
  }

  #principal(spec: DataObject): string {
    const name = String(spec.principal);
    const user = spec.group === true ? undefined : this.users.find(name);
    if (user) return user.name;
    throw new LabFault("UserNotFound", `The ${spec.group === true ? "group" : "user"} '${name}' does not exist.`, {
      principal: name,
      unresolved: false,
    });
  }

  /** Nobody may lock out the last administrator. */
  #requireAdministratorStays(entity: Entity, principal: string, roleId: number): void {
    const user = this.users.find(principal);
    if (user?.roleId !== ROLES.administrator || roleId === ROLES.administrator) return;
    if (entity.key !== referenceKey(this.root())) return;
    throw new LabFault("AuthMinimumAdminPermission", "The lab's administrator stays administrator of everything.");
  }

  #permissionsOf(name: string): StoredPermission[] {
    const lower = name.toLowerCase();
    return this.permissions.filter(({ principal }) => principal.toLowerCase() === lower);
  }

  #authorityOf(reference: Reference): Entity | undefined {
    let object: ManagedObject | undefined = this.registry.find(reference);
    while (object && !(object instanceof Entity)) object = object.authority;
    const root = this.registry.find(this.root());
    return object ?? (root instanceof Entity ? root : undefined);
  }

  /** The nearest permission on each way up; the account's own role where there is none. */
  #rolesAt(entity: Entity | undefined, mine: readonly StoredPermission[], user: User, own: boolean): number[] {
    if (!entity) return [user.roleId];
    const here = mine.find((permission) => permission.entity === entity.key && (own || permission.propagate));
    if (here) return [here.roleId];
    const parents = entity.authorityParents;
    if (parents.length === 0) return [user.roleId];
    return [...new Set(parents.flatMap((parent) => this.#rolesAt(parent, mine, user, false)))];
  }
}

export const BUILT_IN_NAMES: Readonly<Record<number, string>> = {
  [ROLES.administrator]: "Admin",
  [ROLES.readOnly]: "ReadOnly",
  [ROLES.view]: "View",
  [ROLES.anonymous]: "Anonymous",
  [ROLES.noAccess]: "NoAccess",
};

export function vimPermission({ entity, principal, roleId, propagate }: StoredPermission): DataObject {
  const [type = "", ...value] = entity.split(":");
  return data("Permission", { entity: { type, value: value.join(":") }, principal, group: false, roleId, propagate });
}
