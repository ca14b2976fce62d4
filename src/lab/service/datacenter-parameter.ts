import { invalidArgument } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { Datacenter } from "../inventory/datacenter.ts";

/** vCenter needs to be told the datacenter of a datastore path; a host has only one. */
export function requireDatacenter(context: LabContext, datacenter: unknown, parameter: string): void {
  if (datacenter !== undefined) {
    context.registry.getAs(Datacenter, datacenter, parameter);
  } else if (context.naming.personality === "VirtualCenter") {
    throw invalidArgument(parameter, "vCenter needs the datacenter of a datastore path.");
  }
}
