import type { LabContext } from "../inventory/context.ts";
import type { Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";

/** Leads from a VM or compute resource to the datastores that it sees. */
export class EnvironmentBrowser extends ManagedObject {
  constructor(context: LabContext, reference: Reference, datastoreBrowser: Reference) {
    super(context.registry, reference);
    this.properties({ datastoreBrowser: () => datastoreBrowser });
  }
}
