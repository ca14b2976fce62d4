/** Managers of which the lab has little: options and licences are there to be read. */

import { LabFault, notSupported } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";

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

/** Clusters of datastores (storage DRS) are not among what the lab has: clients find the manager, which refuses. */
export class StorageResourceManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference) {
    super(context.registry, reference);
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
    this.methods({
      QueryLicenseUsage: () =>
        data("LicenseUsageInfo", {
          source: data("EvaluationLicenseSource", {}),
          sourceAvailable: true,
          reservationInfo: [],
          featureInfo: [],
        }),
      DecodeLicense: (p) => {
        if (p.licenseKey !== license.licenseKey) {
          const licenseContent = String(p.licenseKey);
          throw new LabFault("InvalidLicense", `'${licenseContent}' is no license of the lab.`, { licenseContent });
        }
        return license;
      },
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
        const wanted = p.entityId as string | undefined;
        const hosts = context.inventory.hosts.filter(
          ({ reference }) => wanted === undefined || reference.value === wanted,
        );
        return hosts.flatMap((host) =>
          licenses().map((assignedLicense) =>
            data("LicenseAssignmentManagerLicenseAssignment", {
              entityId: host.reference.value,
              entityDisplayName: host.name,
              assignedLicense,
            }),
          ),
        );
      },
    });
  }
}
