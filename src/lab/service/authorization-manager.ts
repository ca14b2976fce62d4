import { method, methodNames } from "../../vsphere/vim25/index.ts";
import type { LabContext } from "../inventory/context.ts";
import { Entity } from "../inventory/entity.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject, sessionOf } from "../model/managed-object.ts";
import { type Authorization, BUILT_IN_NAMES, vimPermission } from "../session/authorization.ts";
import { DYNAMIC_PRIVILEGE_NAMES } from "../session/dynamic-privileges.ts";
import { requireUserPrivilege } from "../session/privileges.ts";
import { ROLES, type Users, userHolds } from "../session/users.ts";

const LABELS: Readonly<Record<string, string>> = {
  Admin: "Administrator",
  ReadOnly: "Read-only",
  View: "View",
  Anonymous: "Anonymous",
  NoAccess: "No access",
};

/** Every privilege that some method asks for. */
export function knownPrivileges(): ReadonlySet<string> {
  const names = new Set(["System.Anonymous", "System.View", "System.Read", ...DYNAMIC_PRIVILEGE_NAMES]);
  for (const name of methodNames()) {
    const info = method(name);
    for (const privilege of [info?.privilege ?? "", ...(info?.parameters.map((p) => p.privilege) ?? [])]) {
      if (privilege !== "") names.add(privilege);
    }
  }
  return new Set([...names].sort());
}

/** Roles, permissions, and questions about them. */
export class AuthorizationManager extends ManagedObject {
  constructor(
    context: LabContext,
    reference: Reference,
    private readonly authorization: Authorization,
    private readonly users: Users,
    administrator: string,
    privileges: ReadonlySet<string>,
  ) {
    super(context.registry, reference);
    /** The account that the lab was started with. */
    const first = (): DataObject =>
      data("Permission", {
        entity: context.content.rootFolder,
        principal: administrator,
        group: false,
        roleId: ROLES.administrator,
        propagate: true,
      });
    const all = (): DataObject[] => [first(), ...authorization.permissions.map(vimPermission)];
    this.properties({
      roleList: () => this.#roles(),
      privilegeList: () => [...privileges].map(vimPrivilege),
      description: () => data("AuthorizationDescription", { privilege: [], privilegeGroup: [] }),
    });
    this.methods({
      AddAuthorizationRole: (p) => authorization.addRole(p.name as string, (p.privIds as string[] | undefined) ?? []),
      UpdateAuthorizationRole: (p) =>
        authorization.updateRole(p.roleId as number, p.newName as string, (p.privIds as string[] | undefined) ?? []),
      RemoveAuthorizationRole: (p) => authorization.removeRole(p.roleId as number, p.failIfUsed === true),
      MergePermissions: (p) => authorization.mergePermissions(p.srcRoleId as number, p.dstRoleId as number),
      RetrieveAllPermissions: all,
      RetrieveRolePermissions: (p) => {
        authorization.requireRole(p.roleId as number);
        return all().filter(({ roleId }) => roleId === p.roleId);
      },
      RetrieveEntityPermissions: (p) => this.#ofEntity(this.#entity(p.entity), p.inherited === true, all()),
      SetEntityPermissions: async (p) => {
        const entity = this.#entity(p.entity);
        for (const permission of (p.permission as DataObject[] | undefined) ?? []) {
          await authorization.setPermission(entity, permission);
        }
      },
      ResetEntityPermissions: async (p) => {
        const entity = this.#entity(p.entity);
        for (const { principal } of authorization.permissionsOn(entity)) {
          await authorization.removePermission(entity, String(principal));
        }
        for (const permission of (p.permission as DataObject[] | undefined) ?? []) {
          await authorization.setPermission(entity, permission);
        }
      },
      RemoveEntityPermission: (p) => authorization.removePermission(this.#entity(p.entity), p.user as string),
      DisableMethods: (p) => {
        for (const entity of p.entity as Reference[]) {
          const methods = (p.method as DataObject[]).map(({ method: name }) => String(name));
          this.#entity(entity).disableMethods(methods, p.sourceId as string);
        }
      },
      EnableMethods: (p) => {
        for (const entity of p.entity as Reference[]) {
          this.#entity(entity).enableMethods(p.method as string[], p.sourceId as string);
        }
      },
      HasPrivilegeOnEntity: (p, call) =>
        ((p.privId as string[] | undefined) ?? []).map((privilege) =>
          userHolds(sessionOf(call).user, privilege, p.entity as Reference),
        ),
      HasPrivilegeOnEntities: (p, call) =>
        (p.entity as Reference[]).map((entity) => this.#availability(entity, sessionOf(call).user, p.privId)),
      HasUserPrivilegeOnEntities: (p, call) => {
        const user = this.users.find(p.userName as string);
        if (user?.name !== sessionOf(call).user.name) {
          requireUserPrivilege(
            sessionOf(call).user,
            context.content.rootFolder as Reference,
            "Authorization.ModifyPermissions",
          );
        }
        return (p.entities as Reference[]).map((entity) => this.#availability(entity, user, p.privId));
      },
      FetchUserPrivilegeOnEntities: (p) => {
        const user = this.users.find(p.userName as string);
        return (p.entities as Reference[]).map((entity) =>
          data("UserPrivilegeResult", {
            entity,
            privileges: user ? [...privileges].filter((privilege) => userHolds(user, privilege, entity)) : [],
          }),
        );
      },
    });
  }

  #entity(reference: unknown): Entity {
    return this.registry.getAs(Entity, reference, "entity");
  }

  #ofEntity(entity: Entity, inherited: boolean, all: readonly DataObject[]): DataObject[] {
    const at = (key: string, own: boolean): DataObject[] =>
      all.filter((permission) => {
        const { type, value } = permission.entity as Reference;
        return `${type}:${value}` === key && (own || permission.propagate === true);
      });
    const above = (from: Entity): DataObject[] =>
      from.authorityParents.flatMap((parent) => [...at(parent.key, false), ...above(parent)]);
    return inherited ? [...at(entity.key, true), ...above(entity)] : at(entity.key, true);
  }

  #availability(entity: Reference, user: Parameters<typeof userHolds>[0] | undefined, privIds: unknown): DataObject {
    return data("EntityPrivilege", {
      entity,
      privAvailability: ((privIds as string[] | undefined) ?? []).map((privId) =>
        data("PrivilegeAvailability", { privId, isGranted: user !== undefined && userHolds(user, privId, entity) }),
      ),
    });
  }

  #roles(): DataObject[] {
    const builtIn = Object.entries(BUILT_IN_NAMES).map(([roleId, name]) =>
      vimRole(Number(roleId), name, LABELS[name] ?? name, true, this.authorization.privilegesOf(Number(roleId))),
    );
    const own = this.authorization.roles.map(({ id, name, privileges }) => vimRole(id, name, name, false, privileges));
    return [...builtIn, ...own];
  }
}

const vimRole = (roleId: number, name: string, label: string, system: boolean, privilege: string[]): DataObject =>
  data("AuthorizationRole", { roleId, system, name, info: data("Description", { label, summary: label }), privilege });

function vimPrivilege(privId: string): DataObject {
  const at = privId.lastIndexOf(".");
  return data("AuthorizationPrivilege", {
    privId,
    onParent: false,
    name: privId.slice(at + 1),
    privGroupName: privId.slice(0, at),
  });
}
