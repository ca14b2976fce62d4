/** Managers of which the lab has little: options, roles and licences are there to be read. */

import { LabFault, notSupported } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";
import { ROLES, roleHolds } from "../session/users.ts";

export class OptionManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference, options: Record<string, string | boolean>) {
    super(context.registry, reference);
    const all = (): DataObject[] => Object.entries(options).map(([key, value]) => data("OptionValue", { key, value }));
    this.properties({ setting: all, supportedOption: () => [] });
    this.methods({
      QueryOptions: (p) => {
        const name = p.name as string | undefined;
        if (!name) return all();
        const found = all().filter(({ key }) => (name.endsWith(".") ? String(key).startsWith(name) : key === name));
        if (found.length === 0) throw new LabFault("InvalidName", `There is no option '${name}'.`, { name });
        return found;
      },
      UpdateOptions: () => {
        throw notSupported("the lab's options are fixed.");
      },
    });
  }
}

const ROLE_NAMES = [
  [ROLES.administrator, "Admin", "Administrator"],
  [ROLES.readOnly, "ReadOnly", "Read-only"],
  [ROLES.view, "View", "View"],
  [ROLES.anonymous, "Anonymous", "Anonymous"],
  [ROLES.noAccess, "NoAccess", "No access"],
] as const;
const SYSTEM_PRIVILEGES = ["System.Anonymous", "System.View", "System.Read"];

export class AuthorizationManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference, administrator: string) {
    super(context.registry, reference);
    const permission = (): DataObject =>
      data("Permission", {
        entity: context.content.rootFolder,
        principal: administrator,
        group: false,
        roleId: ROLES.administrator,
        propagate: true,
      });
    this.properties({
      roleList: () =>
        ROLE_NAMES.map(([roleId, name, label]) =>
          data("AuthorizationRole", {
            roleId,
            system: true,
            name,
            info: data("Description", { label, summary: label }),
            privilege: SYSTEM_PRIVILEGES.filter((privilege) => roleHolds(roleId, privilege)),
          }),
        ),
      privilegeList: () =>
        SYSTEM_PRIVILEGES.map((privId) =>
          data("AuthorizationPrivilege", {
            privId,
            onParent: false,
            name: privId.slice("System.".length),
            privGroupName: "System",
          }),
        ),
      description: () => data("AuthorizationDescription", { privilege: [], privilegeGroup: [] }),
    });
    const holds = (roleId: number, privileges: unknown): boolean[] =>
      ((privileges as string[] | undefined) ?? []).map((privilege) => roleHolds(roleId, privilege));
    this.methods({
      RetrieveAllPermissions: () => [permission()],
      RetrieveEntityPermissions: () => [permission()],
      RetrieveRolePermissions: (p) => (p.roleId === ROLES.administrator ? [permission()] : []),
      HasPrivilegeOnEntity: (p, call) => holds(call.session?.user.roleId ?? ROLES.noAccess, p.privId),
      HasPrivilegeOnEntities: (p, call) =>
        (p.entity as Reference[]).map((entity) =>
          data("EntityPrivilege", {
            entity,
            privAvailability: ((p.privId as string[] | undefined) ?? []).map((privId) =>
              data("PrivilegeAvailability", {
                privId,
                isGranted: roleHolds(call.session?.user.roleId ?? ROLES.noAccess, privId),
              }),
            ),
          }),
        ),
    });
  }
}

export class LicenseManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference) {
    super(context.registry, reference);
    const feature = (key: string, value: string): DataObject =>
      data("KeyAnyValue", { key: "feature", value: data("KeyValue", { key, value }) });
    const license = data("LicenseManagerLicenseInfo", {
      licenseKey: "00000-00000-00000-00000-00000",
      editionKey: "eval",
      name: "Evaluation Mode",
      total: 0,
      used: 0,
      costUnit: "cpuPackage",
      // Network serial ports need this one on vSphere.
      properties: [feature("serialuri:2", "Remote virtual Serial Port Concentrator")],
    });
    this.properties({
      source: () => data("EvaluationLicenseSource", {}),
      sourceAvailable: () => true,
      licensedEdition: () => "eval",
      licenses: () => [license],
      evaluation: () => data("LicenseManagerEvaluationInfo", { properties: [] }),
      licenseAssignmentManager: () => context.content.licenseAssignmentManager,
    });
  }

  static assignments(context: LabContext, reference: Reference, manager: LicenseManager): ManagedObject {
    return new LicenseAssignmentManager(context, reference, () => manager.read("licenses") as DataObject[]);
  }
}

class LicenseAssignmentManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference, licenses: () => DataObject[]) {
    super(context.registry, reference);
    this.methods({
      QueryAssignedLicenses: (p) => {
        const entityId = (p.entityId as string | undefined) ?? context.host.reference.value;
        return licenses().map((assignedLicense) =>
          data("LicenseAssignmentManagerLicenseAssignment", {
            entityId,
            entityDisplayName: context.host.name,
            assignedLicense,
          }),
        );
      },
    });
  }
}
